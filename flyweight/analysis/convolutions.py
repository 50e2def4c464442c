"""The convolutions of a traced graph: what they are, which two make one layer, which of their taps are dead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from flyweight.analysis import layout as lay
from flyweight.analysis.effects import Links
from flyweight.analysis.facts import Convolution, ConvolutionLayer, DeadTaps, Unregistered
from flyweight.analysis.layout import LostError
from flyweight.analysis.links import Window, of_window
from flyweight.analysis.names import Names
from flyweight.analysis.operators import operator_for
from flyweight.analysis.receptive_field import Graph
from flyweight.analysis.trace import Node, Ref, Trace


def used_parameters(trace: Trace, node: Node) -> dict[str, int]:
    """Sizes of the parameters that a node reads, directly or through computations on parameters alone, by name."""
    values = (trace.values[index] for index in _constants(trace, node))
    return {value.parameter: prod(value.shape) for value in values if value.parameter is not None}


def _constants(trace: Trace, node: Node) -> Iterator[int]:
    """Values that no operator made and that a node reads, directly or through computations without the picture."""
    pending = [value for value in node.inputs if not trace.values[value].dependent]
    while pending:
        index = pending.pop()
        producer = trace.values[index].producer
        if producer is None:
            yield index
        else:
            pending.extend(trace.nodes[producer].inputs)


def find_unregistered(trace: Trace, names: Names) -> tuple[Unregistered, ...]:
    """Weights that have a part in the output and that the network does not know of, in order."""
    numbers: dict[str, int] = {}
    counted: set[int] = set()
    for index, node in enumerate(trace.nodes):
        if any(trace.values[value].dependent for value in node.outputs):
            for value in (trace.unregistered.keys() & set(_constants(trace, node))) - counted:
                counted.add(value)
                layer = trace.unregistered[value] or names.of(index)
                numbers[layer] = numbers.get(layer, 0) + prod(trace.values[value].shape)
    return tuple(Unregistered(layer, count) for layer, count in numbers.items())


def _per_axis(given: Any, count: int) -> tuple[int, ...]:
    entries = tuple(int(entry) for entry in given)
    return entries if len(entries) == count else entries * count


def find_convolutions(graph: Graph, names: Names) -> tuple[Convolution, ...]:
    """Every convolution that ran on something that depends on the input, in order."""
    trace, found = graph.trace, []
    for index, node in enumerate(trace.nodes):
        source, weight = node.args.get("input"), node.args.get("weight")
        if node.name != "convolution" or not isinstance(source, Ref) or not isinstance(weight, Ref):
            continue
        if not trace.values[source.value].dependent:
            continue
        before, after = trace.values[source.value].shape, trace.values[node.outputs[0]].shape
        shape, count = trace.values[weight.value].shape, len(before) - 2
        transposed, groups = bool(node.args["transposed"]), int(node.args["groups"])
        scales = _scales(graph, source.value, count)
        dilation = _per_axis(node.args["dilation"], count)
        found.append(
            Convolution(
                name=names.of(index),
                path=trace.path(node),
                node=index,
                kernel=shape[2:],
                stride=_per_axis(node.args["stride"], count),
                padding=_per_axis(node.args["padding"], count),
                dilation=tuple(step * scale for step, scale in zip(dilation, scales, strict=True)),
                live=tuple(int(taps.sum()) for taps in _live_taps(graph, node)),
                groups=groups,
                inputs=before[1],
                outputs=after[1],
                input_size=before[2:],
                output_size=after[2:],
                bias=node.args.get("bias") is not None,
                transposed=transposed,
                parameters=sum(used_parameters(trace, node).values()),
                macs=node.macs or 0,
            )
        )
    return tuple(found)


def _scales(graph: Graph, value: int, count: int) -> list[int]:
    """Pixels of the map between two neighbours of each spatial dimension: more than 1 in a split map."""
    layout = graph.map.layouts.get(value)
    scales = [1] * count
    for index in range(count):
        try:
            atom = lay.single(layout[2 + index]) if layout else None
        except LostError:
            atom = None
        if atom is not None:
            scales[index] = atom.scale
    return scales


def join_separable(graph: Graph, convolutions: Iterable[Convolution]) -> tuple[ConvolutionLayer, ...]:
    """Join each depthwise convolution with the 1x1 that is the only thing its output goes to.

    Between the two, only element-by-element operators on that output alone are allowed (normalisation, activation).
    """
    all_of_them = tuple(convolutions)
    by_node = {convolution.node: convolution for convolution in all_of_them}
    readers = graph.trace.consumers()
    partner: dict[int, Convolution] = {}
    for convolution in all_of_them:
        if convolution.depthwise and prod(convolution.kernel) > 1:  # a 1x1 only scales each channel
            ends = _ends(graph, convolution.node, readers)
            end = by_node.get(ends.pop()) if len(ends) == 1 else None
            if end is not None and end.pointwise and not end.transposed:
                partner[convolution.node] = end
    seconds = {end.node for end in partner.values()}
    return tuple(
        ConvolutionLayer((convolution, partner[convolution.node]) if convolution.node in partner else (convolution,))
        for convolution in all_of_them
        if convolution.node not in seconds
    )


def _ends(graph: Graph, node: int, readers: dict[int, list[int]]) -> set[int]:
    """Nodes that a node's output flows to through element-by-element operators on that output alone."""
    trace = graph.trace
    mine, ends = {trace.nodes[node].outputs[0]}, set[int]()
    for index in range(node + 1, len(trace.nodes)):
        reader = trace.nodes[index]
        if not mine & set(reader.inputs):
            continue
        inputs = [v for v in reader.inputs if trace.values[v].dependent]
        effect = graph.effects[index]
        one_to_one = effect is not None and effect.known and not effect.gathers
        one_to_one = one_to_one and _keeps_channels(graph, index) and all(v in mine for v in inputs)
        if one_to_one:
            mine.add(reader.outputs[0])
        else:
            ends.add(index)
    return ends


