"""Averages over positions, however they are written: a mean, or a sum times one over the number of places."""

from __future__ import annotations

from math import isclose, prod
from numbers import Real

from flyweight.analysis.positions.graph import Graph
from flyweight.analysis.positions.reads import WHOLE
from flyweight.analysis.trace.trace import Node, Value


def averages(graph: Graph, node: Node) -> bool:
    """Whether a node takes an average, or a sum that is scaled to one before it or on every way after it."""
    takes = graph.ops[node].takes
    if takes != "sum":
        return takes == "average"
    before = 1.0
    for value in graph.back(graph.inputs(node), lambda value: _scaled(graph, value)):
        before *= _factor(graph, value.producer) or 1.0
    return _becomes_one(graph, node, before)


def _scaled(graph: Graph, value: Value) -> list[Value]:
    """The one value that a value is, times a number."""
    node = value.producer
    return graph.inputs(node) if node is not None and _factor(graph, node) is not None else []


def _becomes_one(graph: Graph, node: Node, before: float) -> bool:
    """Whether on every way on from a node the numbers are, at some place, an average: their weights add up to one."""
    factor = _factor(graph, node)
    if factor is None:
        return False
    total = before * factor
    if isclose(total, 1, rel_tol=1e-6):
        return True
    readers = [reader for value in node.outputs for reader in graph.readers(value)]
    ended = any(value in graph.trace.outputs for value in node.outputs)
    return bool(readers) and not ended and all(_becomes_one(graph, reader, total) for reader in readers)


def _factor(graph: Graph, node: Node | None) -> float | None:
    """What the weights of a node's numbers add up to, when those that it reads add up to one.

    None where it does not only scale, sum and move numbers, or by how much is not known.
    """
    if node is None or len(graph.inputs(node)) != 1:
        return None
    op, [source] = graph.ops[node], graph.inputs(node)
    if op.takes in ("average", "sum"):
        effect = graph.effects.get(node)
        if effect is None:
            return None
        lost = [axis for axis, link in effect.links[source].items() if link == WHOLE]
        return float(prod(graph.extent(source, axis) for axis in lost)) if op.takes == "sum" else 1.0
    if op.scale in ("", "none"):
        return 1.0 if op.scale else None
    other = next((node.args[name] for name in ("self", "other") if node.args.get(name) is not source), None)
    if not isinstance(other, Real) or not other or node.args.get("rounding_mode"):
        return None
    if op.scale == "times":
        return float(other)
    return 1 / float(other) if node.args["self"] is source else None
