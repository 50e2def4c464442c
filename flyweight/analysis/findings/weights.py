"""Whose weights an operator reads, and weights that nobody owns."""

from __future__ import annotations

from math import prod

from flyweight.analysis.facts import Unregistered
from flyweight.analysis.positions.graph import Graph
from flyweight.analysis.trace.trace import Node, Value


def used_parameters(graph: Graph, node: Node) -> dict[str, int]:
    """Sizes of the parameters that a node reads, directly or through computations on parameters alone, by name."""
    return {value.parameter: prod(value.shape) for value in _constants(graph, node) if value.parameter is not None}


def _constants(graph: Graph, node: Node) -> list[Value]:
    """Values that no operator made and that a node reads, directly or through computations without the image."""
    starts = [value for value in node.inputs if value not in graph.dependent]
    return [value for value in graph.back(starts) if value.producer is None]


def find_unregistered(graph: Graph) -> tuple[Unregistered, ...]:
    """Weights that have a part in the output and that the network does not know of, in order."""
    numbers: dict[str, int] = {}
    pending = dict(graph.trace.unregistered)
    for node in graph.trace.nodes:
        # without this most networks would be walked for nothing
        if not pending or not graph.runs(node):
            continue
        for value in reversed(_constants(graph, node)):
            if value in pending:
                layer = pending.pop(value) or graph.names[node]
                numbers[layer] = numbers.get(layer, 0) + prod(value.shape)
    return tuple(Unregistered(layer, count) for layer, count in numbers.items())