def _keeps_channels(graph: Graph, index: int) -> bool:
    """Whether an operator is element by element (batch norm with fixed statistics included)."""
    node = graph.trace.nodes[index]
    operator = operator_for(node)
    name = getattr(operator, "__name__", "")
    return name == "elementwise" or "batch_norm" in node.name


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


def _live_taps(graph: Graph, node: Node) -> list[npt.NDArray[np.bool_]]:
    """For each spatial dimension of a convolution the taps that see more than padding at some place."""
    trace, value = graph.trace, node.args["input"].value
    kernel = trace.values[node.args["weight"].value].shape[2:]
    if node.args["transposed"]:
        return [np.ones(side, dtype=bool) for side in kernel]
    count, after = len(kernel), trace.values[node.outputs[0]].shape[2:]
    stride, dilation = (_per_axis(node.args[name], count) for name in ("stride", "dilation"))
    sizes, padding = _before_padding(graph, value, _per_axis(node.args["padding"], count))
    live = []
    for axis, side in enumerate(kernel):
        steps = np.arange(after[axis]) * stride[axis]
        reads = steps[:, None] + (np.arange(side) * dilation[axis])[None, :] - padding[axis]
        live.append(((reads >= 0) & (reads < sizes[axis])).any(axis=0))
    return live


def _before_padding(graph: Graph, value: int, padded: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """Sizes of the map without zeros that an operator before the convolution put around it, and all padding."""
    sizes, padding = list(graph.trace.values[value].shape[2:]), list(padded)
    producer = graph.trace.values[value].producer
    node = graph.trace.nodes[producer] if producer is not None else None
    if node is not None and node.name == "constant_pad_nd" and not node.args.get("value"):
        pad = node.args["pad"]
        for index in range(min(len(pad) // 2, len(sizes))):
            axis = len(sizes) - 1 - index
            sizes[axis] -= pad[2 * index] + pad[2 * index + 1]
            padding[axis] += pad[2 * index]
    return sizes, padding


def live_links(graph: Graph, convolutions: Iterable[Convolution]) -> dict[int, dict[int, Links]]:
    """What convolutions read whose kernel has one tap on some axis that sees more than padding: that tap, by node."""
    found: dict[int, dict[int, Links]] = {}
    for convolution in convolutions:
        effect = graph.effects[convolution.node]
        if effect is None or convolution.live == convolution.kernel:
            continue
        [(value, links)] = effect.links.items()
        changed = dict(links)
        dims = graph.map.layout(value)[2:]
        for dim, taps in zip(dims, _live_taps(graph, graph.trace.nodes[convolution.node]), strict=True):
            atom = lay.single(dim)
            if atom is not None and len(taps) > 1 and taps.sum() == 1:
                changed[atom.axis] = of_window(changed[atom.axis], Window.tap, int(taps.argmax()))
        if changed != links:
            found[convolution.node] = {value: changed}
    return found
