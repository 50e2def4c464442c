"""The way from the last map to the output: does it go through global average pooling, and of the whole map?"""

from __future__ import annotations

from math import prod
from typing import Any

from flyweight.analysis import rearranging as move
from flyweight.analysis.effects import has_axis
from flyweight.analysis.facts import Head, HeadFault
from flyweight.analysis.links import SAME, Window
from flyweight.analysis.names import Names
from flyweight.analysis.operators import operator_for
from flyweight.analysis.receptive_field import Graph, Pixels, UnknownFieldError, look_back
from flyweight.analysis.trace import Node

_AVERAGES = ("mean", "avg_pool")
_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")
# these can leave positions of a map out without making a new number of them
_DROPPING = (move.slicing, move.padding, move.nearest)


def find_head(graph: Graph, names: Names) -> Head:
    """Go back from the output to the last map and see by which operator its positions end."""
    trace = graph.trace
    poolings: dict[int, None] = {}
    faults: dict[int, HeadFault] = {}
    targets: dict[int, None] = {}
    averaged: dict[int, int] = {}
    seen: set[int] = set()
    pending = [value for value in trace.outputs if trace.values[value].dependent]
    for value in pending:
        if graph.axes(value):
            faults[-1] = HeadFault("the output", "is still a map of positions", map_shape=trace.values[value].shape[1:])
            targets[value] = None
    if not pending:
        faults[-1] = HeadFault("the output", "does not depend on the input")
    while pending:
        value = pending.pop()
        if value in seen or value in targets:
            continue
        seen.add(value)
        _step_back(graph, names, value, pending, (poolings, faults, targets, averaged))
    for value, index in averaged.items():
        fault = _partial(graph, names, value, index)
        if fault is not None:
            faults[fault.node] = fault
    return Head(
        pooling=tuple(dict.fromkeys(names.of(index) for index in sorted(poolings))),
        faults=tuple(faults[index] for index in sorted(faults)),
        targets=tuple(targets),
    )


def _step_back(graph: Graph, names: Names, value: int, pending: list[int], found: tuple[Any, ...]) -> None:
    """One operator of :func:`find_head`: did it end an axis, and by averaging?"""
    poolings, faults, targets, averaged = found
    trace = graph.trace
    index = trace.values[value].producer
    after = graph.axes(value)
    if index is None:
        return
    node = trace.nodes[index]
    if after is None:
        cause = _cause(graph, value)
        faults[cause] = HeadFault(names.of(cause), f"({trace.nodes[cause].name}) is not understood", cause)
        return
    for source in dict.fromkeys(v for v in node.inputs if trace.values[v].dependent):
        before = graph.axes(source)
        if before is None:
            cause = _cause(graph, source)
            faults[cause] = HeadFault(names.of(cause), f"({trace.nodes[cause].name}) is not understood", cause)
        elif not before - after:
            pending.append(source)
        else:
            if _averages(node):
                poolings[index] = None
                averaged[_unflattened(graph, source)] = index
            else:
                faults[index] = _fault(graph, names, index, source)
            if len(before) == len(graph.axes(trace.input) or ()):
                targets[_unflattened(graph, source)] = None
            else:  # the other axis ended before: go on to where
                pending.append(source)


def _fault(graph: Graph, names: Names, index: int, source: int) -> HeadFault:
    """What a node does to a map that it does not average."""
    node, shape = graph.trace.nodes[index], _map_shape(graph, source)
    detail = f"{_verb(node)} a map of {'x'.join(map(str, shape))} without averaging it"
    features = graph.trace.values[node.outputs[0]].shape[-1] if node.name in _PRODUCTS else 0
    return HeadFault(names.of(index), detail, index, shape, features)


def _partial(graph: Graph, names: Names, value: int, pooling: int) -> HeadFault | None:
    """What keeps an average from being one of the whole last map, None when it is.

    It is not global where an operator before it leaves positions of the last map out. Nor where the map has one place
    and had several before, whether a kernel as large as the map left one or strides did on a small picture: to average
    one number changes nothing, so the operator that left it stands where the average should. A max pooling that ends
    the map before the average is a fault for the same reason.
    """
    step = _cropping(graph, value)
    if step is not None:
        shape = _map_shape(graph, step[1])
        left = "x".join(str(graph.extent(value, axis)) for axis in sorted(graph.axes(value) or ()))
        detail = f"leaves {left} of a map of {'x'.join(map(str, shape))} to be averaged"
        return HeadFault(names.of(step[0]), detail, step[0], shape)
    complete = graph.axes(value) == graph.axes(graph.trace.input)  # no axis was averaged before
    step = _narrowing(graph, value) if complete and _places(graph, value) == 1 else None
    if step is not None:
        shape = _map_shape(graph, step[1])
        detail = f"leaves one place of a map of {'x'.join(map(str, shape))}: {names.of(pooling)} has nothing to average"
        return HeadFault(names.of(step[0]), detail, step[0], shape)
    return None


