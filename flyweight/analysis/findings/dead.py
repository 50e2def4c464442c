"""Taps of kernels that see only padding wherever the kernel stands."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from flyweight.analysis.convolution import Convolution
from flyweight.analysis.facts import DeadTaps
from flyweight.analysis.positions import axes
from flyweight.analysis.positions.graph import Graph
from flyweight.analysis.positions.reads import Links, Window, of_window
from flyweight.analysis.trace.trace import Node, Value


def per_axis(given: Any, count: int) -> tuple[int, ...]:
    """Sizes for each spatial dimension, which an operator may be given as one."""
    entries = tuple(int(entry) for entry in given)
    return entries if len(entries) == count else entries * count


def find_dead_taps(convolutions: Iterable[Convolution]) -> tuple[DeadTaps, ...]:
    """Taps that see only padding wherever the kernel stands, counting zeros padded before the convolution too."""
    found = []
    for convolution in convolutions:
        taps = prod(convolution.kernel)
        dead = taps - prod(convolution.live)
        if dead:
            wasted = dead * convolution.inputs // convolution.groups * convolution.outputs
            found.append(DeadTaps(convolution.name, dead, taps, wasted))
    return tuple(found)


def live_taps(graph: Graph, node: Node) -> list[npt.NDArray[np.bool_]]:
    """For each spatial dimension of a convolution the taps that see more than padding at some place."""
    kernel = node.args["weight"].shape[2:]
    if node.args["transposed"]:
        return [np.ones(side, dtype=bool) for side in kernel]
    count, after = len(kernel), node.outputs[0].shape[2:]
    stride, dilation, padded = (per_axis(node.args[name], count) for name in ("stride", "dilation", "padding"))
    sizes, padding = _before_padding(graph, node.args["input"], padded)
    live = []
    for axis, side in enumerate(kernel):
        steps = np.arange(after[axis]) * stride[axis]
        reads = steps[:, None] + (np.arange(side) * dilation[axis])[None, :] - padding[axis]
        live.append(((reads >= 0) & (reads < sizes[axis])).any(axis=0))
    return live


def _before_padding(graph: Graph, value: Value, padded: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """Sizes of the map without zeros that an operator before the convolution put around it, and all padding."""
    sizes, padding, node = list(value.shape[2:]), list(padded), value.producer
    if node is not None and graph.ops[node].kind == "pad" and node.args.get("value", "mirrored") in (0, None):
        pad = node.args["pad"]
        for index in range(min(len(pad) // 2, len(sizes))):
            axis = len(sizes) - 1 - index
            sizes[axis] -= pad[2 * index] + pad[2 * index + 1]
            padding[axis] += pad[2 * index]
    return sizes, padding


def live_links(graph: Graph, convolutions: Iterable[Convolution]) -> dict[Node, dict[Value, Links]]:
    """What convolutions read whose kernel has one tap on some axis that sees more than padding: that tap, by node."""
    found: dict[Node, dict[Value, Links]] = {}
    for convolution in convolutions:
        node, effect = convolution.node, graph.effects.get(convolution.node)
        if effect is None or convolution.live == convolution.kernel:
            continue
        [(value, links)] = effect.links.items()
        changed = dict(links)
        for dim, taps in zip(graph.layout(value)[2:], live_taps(graph, node), strict=True):
            atom = axes.single(dim)
            if atom is not None and len(taps) > 1 and taps.sum() == 1:
                changed[atom.axis] = of_window(changed[atom.axis], Window.tap, int(taps.argmax()))
        if changed != links:
            found[node] = {value: changed}
    return found
