"""The graph that all facts are read from: a trace, and what its operators do to positions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from heapq import heappop, heappush
from typing import Literal

from flyweight.analysis.positions import axes
from flyweight.analysis.positions.axes import Layout, LostError
from flyweight.analysis.positions.reads import SAME, Link, Links
from flyweight.analysis.trace.trace import Node, Trace, Value

Kind = Literal[
    "elementwise",
    "convolution",
    "product",
    "pooling",
    "reduction",
    "batch norm",
    "norm",
    "reshape",
    "squeeze",
    "slice",
    "pad",
    "resize",
    "join",
    "move",
    "factory",
    "leak",
    "unknown",
]


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
    links: dict[Value, Links]
    gathers: bool = False
    known: bool = True
    edges: bool = False


@dataclass(frozen=True)
class Op:
    """What is known about an operator, or about several that differ in nothing that matters here.

    Attributes:
        names: as the dispatcher spells them, with blanks between.
        effect: what it does to positions, from its arguments; None: not understood.
        kind: what it is; "factory": its result does not depend on the numbers that come in, only on their shape;
            "leak": it hands numbers to Python.
        takes: of the positions that it reads, or of its inputs where it is element by element.
        scale: by what it multiplies each number: by nothing, by its other operand, or by one over that; empty where
            it does something else to a number.
        passes_nan: the result of NaN is NaN without help.
        row: whether it gets a row of the summary outside a module: not when it makes no new numbers, and "resized"
            when more than sizes of 1 change.
        label: as a person calls it; empty: by its name.
        told: what a message calls it where nobody knows it by its name.
        adds: it adds two maps number by number, as at the end of a residual block.
    """

    names: str
    effect: Callable[[Node, Graph], Effect] | None
    kind: Kind
    takes: Literal["", "average", "sum", "maximum", "minimum"] = ""
    scale: Literal["", "none", "times", "over"] = ""
    passes_nan: bool = False
    row: Literal["always", "resized", "never"] = "always"
    label: str = ""
    told: str = ""
    adds: bool = False

    @property
    def extreme(self) -> bool:
        """It takes a maximum; a minimum is the maximum of what was negated, negated."""
        return self.takes in ("maximum", "minimum")

    @property
    def moves(self) -> bool:
        """It moves numbers around, and none comes in from beside."""
        return self.crops or self.kind in ("reshape", "squeeze", "join", "move")

    @property
    def crops(self) -> bool:
        """It can leave positions of a map out without making a new number of them."""
        return self.kind in ("slice", "pad", "resize")

    @property
    def per_channel(self) -> bool:
        """It treats each channel by itself, so that one fewer going in is one fewer coming out."""
        kept = ("elementwise", "batch norm", "pooling", "reshape", "squeeze")
        return self.crops or self.kind in kept or self.takes == "average"


@dataclass(eq=False)
class Graph:
    """A trace, and what its operators do to positions. :func:`~.operators.follow` makes it.

    Attributes:
        ops: the row of the table for each node.
        dependent: values that the network's input has a part in.
        layouts: of dependent values; None where positions are lost.
        effects: of nodes that make something dependent; None where positions are lost.
        names: of each node's layer.
        leaks: layers where values left the graph (numbers read by Python, NumPy), so that it has a hole.
    """

    trace: Trace
    ops: dict[Node, Op] = field(default_factory=dict)
    dependent: set[Value] = field(default_factory=set)
    layouts: dict[Value, Layout | None] = field(default_factory=dict)
    effects: dict[Node, Effect | None] = field(default_factory=dict)
    names: dict[Node, str] = field(default_factory=dict)
    leaks: list[str] = field(default_factory=list)

    def inputs(self, node: Node) -> list[Value]:
        """Values that a node reads and that the image has a part in, each once."""
        return [value for value in dict.fromkeys(node.inputs) if value in self.dependent]

    def argument(self, node: Node, name: str) -> Value | None:
        """The value behind an argument when the image has a part in it."""
        found = node.args.get(name)
        return found if isinstance(found, Value) and found in self.dependent else None

    def runs(self, node: Node) -> bool:
        """Whether the image has a part in what a node makes."""
        return any(value in self.dependent for value in node.outputs)

    def layout(self, value: Value) -> Layout:
        """Layout of a value that depends on the image.

        Raises:
            LostError: it is not known.
        """
        found = self.layouts.get(value)
        if found is None:
            raise LostError
        return found

    def axes(self, value: Value) -> set[int] | None:
        """Axes that a value has; None when its layout is lost."""
        found = self.layouts.get(value)
        return None if found is None else axes.axes(found)

    def extent(self, value: Value, axis: int) -> int:
        """Positions of a value along an axis; 0 when it does not have it."""
        return axes.extent(self.layouts.get(value) or (), axis)

    def links(self, node: Node) -> list[Link | Literal["whole"]]:
        """How a node reads positions, over all its inputs and axes."""
        effect = self.effects.get(node)
        return [link for by_axis in (effect.links.values() if effect else ()) for link in by_axis.values()]

    def unmoved(self, value: Value) -> Value | None:
        """The one value that a value holds position by position; None where it reads others or some of elsewhere."""
        effect = self.effects.get(value.producer) if value.producer else None
        if effect is None or not effect.known or effect.gathers or len(effect.links) != 1:
            return None
        [(source, links)] = effect.links.items()
        return source if links and all(link == SAME for link in links.values()) else None

    @cached_property
    def _readers(self) -> dict[Value, list[Node]]:
        found: dict[Value, list[Node]] = {}
        for node in self.trace.nodes:
            for value in dict.fromkeys(node.inputs):
                found.setdefault(value, []).append(node)
        return found

    def readers(self, value: Value) -> list[Node]:
        """Nodes that read a value, in the order they ran."""
        return self._readers.get(value, [])

    def back(
        self, starts: Iterable[Value], through: Callable[[Value], Iterable[Value]] | None = None
    ) -> Iterator[Value]:
        """Some values and what they are made of, the latest first: nothing comes before what was made of it.

        Args:
            starts: where to begin.
            through: the values to go on to from one, asked when the caller is done with it; all that its operator
                read when not given.
        """
        pending: list[tuple[int, Value]] = []
        seen: set[Value] = set()
        ahead: Iterable[Value] = starts
        while True:
            for value in ahead:
                if value not in seen:
                    seen.add(value)
                    heappush(pending, (-value.index, value))
            if not pending:
                return
            value = heappop(pending)[1]
            yield value
            ahead = through(value) if through else value.producer.inputs if value.producer else ()

    def forth(self, start: Value, through: Callable[[Node], bool]) -> Iterator[Node]:
        """Nodes that read a value or what was made of it, in the order they ran.

        Args:
            start: where to begin.
            through: whether to go on to the readers of a node's outputs, asked when the caller is done with it.
        """
        pending: list[tuple[int, Node]] = []
        seen: set[Node] = set()
        ahead: Iterable[Value] = [start]
        while True:
            for node in (reader for value in ahead for reader in self.readers(value)):
                if node not in seen:
                    seen.add(node)
                    heappush(pending, (node.index, node))
            if not pending:
                return
            node = heappop(pending)[1]
            yield node
            ahead = node.outputs if through(node) else ()
