"""What of a graph leads nowhere, and what of it is not understood."""

from __future__ import annotations

from flyweight.analysis.facts import UnknownOperator, Unreached
from flyweight.analysis.positions.graph import Graph
from flyweight.analysis.positions.names import words
from flyweight.analysis.trace.running import plain
from flyweight.analysis.trace.trace import Node


def find_unreached(graph: Graph) -> tuple[Unreached, ...]:
    """Modules with parameters of their own of which none has a part in the output."""
    trace = graph.trace
    reached = {value.parameter for value in graph.back(trace.outputs)}
    names = {id(parameter): plain(name) for name, parameter in trace.model.named_parameters()}
    called = {call.path for call in trace.calls}
    found = []
    for path, module in ((plain(path), module) for path, module in trace.model.named_modules()):
        own = list(module.parameters(recurse=False))
        if own and not any(names[id(parameter)] in reached for parameter in own):
            reason = "its output does not reach the network's output" if path in called else "it never ran"
            found.append(Unreached(path or "the network", sum(p.numel() for p in own), reason))
    return tuple(found)


def find_unknown(graph: Graph) -> tuple[UnknownOperator, ...]:
    """Operators where following positions ends, not those that only come after one, and holes in the trace."""
    found: dict[UnknownOperator, None] = {}
    reached = set(graph.back(graph.trace.outputs))
    for node in graph.trace.nodes:
        lost = _loses_positions(graph, node) and not reached.isdisjoint(node.outputs)
        if lost or unknown_work(graph, node):
            opaque = graph.ops[node].effect is None
            found[UnknownOperator(graph.names[node], node.name, opaque, words(graph, node))] = None
    for layer in graph.leaks:
        found[UnknownOperator(layer, "values read outside torch", opaque=True)] = None
    return tuple(found)


def _loses_positions(graph: Graph, node: Node) -> bool:
    """Whether positions were known before a node and are not, or what it reads is not, after it."""
    if node not in graph.effects:
        return False
    effect = graph.effects[node]
    return not effect.known if effect else all(graph.axes(value) is not None for value in graph.inputs(node))


def unknown_work(graph: Graph, node: Node) -> bool:
    """Whether a node might hide multiply-accumulates that nobody counts."""
    return graph.runs(node) and node.macs is None and graph.ops[node].effect is None