def _places(graph: Graph, value: int) -> int:
    """Positions of a map on all axes together."""
    return prod(graph.extent(value, axis) for axis in graph.axes(value) or ())


def _narrowing(graph: Graph, target: int) -> tuple[int, int] | None:
    """The operator that made a map of several places one of a single place, and that map."""
    trace, pending, seen = graph.trace, [target], set[int]()
    while pending:
        value = pending.pop()
        index = trace.values[value].producer
        if value in seen or index is None:
            continue
        seen.add(value)
        for source in trace.nodes[index].inputs:
            if graph.axes(source) and _places(graph, source) > 1:
                return index, source
            if graph.axes(source):
                pending.append(source)
    return None


def _cropping(graph: Graph, target: int) -> tuple[int, int] | None:
    """The first operator that leaves out what the last convolutions made and nothing else reads, and its map.

    What a branch leaves out so that it fits another one, which did read it, is not missing from the average.
    """
    steps: list[tuple[int, int]] = []
    made: list[int] = []
    pending, seen = [target], set[int]()
    while pending:
        value = pending.pop()
        if value in seen or not graph.axes(value):
            continue
        seen.add(value)
        index = graph.trace.values[value].producer
        effect = graph.effects[index] if index is not None else None
        if index is None or effect is None or not _passes(graph, index):
            made.append(value)
            continue
        for source, links in effect.links.items():
            pending.append(source)
            if any(graph.extent(source, axis) > graph.extent(value, axis) for axis in links):
                steps.append((index, source))
    if not steps:
        return None
    try:
        needs = look_back(graph, target, Pixels).needs
    except UnknownFieldError:
        return min(steps)  # that another branch reads the rest cannot be shown
    read = [need.mask.any(axis=0).all() for value in made for need in needs.get(value, {}).values()]
    return None if all(read) else min(steps)


def _passes(graph: Graph, index: int) -> bool:
    """Whether each number that a node makes is one of each map before it, at one place."""
    effect = graph.effects[index]
    links = [link for by_axis in (effect.links.values() if effect else []) for link in by_axis.values()]
    alone = all(isinstance(link, Window) and link.kernel == link.stride == 1 for link in links)
    return alone or operator_for(graph.trace.nodes[index]) in _DROPPING


def _cause(graph: Graph, value: int) -> int:
    """The operator where the positions of a value were lost."""
    trace = graph.trace
    while True:
        index = trace.values[value].producer or 0
        lost = [v for v in trace.nodes[index].inputs if trace.values[v].dependent and graph.axes(v) is None]
        if not lost:
            return index
        value = lost[0]


def _unflattened(graph: Graph, value: int) -> int:
    """The map that a value is a reshape of."""
    while (producer := graph.trace.values[value].producer) is not None:
        layout, effect = graph.map.layouts.get(value) or (), graph.effects[producer]
        if all(not has_axis(dim) or len(dim) == 1 for dim in layout) or effect is None or len(effect.links) != 1:
            return value
        [(source, links)] = effect.links.items()
        if any(link is not SAME for link in links.values()):
            return value
        value = source
    return value


def _averages(node: Node) -> bool:
    return node.name.lstrip("_").removeprefix("adaptive_").startswith(_AVERAGES)


def _verb(node: Node) -> str:
    if node.name in _PRODUCTS:
        return "flattens"
    if "max" in node.name:
        return "takes the maximum of"
    return f"({node.name.strip('_')}) ends"


def _map_shape(graph: Graph, value: int) -> tuple[int, ...]:
    """(C, H, W) of a map, however it is laid out by now."""
    sides = [graph.extent(value, axis) for axis in sorted(graph.axes(value) or ())]
    return (prod(graph.trace.values[value].shape) // max(1, prod(sides)), *sides)
