"""The way from the last map to the output: does it go through global average pooling, and of the whole map?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod

from flyweight.analysis.facts import Head, HeadFault
from flyweight.analysis.findings.averages import averages
from flyweight.analysis.positions.axes import has_axis
from flyweight.analysis.positions.field import Pixels, UnknownFieldError, look_back
from flyweight.analysis.positions.graph import Graph
from flyweight.analysis.positions.names import words
from flyweight.analysis.positions.reads import Window
from flyweight.analysis.trace.trace import Node, Value


def find_head(graph: Graph) -> Head:
    """Go back from the output to the last map and see by which operator its positions end."""
    ends = _Ends(graph)
    outputs = [value for value in graph.trace.outputs if value in graph.dependent]
    if not outputs:
        ends.faults[None] = HeadFault("the output", "does not depend on the input")
    for value in outputs:
        if graph.axes(value):
            ends.faults[None] = HeadFault("the output", "is still a map of positions", map_shape=value.shape[1:])
            ends.targets[value] = None
    for _ in graph.back(outputs, ends.step):
        pass
    for value, node in ends.averaged.items():
        fault = _partial(graph, value, node)
        if fault is not None:
            ends.faults[fault.node] = fault
    return Head(
        pooling=tuple(dict.fromkeys(graph.names[node] for node in sorted(ends.poolings, key=lambda n: n.index))),
        faults=tuple(ends.faults[node] for node in sorted(ends.faults, key=lambda n: n.index if n else -1)),
        targets=tuple(ends.targets),
    )


@dataclass
class _Ends:
    """What :func:`find_head` comes by on its way: the nodes that end an axis, and what they end."""

    graph: Graph
    poolings: dict[Node, None] = field(default_factory=dict)
    faults: dict[Node | None, HeadFault] = field(default_factory=dict)
    targets: dict[Value, None] = field(default_factory=dict)
    averaged: dict[Value, Node] = field(default_factory=dict)

    def step(self, value: Value) -> Iterable[Value]:
        """Where to go on from one value: to what has the same axes, and past an axis to the other one."""
        node, after = value.producer, self.graph.axes(value)
        if node is None or value in self.targets:
            return
        if after is None:
            self._lost(value)
            return
        for source in self.graph.inputs(node):
            before = self.graph.axes(source)
            if before is None:
                self._lost(source)
            elif not before - after or not self._end(node, source, before):
                yield source

    def _end(self, node: Node, source: Value, before: set[int]) -> bool:
        """A node ended an axis; False when another axis ended before, so that the last map is further back."""
        whole = _unflattened(self.graph, source)
        if averages(self.graph, node):
            self.poolings[node] = None
            self.averaged[whole] = node
        else:
            self.faults[node] = _fault(self.graph, node, source)
        last = len(before) == len(self.graph.axes(self.graph.trace.input) or ())
        if last:
            self.targets[whole] = None
        return last

    def _lost(self, value: Value) -> None:
        cause = _cause(self.graph, value)
        self.faults[cause] = HeadFault(
            self.graph.names[cause], f"({words(self.graph, cause)}) is not understood", cause
        )


def _fault(graph: Graph, node: Node, source: Value) -> HeadFault:
    """What a node does to a map that it does not average."""
    op, shape = graph.ops[node], _map_shape(graph, source)
    left = _narrowing(graph, source) if _places(graph, source) == 1 else None
    if left is not None and graph.ops[left[0]].takes == "average":
        # a map of one place was made by an average of a part: what ends it does no harm
        before, window = _map_shape(graph, left[1]), left[0].args.get("kernel_size") or []
        sides = [*window, *window][: len(before) - 1]
        detail = f"averages {_by(sides)} of a map of {_by(before)}, not the whole"
        return HeadFault(graph.names[left[0]], detail, left[0], before)
    verb = f"({node.name.strip('_')}) ends"
    if op.kind == "product":
        verb = "flattens"
    elif op.takes == "maximum":
        verb = "takes the maximum of"
    features = node.outputs[0].shape[-1] if op.kind == "product" else 0
    detail = f"{verb} a map of {_by(shape)} without averaging it"
    return HeadFault(graph.names[node], detail, node, shape, features)


def _partial(graph: Graph, value: Value, pooling: Node) -> HeadFault | None:
    """What keeps an average from being one of the whole last map, None when it is.

    It is not global where an operator before it leaves positions of the last map out. Nor where the map has one place
    and had several before, whether a kernel as large as the map left one or strides did on a small image: to average
    one number changes nothing, so the operator that left it stands where the average should. A max pooling that ends
    the map before the average is a fault for the same reason.
    """
    step = _cropping(graph, value)
    if step is not None:
        shape = _map_shape(graph, step[1])
        left = _by(graph.extent(value, axis) for axis in sorted(graph.axes(value) or ()))
        detail = f"leaves {left} of a map of {_by(shape)} to be averaged"
        return HeadFault(graph.names[step[0]], detail, step[0], shape)
    complete = graph.axes(value) == graph.axes(graph.trace.input)  # no axis was averaged before
    step = _narrowing(graph, value) if complete and _places(graph, value) == 1 else None
    if step is not None:
        shape = _map_shape(graph, step[1])
        detail = f"leaves one place of a map of {_by(shape)}: {graph.names[pooling]} has nothing to average"
        return HeadFault(graph.names[step[0]], detail, step[0], shape)
    return None


def _places(graph: Graph, value: Value) -> int:
    """Positions of a map on all axes together."""
    return prod(graph.extent(value, axis) for axis in graph.axes(value) or ())


def _narrowing(graph: Graph, target: Value) -> tuple[Node, Value] | None:
    """The operator that made a map of several places one of a single place, and that map."""

    def maps(value: Value) -> list[Value]:
        return [source for source in value.producer.inputs if graph.axes(source)] if value.producer else []

    for value in graph.back([target], maps):
        for source in maps(value):
            if value.producer and _places(graph, source) > 1:
                return value.producer, source
    return None


def _cropping(graph: Graph, target: Value) -> tuple[Node, Value] | None:
    """The first operator that leaves out what the last convolutions made and nothing else reads, and its map.

    What a branch leaves out so that it fits another one, which did read it, is not missing from the average.
    """
    steps: list[tuple[Node, Value]] = []
    made: list[Value] = []

    def step(value: Value) -> Iterable[Value]:
        node = value.producer
        effect = graph.effects.get(node) if node else None
        if node is None or effect is None or not _passes(graph, node):
            made.append(value)
            return
        for source, links in effect.links.items():
            if any(graph.extent(source, axis) > graph.extent(value, axis) for axis in links):
                steps.append((node, source))
            if graph.axes(source):
                yield source

    for _ in graph.back([target], step):
        pass
    if not steps:
        return None
    first = min(steps, key=lambda step: (step[0].index, step[1].index))
    try:
        needs = look_back(graph, target, Pixels).needs
    except UnknownFieldError:
        return first  # that another branch reads the rest cannot be shown
    read = [need.mask.any(axis=0).all() for value in made for need in needs.get(value, {}).values()]
    return None if all(read) else first


def _passes(graph: Graph, node: Node) -> bool:
    """Whether each number that a node makes is one of each map before it, at one place."""
    alone = all(isinstance(link, Window) and link.kernel == link.stride == 1 for link in graph.links(node))
    return alone or graph.ops[node].crops


def _cause(graph: Graph, value: Value) -> Node:
    """The operator where the positions of a value were lost."""

    def lost(value: Value) -> list[Value]:
        return [v for v in graph.inputs(value.producer) if graph.axes(v) is None][:1] if value.producer else []

    *_, first = graph.back([value], lost)
    assert first.producer is not None, "the layout of the input is known"
    return first.producer


def _unflattened(graph: Graph, value: Value) -> Value:
    """The map that a value is a reshape of."""

    def flat(value: Value) -> list[Value]:
        source = graph.unmoved(value)
        mixed = any(has_axis(dim) and len(dim) > 1 for dim in graph.layouts.get(value) or ())
        return [source] if source and mixed else []

    *_, last = graph.back([value], flat)
    return last


def _map_shape(graph: Graph, value: Value) -> tuple[int, ...]:
    """(C, H, W) of a map, however it is laid out by now."""
    sides = [graph.extent(value, axis) for axis in sorted(graph.axes(value) or ())]
    return (prod(value.shape) // max(1, prod(sides)), *sides)


def _by(sizes: Iterable[int]) -> str:
    return "x".join(map(str, sizes))
