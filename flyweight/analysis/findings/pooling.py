"""Everything that pools or drops pixels, by whatever operators a network writes it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import Any, Literal

import numpy as np

from flyweight.analysis.facts import Pooling
from flyweight.analysis.findings.averages import averages
from flyweight.analysis.positions.field import Interval
from flyweight.analysis.positions.graph import Graph
from flyweight.analysis.positions.reads import WHOLE, Between, Bins, Coarse, Nearest, Window
from flyweight.analysis.trace.trace import Node, Value

Places = dict[Value, "dict[int, Interval] | None"]


def find_poolings(graph: Graph) -> tuple[Pooling, ...]:
    """Everything that pools or drops pixels, in order."""
    found = []
    for node in graph.trace.nodes:
        if not graph.inputs(node):
            continue
        links = graph.links(node)
        kind, known = _kind(graph, node, links)
        if kind is not None:
            stride = max((_stride(link) for link in links), default=1)
            found.append(Pooling(graph.names[node], node, kind, WHOLE in links, stride, known))
    return tuple(found)


def _kind(graph: Graph, node: Node, links: list[Any]) -> tuple[Literal["max", "average", "subsampling"] | None, bool]:
    """What a node does to positions, and whether that is sure."""
    op = graph.ops[node]
    if op.kind == "pooling":
        return ("max" if op.extreme else "average"), True
    over_dimensions = op.kind == "reduction" and op.extreme
    operands = _operands(graph, node)
    if graph.effects.get(node) is None:
        return ("max" if over_dimensions or len(operands) > 1 else None), False
    if WHOLE in links and (over_dimensions or averages(graph, node)):
        return ("max" if over_dimensions else "average"), True
    if any(_elsewhere(graph, a, b) for a, b in combinations(operands, 2)):
        return "max", True
    if op.extreme and any(_of_windows(graph, value) for value in graph.inputs(node)):
        return "max", False
    if op.kind != "convolution" and any(_drops(link) for link in links):
        return "subsampling", True
    return None, True


def _of_windows(graph: Graph, value: Value) -> bool:
    """Whether the features of a value are pixels of a window (``F.unfold``), moved or changed one by one since."""
    found = False

    def step(value: Value) -> Iterable[Value]:
        nonlocal found
        node = value.producer
        if node is None or not _hands_on(graph, node):
            return ()
        found |= any(isinstance(link, Window) and link.kernel > 1 for link in graph.links(node))
        return graph.inputs(node)

    for _ in graph.back([value], step):
        pass
    return found


def _drops(link: Any) -> bool:
    return isinstance(link, (Bins, Coarse)) or (isinstance(link, (Window, Nearest, Between)) and _stride(link) > 1)


def _stride(link: Any) -> int:
    """Positions from one that is read to the next, rounded up where they differ."""
    if isinstance(link, Window):
        return link.stride
    return -(-link.before // link.after) if isinstance(link, (Bins, Nearest, Between)) else 1


def _operands(graph: Graph, node: Node) -> list[Value]:
    """Values of which a node takes the largest or the smallest, number by number."""
    op, read = graph.ops[node], graph.inputs(node)
    if not op.extreme:
        return []
    if op.kind == "elementwise":
        return read
    # stacked or concatenated before, the maximum over features is one of several values
    while len(read) == 1 and (producer := read[0].producer) is not None:
        if graph.ops[producer].kind == "join":
            return graph.inputs(producer)
        if not _hands_on(graph, producer):
            break
        read = graph.inputs(producer)
    return []


def _hands_on(graph: Graph, node: Node) -> bool:
    """Whether a node moves numbers or works on each place by itself, so that no neighbour comes in."""
    op, links = graph.ops[node], graph.links(node)
    if not links or op.moves:
        return op.moves or op.kind == "elementwise"
    return all(isinstance(link, Window) and link.kernel == 1 for link in links)


def _elsewhere(graph: Graph, a: Value, b: Value) -> bool:
    """Whether two values read one map at different places, with no kernel between it and them."""
    places = [_places(graph, value) for value in (a, b)]
    for value in places[0].keys() & places[1].keys():
        one, other = places[0][value], places[1][value]
        if one is None or other is None:
            return True
        for axis in one.keys() & other.keys():
            pairs = ((one[axis].first, other[axis].first), (one[axis].last, other[axis].last))
            if not all(np.array_equal(*pair) for pair in pairs):
                return True
    return False


def _places(graph: Graph, start: Value) -> Places:
    """For each map that a value is made of by moving numbers: the positions that it reads; None where not known."""
    sizes = {axis: graph.extent(start, axis) for axis in graph.axes(start) or ()}
    found: Places = {start: {axis: Interval.start(np.arange(size), size) for axis, size in sizes.items()}}

    def step(value: Value) -> Iterable[Value]:
        node, need = value.producer, found[value]
        if node is None or not _hands_on(graph, node):
            return ()
        effect = graph.effects.get(node)
        for source in graph.inputs(node):
            links = effect.links.get(source) if effect is not None and effect.known else None
            known = found.get(source, {})
            if need is None or known is None or links is None:
                found[source] = None
                continue
            for axis, link in links.items():
                if axis in need and link != WHOLE:
                    mine = need[axis].through(link, graph.extent(source, axis))
                    known[axis] = known[axis].union(mine) if axis in known else mine
            found[source] = known
        return graph.inputs(node)

    for _ in graph.back([start], step):
        pass
    return found
