"""What of a traced graph leads nowhere, and what of it is not understood."""

from __future__ import annotations

from collections.abc import Iterable

from flyweight.analysis.facts import UnknownOperator, Unreached
from flyweight.analysis.names import Names
from flyweight.analysis.operators import does_no_macs, operator_for
from flyweight.analysis.receptive_field import Graph
from flyweight.analysis.trace import Trace


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
