"""An independent proof of the receptive field: poison pixels with NaN, run the real network, look where NaN arrives.

A result is NaN exactly where some poisoned pixel had a part in it, whatever the weights are; ReLU, max pooling and
zeros hide nothing (0 * NaN is NaN). Nothing of the formula's arithmetic is used: only which tensor to watch, and the
claim to test. For a claimed field [first, last] of one position on one axis, three runs decide it: poison everything
outside (it must stay clean), the first line alone and the last line alone (each must arrive).

Convolutions are the only operators that are not run as they stand: a dense one is replaced by torch's own convolution
of the same geometry with one channel of ones for each group, because NaN in one input channel reaches every output
channel of its group. That makes a run cost a hundredth, and keeps fast algorithms (Winograd, FFT), which smear NaN
over neighbours, out of the proof. Statistics of the whole map are cleaned of NaN, since the field does not count them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm
from typing import Literal

import numpy as np
from torch import nn

from flyweight.analysis.positions.axes import AXES, HEIGHT, WIDTH
from flyweight.analysis.positions.field import Interval, Pixels, UnknownFieldError, look_back
from flyweight.analysis.positions.graph import Graph
from flyweight.analysis.positions.operators import follow
from flyweight.analysis.proof.probe import Probe
from flyweight.analysis.trace.recorder import record
from flyweight.analysis.trace.trace import Node, Value
from flyweight.errors import FlyweightError, TooLargeError

_SIDES = {HEIGHT: "height", WIDTH: "width"}


@dataclass(frozen=True)
class Proof:
    """What the network itself said: "proved", "contradicted", or "unproved" with the reason in `detail`."""

    status: Literal["proved", "contradicted", "unproved"]
    detail: str


def prove(model: nn.Module, graph: Graph, target: Value, sizes: dict[int, int]) -> Proof:
    """Test the formula's field of one tensor against the network itself.

    First on images enlarged until nothing on the way touches a border, which is the theoretical field. Where the
    network cannot take another size, every position of the traced size is compared, clipped by the borders.

    Args:
        model: the network.
        graph: of the network, at its own input size.
        target: the value whose field is claimed.
        sizes: claimed size of the field by axis.
    """
    if target.producer is None:
        return Proof("proved", "the image itself")
    if target.producer.ordinal < 0:
        return Proof("unproved", f"the result of {target.producer.name} cannot be watched")
    try:
        for axis in sorted(sizes):
            found = _prove_enlarged(model, graph, target, axis, sizes[axis])
            if found is not None:
                return Proof("contradicted", f"{_SIDES[axis]}: {found}")
        return Proof("proved", "NaN probe of the network on an enlarged image agrees")
    except TooLargeError as error:  # line by line it would take hours
        return Proof("unproved", f"enlarged: {error}")
    except FlyweightError as error:
        reason = str(error)
    try:
        found = _compare_clipped(model, graph, target)
    except FlyweightError as error:
        return Proof("unproved", f"enlarged: {reason}; at its own size: {error}")
    if found is not None:
        return Proof("contradicted", found)
    side = "x".join(str(size) for size in graph.trace.input_shape[1:])
    return Proof("proved", f"NaN probe at {side} agrees for every position, clipped by the borders ({reason})")


def _prove_enlarged(model: nn.Module, graph: Graph, target: Value, axis: int, size: int) -> str | None:
    """Decide one axis on an image enlarged along it; None when the claim holds, else what was found instead."""
    found: str | None = None
    # an image enlarged along one axis only is cheap; should positions starve on the narrow one, both are enlarged
    for sides in ((axis,), AXES):
        large, unit, first, last = _enlarge(model, graph, target, axis, size, sides)
        twin = _same_value(large, target)
        probe = Probe(model, large, twin, look_back(large, twin, Interval))
        shape = large.trace.input_shape
        outside = [line for line in range(_length(shape, axis)) if not first <= line <= last]
        if probe.arrivals(shape, axis, outside)[unit]:
            found = f"pixels outside the {last - first + 1} have a part in it"
        elif not all(probe.arrivals(shape, axis, [line])[unit] for line in (first, last)):
            found = f"the border of the {last - first + 1} has no part in it"
        else:
            return None
    return found


def _length(shape: tuple[int, ...], axis: int) -> int:
    return shape[len(shape) - 2 + axis]


def _same_value(large: Graph, target: Value) -> Value:
    """The value of a trace of another size that was made in the same place."""
    node = _maker(target)
    twin = next(n for n in large.trace.nodes if n.ordinal == node.ordinal)
    return twin.outputs[node.outputs.index(target)]


def _maker(target: Value) -> Node:
    assert target.producer is not None, "the image itself needs no proof"
    return target.producer


def _enlarge(
    model: nn.Module, graph: Graph, target: Value, axis: int, size: int, sides: tuple[int, ...]
) -> tuple[Graph, int, int, int]:
    """Enlarge the image until a central position's field meets no border, not even of a map on the way.

    Returns:
        The graph at the new size, the position, and the first and last line of its field.

    Raises:
        FlyweightError: no size up to about eight times the field does, or the field is of another size there.
    """
    until = _maker(target).ordinal
    step = lcm(8, _jump(graph, target, axis))
    grow = -(-(size + 8) // step) * step
    for _ in range(4):
        shape = list(graph.trace.input_shape)
        for side in sides:
            if len(shape) - 2 + side >= 1:  # a signal of one dimension has no height
                shape[len(shape) - 2 + side] += grow
        large = follow(record(model, tuple(shape), until))
        _check_same_operators(graph, large, until)
        twin = _same_value(large, target)
        overflow, unit, first, last = _central(large, twin, axis, size)
        if overflow <= 0:
            return large, unit, first, last
        grow += -(-2 * overflow // step) * step
    raise FlyweightError("a field without borders needs too large an image")


def _check_same_operators(graph: Graph, large: Graph, until: int) -> None:
    names = [[n.name for n in g.trace.nodes if n.ordinal <= until] for g in (graph, large)]
    if names[0] != names[1]:
        raise FlyweightError("the network runs other operators on another size")


def _jump(graph: Graph, target: Value, axis: int) -> int:
    """Pixels between the fields of two neighbouring positions."""
    first = look_back(graph, target, Interval).needs[graph.trace.input][axis].first
    return max(1, abs(int(first[1] - first[0]))) if len(first) > 1 else 1


def _central(large: Graph, target: Value, axis: int, size: int) -> tuple[int, int, int, int]:
    """The position nearest the centre whose field has the claimed size.

    Returns:
        How far its needs reach beyond a border of some map (0 or less: nowhere), itself, its first and last line.
    """
    try:
        needs = look_back(large, target, Interval).needs
    except UnknownFieldError as error:
        raise FlyweightError("an operator is not understood on another size") from error
    mine = needs[large.trace.input][axis]
    widths = mine.last - mine.first + 1
    if int(widths.max()) != size:
        raise FlyweightError("the field has another size on a larger image")
    candidates = np.flatnonzero(widths == size)
    unit = int(candidates[np.argmin(abs(candidates - (len(widths) - 1) / 2))])
    overflow = 0
    for value, by_axis in needs.items():
        if axis in by_axis:
            extent = large.extent(value, axis)
            first, last = int(by_axis[axis].first[unit]), int(by_axis[axis].last[unit])
            if first <= last:
                # one broadcast position is exact wherever it lies
                scale = large.extent(large.trace.input, axis) / extent
                overflow = max(overflow, int(np.ceil(max(-first, last - extent + 1) * scale)))
    return overflow, unit, int(mine.first[unit]), int(mine.last[unit])


def _compare_clipped(model: nn.Module, graph: Graph, target: Value) -> str | None:
    """Compare every position with every line of the real image; None when all agree."""
    back = look_back(graph, target, Pixels)
    if back.edges:
        raise FlyweightError("mirrored or clamped borders are compared on enlarged images only")
    probe = Probe(model, graph, target, back)
    shape = graph.trace.input_shape
    for axis, claim in back.needs[graph.trace.input].items():
        found = np.stack([probe.arrivals(shape, axis, [line]) for line in range(_length(shape, axis))], axis=1)
        if not np.array_equal(found, claim.mask):
            unit, line = (int(i) for i in np.argwhere(found != claim.mask)[0])
            verb = "reads" if found[unit, line] else "does not read"
            return f"{_SIDES[axis]}: position {unit} {verb} line {line} of the image"
    return None
