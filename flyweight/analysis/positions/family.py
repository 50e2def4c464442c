"""What the families of operators share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flyweight.analysis.positions import axes
from flyweight.analysis.positions.axes import Atom, Dim, Layout, LostError, has_axis
from flyweight.analysis.positions.graph import Effect, Graph
from flyweight.analysis.positions.reads import SAME, WHOLE, Link, Links, Window
from flyweight.analysis.trace.trace import Node

Family = Callable[[Node, Graph], Effect]


def unmoved(layout: Layout) -> Links:
    """Links of an operator that keeps every position."""
    return dict.fromkeys(axes.axes(layout), SAME)


def window(atom: Atom, kernel: int = 1, stride: int = 1, padding: int = 0, dilation: int = 1) -> Window:
    """A window along (a part of) an axis.

    Raises:
        LostError: it has a stride and the axis is split.
    """
    if atom.scale > 1 and stride > 1:
        raise LostError
    return Window(kernel, stride, padding, dilation, unit=atom.scale)


def number(value: Any, index: int) -> int:
    """One entry of a list of sizes that may be given as one number."""
    entries = list(value)
    return int(entries[index] if len(entries) > 1 else entries[0])


def dims_of(node: Node, rank: int, name: str = "dim") -> set[int]:
    """Dimensions that an operator names, none meaning all of them."""
    given = node.args.get(name)
    if given is None or given == []:
        return set(range(rank))
    return {index % rank for index in ([given] if isinstance(given, int) else given)}


class Single:
    """The one input of an operator that depends on the image, and what becomes of its dimensions.

    Attributes:
        before: layout of the input, which must be the argument ``self`` or ``input``.
        shape: sizes of the output.
        after: layout of the output; the same as before until it is changed.
        links: how positions are read; all where they are until it is changed.
    """

    def __init__(self, node: Node, graph: Graph) -> None:
        value = graph.argument(node, "self" if "self" in node.args else "input")
        if value is None or graph.inputs(node) != [value]:
            raise LostError
        self.value, self._node = value, node
        self.before = graph.layout(value)
        self.shape = node.outputs[0].shape
        self.after: list[Dim] = list(self.before)
        self.links = unmoved(self.before)

    def dim(self, name: str = "dim") -> int:
        """The dimension that an argument names."""
        return int(self._node.args[name]) % len(self.before)

    def features(self, dim: int) -> int:
        """A dimension, of which it is made sure that no positions are in it."""
        if has_axis(self.before[dim]):
            raise LostError
        return dim

    def slide(self, dim: int, **options: int) -> None:
        """Positions along a dimension, if there are any, are read through a :func:`window`."""
        self._read(dim, lambda atom: window(atom, **options))

    def resize(self, dim: int, link: Callable[[int, int], Link]) -> None:
        """Positions along a dimension, if there are any, are spread over another number: (before, after) to a link."""
        self._read(dim, lambda atom: link(unsplit(atom).size, self.shape[dim]))

    def _read(self, dim: int, link: Callable[[Atom], Link]) -> None:
        atom = axes.single(self.before[dim])
        self.after[dim] = axes.plain(self.shape[dim]) if atom is None else (atom._replace(size=self.shape[dim]),)
        if atom is not None:
            self.links[atom.axis] = link(atom)

    def end(self, dim: int) -> None:
        """A dimension was reduced to one number."""
        atom = axes.single(self.before[dim])
        self.after[dim] = ()
        if atom is not None:
            if atom.axis in axes.axes(tuple(self.after)):
                raise LostError  # one part of a split axis: not followed
            self.links[atom.axis] = WHOLE

    def effect(self, **more: bool) -> Effect:
        """What became of it; further outputs (indices, statistics) are not followed."""
        others = [None] * (len(self._node.outputs) - 1)
        return Effect([tuple(self.after), *others], {self.value: self.links}, **more)


def unsplit(atom: Atom) -> Atom:
    """An atom that is the whole of its axis.

    Raises:
        LostError: the axis is split.
    """
    if atom.scale > 1:
        raise LostError
    return atom
