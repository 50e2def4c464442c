"""Receptive fields by exact integer arithmetic, backwards over the graph.

For one position of a tensor, each operator says which positions of its inputs it reads (:mod:`reads`); going back to
the image and taking the hull over all branches gives the field. On unclipped coordinates this is the theoretical field
on an infinite plane; :class:`Pixels` is the exact set of pixels of an image of the traced size.

A statistic of the whole map (squeeze and excite, normalisation over space) reaches every pixel. It is named apart and
not counted in the size, so that a gate cannot stand in for a field.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from flyweight.analysis.positions.graph import Graph
from flyweight.analysis.positions.reads import NOTHING, SAME, WHOLE, Indices, Link, Links
from flyweight.analysis.trace.trace import Node, Value

_FAR = np.int64(1) << 40
# links to use in place of those of a node: what would be if
Instead = Mapping[Node, Mapping[Value, Links]]


class UnknownFieldError(Exception):
    """The field depends on an operator that is not understood.

    Attributes:
        node: that operator.
    """

    def __init__(self, node: Node) -> None:
        super().__init__(node.name)
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
        gathered: nodes through which a statistic of the whole map comes in, the last first.
        cut: nodes whose output is such a statistic: nothing before them was followed.
        edges: some operator on the way reads mirrored or clamped pixels near the border.
    """

    needs: dict[Value, dict[int, Need]] = field(default_factory=dict)
    gathered: dict[Node, None] = field(default_factory=dict)
    cut: set[Node] = field(default_factory=set)
    edges: bool = False


def look_back(graph: Graph, target: Value, kind: type[Need], instead: Instead | None = None) -> Back[Need]:
    """What each position of a value needs, down to the image.

    Args:
        graph: of the network.
        target: the value to explain; its layout is known.
        kind: :class:`Interval` for the infinite plane, :class:`Pixels` for the real map.
        instead: links to use in place of a node's own.

    Raises:
        UnknownFieldError: an operator on the way is not understood.
    """
    back = Back[Need]()
    if graph.axes(target) is None and target.producer:
        raise UnknownFieldError(target.producer)
    sizes = {axis: graph.extent(target, axis) for axis in graph.axes(target) or ()}
    back.needs[target] = {axis: kind.start(np.arange(size, dtype=np.int64), size) for axis, size in sizes.items()}

    def step(value: Value) -> Iterable[Value]:
        node = value.producer
        if node is None:
            return ()
        effect = graph.effects.get(node)
        if effect is None or not effect.known:
            raise UnknownFieldError(node)
        if effect.gathers:
            back.gathered[node] = None
        back.edges |= effect.edges
        links = {**effect.links, **(instead or {}).get(node, {})}
        return [source for source in links if _pass_on(graph, back, node, source, back.needs[value], links[source])]

    for _ in graph.back([target], through=step):
        pass
    return back


def _pass_on(graph: Graph, back: Back[Need], node: Node, source: Value, need: dict[int, Need], links: Links) -> bool:
    """Hand what an output needs to one input; False where the input gives a statistic of the whole map."""
    if any(link == WHOLE for link in links.values()):
        back.gathered[node] = None
        back.cut.add(node)
        return False
    passed = back.needs.setdefault(source, {})
    for axis, link in links.items():
        assert link != WHOLE
        if axis not in need:  # the axis was reduced before and came back as features: not a position any more
            raise UnknownFieldError(node)
        mine = need[axis].through(link, graph.extent(source, axis))
        passed[axis] = passed[axis].union(mine) if axis in passed else mine
    return True


def field_size(graph: Graph, target: Value, instead: Instead | None = None) -> tuple[dict[int, int], Back[Interval]]:
    """Largest theoretical receptive field of a value's positions, by axis, and the way it was found.

    An axis is missing when no local path leads along it.

    Raises:
        UnknownFieldError: an operator on the way is not understood.
    """
    back = look_back(graph, target, Interval, instead)
    needs = back.needs.get(graph.trace.input, {})
    sizes = {axis: int((need.last - need.first).max()) + 1 for axis, need in needs.items()}
    return {axis: size for axis, size in sizes.items() if size > 0}, back


def field_centres(graph: Graph, target: Value) -> dict[int, npt.NDArray[np.float64]]:
    """The middle of the receptive field of each position of a value, by axis, in pixels of the image.

    The field is the one on the infinite plane, so that a border does not draw its middle inwards (Araujo, Norris and
    Sim 2019, "Computing receptive fields of convolutional neural networks", section 3, work the same out from strides
    and paddings). An axis is missing when no local path leads along it.

    Raises:
        UnknownFieldError: an operator on the way is not understood.
    """
    needs = look_back(graph, target, Interval).needs.get(graph.trace.input, {})
    return {axis: (need.first + need.last) / 2 for axis, need in needs.items() if (need.first <= need.last).all()}
