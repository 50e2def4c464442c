"""What the families of operators share."""

from __future__ import annotations

from flyweight.analysis.positions import axes
from flyweight.analysis.positions.axes import Layout, LostError
from flyweight.analysis.positions.graph import Effect, Graph
from flyweight.analysis.positions.reads import SAME, Links
from flyweight.analysis.trace.trace import Node, Value


def unmoved(layout: Layout) -> Links:
    """Links of an operator that keeps every position."""
    return dict.fromkeys(axes.axes(layout), SAME)


def only_input(node: Node, graph: Graph) -> Value:
    """The one value that depends on the image; it must be the argument ``self`` or ``input``.

    Raises:
        LostError: it is another one, or there are several.
    """
    value = graph.argument(node, "self" if "self" in node.args else "input")
    if value is None or graph.inputs(node) != [value]:
        raise LostError
    return value


def effect_on_input(node: Node, graph: Graph, layout: Layout, links: Links, **more: bool) -> Effect:
    """An effect on one input that depends on the image; further outputs (indices, statistics) are not followed."""
    return Effect([layout, *[None] * (len(node.outputs) - 1)], {graph.inputs(node)[0]: links}, **more)


def dims_of(node: Node, rank: int, name: str = "dim") -> set[int]:
    """Dimensions that an operator names, none meaning all of them."""
    given = node.args.get(name)
    if given is None or given == []:
        return set(range(rank))
    return {index % rank for index in ([given] if isinstance(given, int) else given)}
