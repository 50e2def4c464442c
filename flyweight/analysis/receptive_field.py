"""Receptive fields by exact integer arithmetic, backwards over the traced graph.

For one position of a tensor, each operator says which positions of its inputs it reads (:mod:`links`); going back to
the picture and taking the hull over all branches gives the field. On unclipped coordinates this is the theoretical
field on an infinite plane; with `clip` it is the exact set of pixels of a picture of the traced size.

A statistic of the whole map (squeeze and excite, normalisation over space) reaches every pixel. It is named apart and
not counted in the size, so that a gate cannot stand in for a field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from flyweight.analysis import layout as lay
from flyweight.analysis.effects import WHOLE, Effect, Links, Map
from flyweight.analysis.layout import Layout, LostError
from flyweight.analysis.links import NOTHING, SAME, Indices, Link
from flyweight.analysis.operators import operator_for
from flyweight.analysis.trace import Trace

_FAR = np.int64(1) << 40


@dataclass
class Graph:
    """A trace with the layout of each value and the effect of each operator (None where it is not understood)."""

    trace: Trace
    map: Map
    effects: list[Effect | None]

    def axes(self, value: int) -> set[int] | None:
        """Axes that a value has; None when its layout is lost."""
        found = self.map.layouts.get(value)
        return None if found is None else lay.axes(found)

    def extent(self, value: int, axis: int) -> int:
        """Positions of a value along an axis."""
        return lay.extent(self.map.layouts.get(value) or (), axis)


def build_graph(trace: Trace) -> Graph:
    """Follow the picture's axes forwards through a trace."""
    graph = Map(trace, {trace.input: lay.image(trace.values[trace.input].shape)})
    effects: list[Effect | None] = []
    for node in trace.nodes:
        effect = None
        if graph.inputs(node) and any(trace.values[v].dependent for v in node.outputs):
            operator = operator_for(node)
            try:
                effect = operator(node, graph) if operator else None
            except (LostError, LookupError, TypeError, ValueError):
                effect = None  # positions are lost, or an overload of the operator has arguments that nobody foresaw
            layouts: list[Layout | None] = effect.layouts if effect else []
            graph.layouts.update(zip(node.outputs, layouts, strict=False))
        effects.append(effect)
    return Graph(trace, graph, effects)


class UnknownFieldError(Exception):
    """The field depends on an operator that is not understood.

    Attributes:
        node: its index in the trace.
    """

    def __init__(self, node: int) -> None:
        super().__init__(node)
        self.node = node


@dataclass(frozen=True)
class Interval:
    """For each asked position (n,) the first and the last position needed; first > last: none."""

    first: Indices
    last: Indices

    @classmethod
    def start(cls, units: Indices, size: int) -> Interval:
        """Each position needs itself."""
        return cls(units, units)

    def through(self, link: Link, size: int) -> Interval:
        """What an operator reads for it."""
        if link is SAME:
            return self
        first, last = np.full_like(self.first, _FAR), np.full_like(self.last, -_FAR)
        for step in range(link.period):
            for asked in (np.minimum(self.first + step, self.last), np.maximum(self.last - step, self.first)):
                read = link.reads(asked)
                first = np.minimum(first, np.where(read == NOTHING, _FAR, read).min(axis=1))
                last = np.maximum(last, np.where(read == NOTHING, -_FAR, read).max(axis=1))
        empty = (self.first > self.last) | (first > last)
        return Interval(np.where(empty, _FAR, first), np.where(empty, -_FAR, last))

    def union(self, other: Interval) -> Interval:
        """Hull of both."""
        return Interval(np.minimum(self.first, other.first), np.maximum(self.last, other.last))


@dataclass(frozen=True)
class Pixels:
    """For each asked position the exact set of positions needed inside the map: a matrix (n, size) of truth values."""

    mask: npt.NDArray[np.bool_]

    @classmethod
    def start(cls, units: Indices, size: int) -> Pixels:
        """Each position needs itself."""
        return cls(units[:, None] == np.arange(size)[None, :])

    def through(self, link: Link, size: int) -> Pixels:
        """What an operator reads for it."""
        if link is SAME:
            return self
        reads = link.reads(np.arange(self.mask.shape[1], dtype=np.int64))
        relation = np.zeros((self.mask.shape[1], size), dtype=bool)
        rows, taps = np.nonzero((reads >= 0) & (reads < size))
        relation[rows, reads[rows, taps]] = True
        return Pixels(self.mask @ relation)

    def union(self, other: Pixels) -> Pixels:
        """Pixels of either."""
        return Pixels(self.mask | other.mask)


