"""What an operator does to positions, and the helpers that the families of operators share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

from flyweight.analysis import layout as lay
from flyweight.analysis.layout import PLAIN, Dim, Layout, LostError
from flyweight.analysis.links import SAME, Link
from flyweight.analysis.trace import Node, Ref, Trace

# an input axis that the output no longer has: every position is read
WHOLE: Literal["whole"] = "whole"
Links = dict[int, "Link | Literal['whole']"]


@dataclass
class Effect:
    """What one operator does to positions.

    Attributes:
        layouts: of each output; None where positions are lost.
        links: for each value read, by axis, how positions of the output read its positions. An axis that the value
            does not have is missing.
        gathers: a statistic of the whole map acts on every position besides the links (softmax or normalisation over
            space).
        known: False when the layout is known but what is read is not.
        edges: near the border it reads other pixels than the links say (mirrored or clamped ones).
    """

    layouts: list[Layout | None]
    links: dict[int, Links]
    gathers: bool = False
    known: bool = True
    edges: bool = False


@dataclass
class Map:
    """The layouts known so far, beside the trace they belong to."""

    trace: Trace
    layouts: dict[int, Layout | None] = field(default_factory=dict)

    def shape(self, value: int) -> tuple[int, ...]:
        """Sizes of a value, the batch included."""
        return self.trace.values[value].shape

    def dependent(self, argument: Any) -> int | None:
        """The value behind an argument when the picture has a part in it."""
        if isinstance(argument, Ref) and self.trace.values[argument.value].dependent:
            return argument.value
        return None

    def inputs(self, node: Node) -> list[int]:
        """Values read that the picture has a part in."""
        return [v for v in dict.fromkeys(node.inputs) if self.trace.values[v].dependent]

    def layout(self, value: int) -> Layout:
        """Layout of a value that depends on the picture.

        Raises:
            LostError: it is not known.
        """
        found = self.layouts.get(value)
        if found is None:
            raise LostError
        return found


Operator = Callable[[Node, Map], Effect]


def unmoved(layout: Layout) -> Links:
    """Links of an operator that keeps every position."""
    return dict.fromkeys(lay.axes(layout), SAME)


def only_input(node: Node, graph: Map, name: str = "self") -> int:
    """The one value that depends on the picture; it must be the argument of this name."""
    value = graph.dependent(node.args.get(name, node.args.get("input")))
    if value is None or graph.inputs(node) != [value]:
        raise LostError
    return value


def effect_on_input(node: Node, graph: Map, layouts: Layout, links: Links, **more: bool) -> Effect:
    """An effect with one picture-dependent input; further outputs (indices, statistics) are not followed."""
    value = graph.inputs(node)[0]
    return Effect([layouts, *[None] * (len(node.outputs) - 1)], {value: links}, **more)


def size_of(dim: Dim) -> int:
    """Entries of a dimension."""
    return prod(atom.size for atom in dim)


def has_axis(dim: Dim) -> bool:
    """Whether positions of the picture are in a dimension."""
    return any(atom.axis != PLAIN for atom in dim)


def dims_of(node: Node, rank: int, name: str = "dim") -> set[int]:
    """Dimensions that an operator names, none meaning all of them."""
    given = node.args.get(name)
    if given is None or given == []:
        return set(range(rank))
    return {index % rank for index in ([given] if isinstance(given, int) else given)}
