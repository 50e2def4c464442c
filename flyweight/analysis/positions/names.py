"""Names of operators as a person would call them: the module's path, or where a functional operator ran."""

from __future__ import annotations

from math import prod

from flyweight.analysis.positions.graph import Graph
from flyweight.analysis.trace.trace import Node


def label(graph: Graph, node: Node) -> str:
    """Name of an operator without the marks of its implementation."""
    op = graph.ops[node]
    if op.kind == "reshape" and node.inputs and node.outputs:
        before, after = node.inputs[0].shape, node.outputs[0].shape
        if len(after) == 2 and len(before) > 2 and prod(before[2:]) > 1:
            return "flatten"
    return op.label or node.name.strip("_")


def words(graph: Graph, node: Node) -> str:
    """What a message calls an operator: the class of the layer that it stands for, else what the table says."""
    if node.call is None or not node.in_leaf:
        return graph.ops[node].told or node.name
    kind = type(node.call.module)
    return f"nn.{kind.__name__}" if kind.__module__.startswith("torch.nn.") else kind.__name__


def name_nodes(graph: Graph) -> dict[Node, str]:
    """A name for each node; a second functional ``add`` of one module becomes ``add_2``."""
    names: dict[Node, str] = {}
    counts: dict[str, int] = {}
    for node in graph.trace.nodes:
        if node.in_leaf:
            names[node] = node.path
            continue
        name = f"{node.path}.{label(graph, node)}" if node.path else label(graph, node)
        if graph.runs(node):
            counts[name] = counts.get(name, 0) + 1
        names[node] = f"{name}_{counts[name]}" if counts.get(name, 0) > 1 else name
    return names