Need = TypeVar("Need", Interval, Pixels)


@dataclass
class Back(Generic[Need]):
    """What a tensor needs.

    Attributes:
        needs: for each value on a local path, by axis.
        gathered: nodes through which a statistic of the whole map comes in.
        cut: nodes whose output is such a statistic: nothing before them was followed.
        edges: some operator on the way reads mirrored or clamped pixels near the border.
    """

    needs: dict[int, dict[int, Need]] = field(default_factory=dict)
    gathered: list[int] = field(default_factory=list)
    cut: list[int] = field(default_factory=list)
    edges: bool = False


def look_back(
    graph: Graph,
    target: int,
    kind: type[Need],
    units: Mapping[int, Indices] | None = None,
    links: Mapping[int, dict[int, Links]] | None = None,
) -> Back[Need]:
    """What the positions `units` of a value need (all positions when not given), down to the picture.

    Args:
        graph: of the network.
        target: the value to explain.
        kind: :class:`Interval` for the infinite plane, :class:`Pixels` for the real map.
        units: positions by axis.
        links: links to use in place of a node's own: what would be if.

    Raises:
        UnknownFieldError: an operator on the way is not understood.
    """
    trace, back = graph.trace, Back[Need]()
    found = graph.axes(target)
    if found is None:
        raise UnknownFieldError(trace.values[target].producer or 0)
    start: dict[int, Need] = {}
    for axis in found:
        size = graph.extent(target, axis)
        start[axis] = kind.start(units[axis] if units else np.arange(size, dtype=np.int64), size)
    back.needs[target] = start
    producer = trace.values[target].producer
    for index in range(-1 if producer is None else producer, -1, -1):
        node, effect = trace.nodes[index], graph.effects[index]
        asked = [back.needs[value] for value in node.outputs if value in back.needs]
        if not asked:
            continue
        if effect is None or not effect.known:
            raise UnknownFieldError(index)
        if effect.gathers:
            back.gathered.append(index)
        back.edges |= effect.edges
        for need in asked:
            for value, own in effect.links.items():
                chosen = links.get(index, {}).get(value, own) if links else own
                _pass_on(graph, back, index, value, need, chosen)
    return back


def _pass_on(graph: Graph, back: Back[Need], index: int, value: int, need: dict[int, Need], links: Links) -> None:
    """Hand what an output needs to one input."""
    if any(link == WHOLE for link in links.values()):
        back.gathered.append(index)
        back.cut.append(index)
        return
    passed = back.needs.setdefault(value, {})
    for axis, link in links.items():
        assert link != WHOLE
        if axis not in need:  # the axis was reduced before and came back as features: not a position any more
            raise UnknownFieldError(index)
        mine = need[axis].through(link, graph.extent(value, axis))
        passed[axis] = passed[axis].union(mine) if axis in passed else mine


def field_size(
    graph: Graph, target: int, links: Mapping[int, dict[int, Links]] | None = None
) -> tuple[dict[int, int], Back[Interval]]:
    """Largest theoretical receptive field of a value's positions, by axis, and the way it was found.

    An axis is missing when no local path leads along it.

    Raises:
        UnknownFieldError: an operator on the way is not understood.
    """
    back = look_back(graph, target, Interval, links=links)
    needs = back.needs.get(graph.trace.input, {})
    sizes = {axis: int((need.last - need.first).max()) + 1 for axis, need in needs.items()}
    return {axis: size for axis, size in sizes.items() if size > 0}, back


def field_centres(graph: Graph, target: int) -> dict[int, npt.NDArray[np.float64]]:
    """The middle of the receptive field of each position of a value, by axis, in pixels of the picture.

    The field is the one on the infinite plane, so that a border does not draw its middle inwards (Araujo, Norris and
    Sim 2019, "Computing receptive fields of convolutional neural networks", section 3, work the same out from strides
    and paddings). An axis is missing when no local path leads along it.

    Raises:
        UnknownFieldError: an operator on the way is not understood.
    """
    needs = look_back(graph, target, Interval).needs.get(graph.trace.input, {})
    return {axis: (need.first + need.last) / 2 for axis, need in needs.items() if (need.first <= need.last).all()}
