"""Everything that pools or drops pixels, by whatever operators a network writes it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import Any, Literal

import numpy as np

from flyweight.analysis.effects import WHOLE
from flyweight.analysis.facts import Pooling
from flyweight.analysis.links import Bins, Coarse, Nearest, Window
from flyweight.analysis.names import Names
from flyweight.analysis.operators import adaptive_pooling, elementwise, moves, operator_for, pooling
from flyweight.analysis.rearranging import joining
from flyweight.analysis.receptive_field import Graph, Interval

# a minimum is the maximum of what was negated, negated
_OVER_DIMENSIONS = {"max", "amax", "min", "amin"}
_OF_SEVERAL = {"maximum", "minimum", "fmax", "fmin"} | {
    f"clamp{end}" for end in ("", "_", "_min", "_min_", "_max", "_max_")
}

Places = dict[int, "dict[int, Interval] | None"]


def find_poolings(graph: Graph, names: Names) -> tuple[Pooling, ...]:
    """Everything that pools or drops pixels, in order."""
    found = []
    for index, node in enumerate(graph.trace.nodes):
        if not any(graph.trace.values[v].dependent for v in node.inputs):
            continue
        effect = graph.effects[index]
        links = [link for by_axis in (effect.links.values() if effect else []) for link in by_axis.values()]
        whole, stride = WHOLE in links, max((_stride(link) for link in links), default=1)
        kind, known = _kind(graph, index, links)
        if kind is not None:
            found.append(Pooling(names.of(index), index, kind, whole, stride, known))
    return tuple(found)


def _kind(graph: Graph, index: int, links: list[Any]) -> tuple[Literal["max", "average", "subsampling"] | None, bool]:
    """What a node does to positions, and whether that is sure."""
    node = graph.trace.nodes[index]
    if operator_for(node) in (pooling, adaptive_pooling) or "max_pool" in node.name:
        return ("max" if "max_pool" in node.name else "average"), True
    operands = _operands(graph, index)
    if graph.effects[index] is None:
        return ("max" if node.name in _OVER_DIMENSIONS or len(operands) > 1 else None), False
    if WHOLE in links and (node.name in _OVER_DIMENSIONS or node.name == "mean"):
        return ("average" if node.name == "mean" else "max"), True
    if any(_elsewhere(graph, a, b) for a, b in combinations(operands, 2)):
        return "max", True
    if node.name != "convolution" and any(_drops(link) for link in links):
        return "subsampling", True
    return None, True


def _drops(link: Any) -> bool:
    return isinstance(link, (Bins, Coarse)) or (isinstance(link, (Window, Nearest)) and _stride(link) > 1)


def _stride(link: Any) -> int:
    """Positions from one that is read to the next, rounded up where they differ."""
    if isinstance(link, Window):
        return link.stride
    return -(-link.before // link.after) if isinstance(link, (Bins, Nearest)) else 1


def _operands(graph: Graph, index: int) -> list[int]:
    """Values of which a node takes the largest or the smallest, number by number."""
    trace = graph.trace
    node = trace.nodes[index]
    dependent = _dependent(graph, node.inputs)
    if node.name in _OF_SEVERAL:
        return dependent
    if node.name not in _OVER_DIMENSIONS or len(dependent) != 1:
        return []
    # stacked or concatenated before, the maximum over features is one of several values
    while len(dependent) == 1 and (producer := trace.values[dependent[0]].producer) is not None:
        before = trace.nodes[producer]
        if operator_for(before) is joining:
            return _dependent(graph, before.inputs)
        if not _hands_on(graph, producer):
            break
        dependent = _dependent(graph, before.inputs)
    return []


def _dependent(graph: Graph, values: Iterable[int]) -> list[int]:
    return [value for value in dict.fromkeys(values) if graph.trace.values[value].dependent]


def _hands_on(graph: Graph, index: int) -> bool:
    """Whether a node moves numbers or works on each place by itself, so that no neighbour comes in."""
    node, effect = graph.trace.nodes[index], graph.effects[index]
    links = [link for by_axis in (effect.links.values() if effect else []) for link in by_axis.values()]
    if effect is None or not links or moves(node):
        return operator_for(node) is elementwise or moves(node)
    return all(isinstance(link, Window) and link.kernel == 1 for link in links)


def _elsewhere(graph: Graph, a: int, b: int) -> bool:
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


def _places(graph: Graph, value: int) -> Places:
    """For each map that a value is made of by moving numbers: the positions that it reads; None where not known."""
    start = {}
    for axis in graph.axes(value) or ():
        size = graph.extent(value, axis)
        start[axis] = Interval.start(np.arange(size, dtype=np.int64), size)
    found: Places = {value: start}
    producer = graph.trace.values[value].producer
    for index in range(-1 if producer is None else producer, -1, -1):
        node, effect = graph.trace.nodes[index], graph.effects[index]
        asked = [found[output] for output in node.outputs if output in found]
        if not asked or not _hands_on(graph, index):
            continue
        for source in _dependent(graph, node.inputs):
            links = effect.links.get(source) if effect is not None and effect.known else None
            for need in asked:
                known = found.get(source, {})
                if need is None or known is None or links is None:
                    found[source] = None
                    continue
                for axis, link in links.items():
                    if axis in need and link != WHOLE:
                        mine = need[axis].through(link, graph.extent(source, axis))
                        known[axis] = known[axis].union(mine) if axis in known else mine
                found[source] = known
    return found
