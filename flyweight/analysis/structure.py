"""What a traced graph is made of: convolutions, pooling, the way to the output, dead weight."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any, Literal

from flyweight.analysis.effects import WHOLE, has_axis
from flyweight.analysis.facts import (
    Head,
    HeadFault,
    Pooling,
    UnknownOperator,
    Unreached,
)
from flyweight.analysis.links import SAME, Bins, Coarse, Nearest, Window
from flyweight.analysis.names import Names
from flyweight.analysis.operators import adaptive_pooling, does_no_macs, operator_for, pooling
from flyweight.analysis.receptive_field import Graph
from flyweight.analysis.trace import Node, Trace

_MAXIMA = ("max", "amax", "max_pool")
_AVERAGES = ("mean", "avg_pool")
_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")


def find_poolings(graph: Graph, names: Names) -> tuple[Pooling, ...]:
    """Everything that pools or drops pixels, in order."""
    found = []
    for index, node in enumerate(graph.trace.nodes):
        effect, operator = graph.effects[index], operator_for(node)
        is_pool = operator in (pooling, adaptive_pooling) or "max_pool" in node.name
        links = [link for by_axis in (effect.links.values() if effect else []) for link in by_axis.values()]
        dependent = any(graph.trace.values[v].dependent for v in node.inputs)
        if not dependent or not (is_pool or links):
            continue
        whole = any(link == WHOLE for link in links)
        kind: Literal["max", "average", "subsampling"] | None = None
        if is_pool or (whole and node.name in ("max", "amax", "mean")):
            kind = (
                "max"
                if node.name.removeprefix("adaptive_").startswith(_MAXIMA) or "max_pool" in node.name
                else "average"
            )
        elif node.name != "convolution" and any(_drops(link) for link in links):
            kind = "subsampling"
        if kind is not None:
            found.append(Pooling(names.of(index), index, kind, whole))
    return tuple(found)


def _drops(link: Any) -> bool:
    if isinstance(link, Window):
        return link.stride > 1
    return isinstance(link, (Bins, Coarse)) or (isinstance(link, Nearest) and link.after < link.before)


def find_head(graph: Graph, names: Names) -> Head:
    """Go back from the output to the last map and see by which operator its positions end."""
    trace = graph.trace
    poolings: dict[int, None] = {}
    faults: dict[int, HeadFault] = {}
    targets: dict[int, None] = {}
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
        _step_back(graph, names, value, pending, (poolings, faults, targets))
    return Head(
        pooling=tuple(dict.fromkeys(names.of(index) for index in sorted(poolings))),
        faults=tuple(faults[index] for index in sorted(faults)),
        targets=tuple(targets),
    )


def _step_back(graph: Graph, names: Names, value: int, pending: list[int], found: tuple[Any, Any, Any]) -> None:
    """One operator of :func:`find_head`: did it end an axis, and by averaging?"""
    poolings, faults, targets = found
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


def find_unreached(trace: Trace) -> tuple[Unreached, ...]:
    """Modules with parameters of their own of which none has a part in the output."""
    reached = {name for value in _behind(trace, trace.outputs) if (name := trace.values[value].parameter)}
    names = {id(parameter): name for name, parameter in trace.model.named_parameters()}
    called = {call.path for call in trace.calls}
    found = []
    for path, module in trace.model.named_modules():
        own = list(module.parameters(recurse=False))
        if own and not any(names[id(parameter)] in reached for parameter in own):
            reason = "its output does not reach the network's output" if path in called else "it never ran"
            found.append(Unreached(path or "the network", sum(p.numel() for p in own), reason))
    return tuple(found)


def _behind(trace: Trace, values: Iterable[int]) -> set[int]:
    """Values that have a part in some values, themselves included."""
    pending, seen = list(values), set[int]()
    while pending:
        index = pending.pop()
        if index not in seen:
            seen.add(index)
            producer = trace.values[index].producer
            pending.extend(trace.nodes[producer].inputs if producer is not None else ())
    return seen


def find_unknown(graph: Graph, names: Names) -> tuple[UnknownOperator, ...]:
    """Operators where following positions ends, not those that only come after one, and holes in the trace."""
    found: dict[UnknownOperator, None] = {}
    reached = _behind(graph.trace, graph.trace.outputs)
    for index, node in enumerate(graph.trace.nodes):
        if (reached & set(node.outputs) and _loses_positions(graph, index)) or unknown_work(graph, index):
            found[UnknownOperator(names.of(index), node.name, opaque=operator_for(node) is None)] = None
    for layer in graph.trace.leaks:
        found[UnknownOperator(layer, "values read outside torch", opaque=True)] = None
    return tuple(found)


def _loses_positions(graph: Graph, index: int) -> bool:
    """Whether positions were known before a node and are not, or what it reads is not, after it."""
    trace, effect = graph.trace, graph.effects[index]
    inputs = [v for v in trace.nodes[index].inputs if trace.values[v].dependent]
    if not inputs or not any(trace.values[v].dependent for v in trace.nodes[index].outputs):
        return False
    return not effect.known if effect is not None else all(graph.axes(v) is not None for v in inputs)


def unknown_work(graph: Graph, index: int) -> bool:
    """Whether a node might hide multiply-accumulates that nobody counts."""
    node = graph.trace.nodes[index]
    dependent = any(graph.trace.values[v].dependent for v in node.outputs)
    return dependent and node.macs is None and not does_no_macs(node)
