"""Rows of the summary: leaf module calls and functional operators outside of them, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flyweight.analysis.convolution import Convolution
from flyweight.analysis.facts import Layer
from flyweight.analysis.findings.structure import unknown_work
from flyweight.analysis.findings.weights import used_parameters
from flyweight.analysis.positions.axes import HEIGHT, WIDTH
from flyweight.analysis.positions.field import UnknownFieldError, field_size
from flyweight.analysis.positions.graph import Graph
from flyweight.analysis.positions.names import label
from flyweight.analysis.trace.running import plain
from flyweight.analysis.trace.trace import Call, Node, Value


def find_layers(graph: Graph, convolutions: Sequence[Convolution]) -> tuple[Layer, ...]:
    """A row for each leaf module call and each operator outside of them that makes something of the image."""
    model = graph.trace.model
    sizes = {plain(name): parameter.numel() for name, parameter in model.named_parameters()}
    words = {convolution.node: describe(convolution) for convolution in convolutions}
    fields = _Fields(graph)
    rows = []
    for event, nodes, output in _events(graph):
        own = {name for node in nodes for name in used_parameters(graph, node)}
        if isinstance(event, Call):
            own |= {f"{event.path}.{name}" for name, _ in event.module.named_parameters(recurse=False)}
        uncounted = any(unknown_work(graph, node) for node in nodes)
        size, note = fields.of(output)
        rows.append(
            Layer(
                name=event.path if isinstance(event, Call) else graph.names[event],
                kind=type(event.module).__name__ if isinstance(event, Call) else label(graph, event),
                details="; ".join(words[node] for node in nodes if node in words) or _kernel(graph, nodes),
                output_shape=output.shape[1:],
                # each is counted where it is first used
                parameters=sum(sizes.pop(name, 0) for name in own),
                macs=None if uncounted else sum(node.macs or 0 for node in nodes),
                receptive_field=size,
                field_note=note,
            )
        )
    return tuple(rows)


def _events(graph: Graph) -> Iterator[tuple[Call | Node, list[Node], Value]]:
    """What gets a row, the nodes that it stands for and its output."""
    inside: dict[Call | None, list[Node]] = {}
    for node in graph.trace.nodes:
        inside.setdefault(node.call, []).append(node)
    for event in graph.trace.events:
        if isinstance(event, Call):
            if event.output in graph.dependent:
                yield event, inside.get(event, []), event.output
        elif _shows(graph, event):
            yield event, [event], event.outputs[0]


def _shows(graph: Graph, node: Node) -> bool:
    """Whether a functional operator deserves a row: not a copy, nor a reshape that only adds or drops sizes of 1."""
    row, inputs = graph.ops[node].row, graph.inputs(node)
    if row == "never" or not inputs or not graph.runs(node):
        return False
    before, after = ([size for size in value.shape if size > 1] for value in (inputs[0], node.outputs[0]))
    return row == "always" or before != after


def describe(convolution: Convolution) -> str:
    """A convolution in words: ``3x3 depthwise, stride 2, dilation 2``."""
    words = _by(convolution.kernel)
    if convolution.depthwise:
        words += " depthwise"
    elif convolution.groups > 1:
        words += f" in {convolution.groups} groups"
    if convolution.transposed:
        words += " transposed"
    for name, sizes in (("stride", convolution.stride), ("dilation", convolution.dilation)):
        if any(size > 1 for size in sizes):
            words += f", {name} {_short(sizes)}"
    same = tuple(d * (k - 1) // 2 for d, k in zip(convolution.dilation, convolution.kernel, strict=True))
    if convolution.padding != same:
        words += f", padding {_short(convolution.padding)}"
    return words


def _kernel(graph: Graph, nodes: Sequence[Node]) -> str:
    """The window of the first pooling that has one."""
    for node in nodes:
        if graph.ops[node].kind == "pooling" and "kernel_size" in node.args:
            kernel = list(node.args["kernel_size"])
            return _by(kernel if len(kernel) > 1 else kernel * 2)
    return ""


def _short(sizes: Sequence[int]) -> str:
    return str(sizes[0]) if len(set(sizes)) == 1 else _by(sizes)


def _by(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


class _Fields:
    """Receptive fields of many values, each worked out once."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known: dict[Value, tuple[tuple[int, int] | None, str]] = {}

    def of(self, value: Value) -> tuple[tuple[int, int] | None, str]:
        """Field of a value and a note on it."""
        while (source := self._graph.unmoved(value)) is not None:
            value = source
        if value not in self._known:
            self._known[value] = self._work_out(value)
        return self._known[value]

    def _work_out(self, value: Value) -> tuple[tuple[int, int] | None, str]:
        if self._graph.leaks:
            return None, "unknown"
        try:
            sizes, back = field_size(self._graph, value)
        except UnknownFieldError:
            return None, "unknown"
        if WIDTH not in sizes:
            return None, "whole map"
        return (sizes.get(HEIGHT, 1), sizes[WIDTH]), "and whole map" if back.gathered else ""
