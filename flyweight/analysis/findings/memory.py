"""How many numbers of maps a network holds at once, run step by step in the order of its forward pass.

A step's inputs and outputs are there together with every map that a later step still reads, as a microcontroller's
runtime has them (Lin et al. 2020, "MCUNet", section 3.1; Liberis et al. 2021, "uNAS", section 4.2). What such a runtime
computes on the fly makes no map of its own: a norm or an activation behind the only thing that reads a map, and
whatever only says how the same numbers are to be read (reshapes, sizes of 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from flyweight.analysis.facts import Peak
from flyweight.analysis.positions.graph import Graph
from flyweight.analysis.trace.trace import Node, Value

_IN_PLACE = ("elementwise", "batch norm")
_SAME_NUMBERS = ("reshape", "squeeze")


@dataclass(eq=False)
class _Map:
    name: str
    numbers: int
    born: int
    dies: int


def activation_peak(
    graph: Graph, input_counts: bool = True, add_in_place: bool = False, pointwise_in_place: bool = False
) -> Peak:
    """The most numbers of maps that are held at once.

    Args:
        graph: of the network.
        input_counts: the image lies in the same memory.
        add_in_place: a sum is written over a part of it that nobody reads afterwards.
        pointwise_in_place: so is a dense 1x1 of stride 1 over what it reads, where its target is no larger.
    """
    maps = _maps(graph, add_in_place, pointwise_in_place)
    # the image is there before the first operator; a network without operators holds nothing else
    best = Peak(prod(graph.trace.input.shape) if input_counts else 0, "input", ())
    for node in _steps(graph):
        there = [m for m in maps if m.born <= node.index <= m.dies and (input_counts or m.born >= 0)]
        numbers = sum(m.numbers for m in there)
        if numbers > best.numbers:
            held = sorted(((m.name, m.numbers) for m in there), key=lambda entry: -entry[1])
            best = Peak(numbers, graph.names[node], tuple(held))
    return best


def _steps(graph: Graph) -> list[Node]:
    """Nodes that the image has a part in and that have a part in the output."""
    reached = set(graph.back(graph.trace.outputs))
    return [n for n in graph.trace.nodes if graph.inputs(n) and graph.runs(n) and not reached.isdisjoint(n.outputs)]


def _maps(graph: Graph, add_in_place: bool, pointwise_in_place: bool) -> list[_Map]:
    """Every map with the steps between which it is there."""
    steps = _steps(graph)
    last = {value: node.index for node in steps for value in graph.inputs(node)}
    forever = len(graph.trace.nodes)
    last.update(dict.fromkeys(graph.trace.outputs, forever))
    entry = _Map("input", prod(graph.trace.input.shape), -1, last.get(graph.trace.input, -1))
    of: dict[Value, _Map] = {graph.trace.input: entry}
    maps = [entry]
    for node in steps:
        read = [value for value in graph.inputs(node) if value in of]
        held = _held(graph, node, read, of, add_in_place)
        if pointwise_in_place and held is None and _pointwise(graph, node) and of[read[0]].dies == node.index:
            held = of[read[0]]
        for value in node.outputs:
            if value not in last:
                continue  # a mask or an index that nobody reads
            if held is None:
                of[value] = _Map(graph.names[node], prod(value.shape), node.index, last[value])
                maps.append(of[value])
            else:
                of[value] = held
                held.dies = max(held.dies, last[value])
                held.numbers = max(held.numbers, prod(value.shape))
    return maps


def _pointwise(graph: Graph, node: Node) -> bool:
    """Whether a position of what a convolution makes reads the same one of its source alone, and is no larger."""
    if graph.ops[node].kind != "convolution" or node.args["transposed"] or node.args["groups"] != 1:
        return False
    outputs, inputs, *kernel = node.args["weight"].shape
    plain = {*kernel, *node.args["stride"]} == {1} and {*node.args["padding"]} == {0}
    return plain and outputs <= inputs


def _held(graph: Graph, node: Node, read: list[Value], of: dict[Value, _Map], add_in_place: bool) -> _Map | None:
    """The map that a node's output lies in, None where it needs one of its own."""
    op, numbers = graph.ops[node], prod(node.outputs[0].shape)
    if len(read) == 1 and prod(read[0].shape) == numbers:
        if op.kind in _SAME_NUMBERS or (op.row != "always" and op.kind in ("move", "elementwise")):
            return of[read[0]]
        if op.kind in _IN_PLACE and of[read[0]].dies == node.index:
            return of[read[0]]
    if op.adds and add_in_place:
        free = [of[value] for value in read if of[value].dies == node.index and prod(value.shape) == numbers]
        return free[0] if free else None
    return None
