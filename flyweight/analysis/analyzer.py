"""Put the facts of a network together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import nn

from flyweight.analysis.convolutions import (
    find_convolutions,
    find_dead_taps,
    find_unregistered,
    join_separable,
    live_links,
    used_parameters,
)
from flyweight.analysis.effects import Links
from flyweight.analysis.facts import Convolution, Facts, Head, Layer, ReceptiveField
from flyweight.analysis.head import find_head
from flyweight.analysis.layout import HEIGHT, WIDTH
from flyweight.analysis.links import SAME
from flyweight.analysis.names import Names, friendly
from flyweight.analysis.oracle import prove
from flyweight.analysis.pooling import find_poolings
from flyweight.analysis.receptive_field import Graph, UnknownFieldError, build_graph, field_centres, field_size
from flyweight.analysis.recorder import record
from flyweight.analysis.structure import find_unknown, find_unreached, unknown_work
from flyweight.analysis.trace import WRITE_THROUGH_VIEW
from flyweight.errors import FlyweightError

# operators that move numbers around without making new ones get no row of their own
_SILENT = {"detach", "alias", "clone", "_to_copy", "lift_fresh", "t", "transpose", "permute", "expand"}
_SILENT |= {"as_strided", "as_strided_", WRITE_THROUGH_VIEW}


def analyze(model: nn.Module, input_shape: Sequence[int]) -> Facts:
    """Find out everything about a network at one input size. The network comes back as it was.

    Args:
        model: any module that takes one float tensor (N, C, H, W); it runs in evaluation mode on its own device.
        input_shape: (C, H, W).

    Raises:
        FlyweightError: the shape is no shape, or the network cannot take it.
    """
    shape = tuple(int(size) for size in input_shape)
    if not shape or min(shape) < 1:
        raise FlyweightError(f"input shape {','.join(map(str, input_shape))}: sizes must be 1 or more, as in 3,32,32")
    recorded = record(model, shape)
    graph = build_graph(recorded)
    names = Names(recorded)
    convolutions = find_convolutions(graph, names)
    head = find_head(graph, names)
    work = [node.macs or 0 for node in recorded.nodes]
    uncounted = any(unknown_work(graph, index) for index in range(len(recorded.nodes))) or recorded.leaks
    return Facts(
        network=type(model).__name__,
        input_shape=shape,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        trainable_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        macs=None if uncounted else sum(work),
        receptive_field=_receptive_field(model, graph, names, head, live_links(graph, convolutions)),
        layers=_layers(graph, names, convolutions),
        convolutions=convolutions,
        convolution_layers=join_separable(graph, convolutions),
        poolings=find_poolings(graph, names),
        head=head,
        dead_taps=find_dead_taps(convolutions),
        unreached=find_unreached(recorded),
        unregistered=find_unregistered(recorded, names),
        unknown=find_unknown(graph, names),
        submodules=tuple(path for path, _ in model.named_modules() if path),
        graph=graph,
    )


def centres(
    model: nn.Module, input_shape: Sequence[int], layer: nn.Module
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """Where the places of a layer's map lie on the picture. The network comes back as it was.

    Args:
        model: any module that takes one float tensor (N, C, H, W); it runs in evaluation mode on its own device.
        input_shape: (C, H, W).
        layer: one of its modules, which returns a map (N, c, h, w).

    Returns:
        the middle of the receptive field of each of the h rows and of each of the w columns, in pixels, the first
        pixel being 0; None where an operator on the way is not understood or positions are lost.

    Raises:
        FlyweightError: the network cannot take the shape.
    """
    recorded = record(model, tuple(input_shape))
    ended = [call.output for call in recorded.calls if call.module is layer and call.output is not None]
    if recorded.leaks or not ended:
        return None
    try:
        found = field_centres(build_graph(recorded), ended[-1])
    except UnknownFieldError:
        return None
    return (found[HEIGHT], found[WIDTH]) if {HEIGHT, WIDTH} <= found.keys() else None


def _receptive_field(
    model: nn.Module, graph: Graph, names: Names, head: Head, live: dict[int, dict[int, Links]]
) -> ReceptiveField:
    """The largest field among the last maps, proved."""
    before = ", ".join(head.pooling) or ", ".join(fault.layer for fault in head.faults)
    if graph.trace.leaks:
        where = ", ".join(dict.fromkeys(graph.trace.leaks))
        return ReceptiveField(None, None, "unknown", f"values are read outside torch in {where}", before)
    if not head.targets:
        reason = "; ".join(f"{fault.layer} {fault.detail}" for fault in head.faults)
        return ReceptiveField(None, None, "unknown", reason or "no map reaches the output", before)
    found = [_field_of(model, graph, names, target, before, live) for target in head.targets]
    for worst in ("unknown", "contradicted", "unproved"):
        for field in found:
            if field.status == worst:
                return field
    return max(found, key=lambda field: (field.height or 0) * (field.width or 0))


def _field_of(
    model: nn.Module, graph: Graph, names: Names, target: int, before: str, live: dict[int, dict[int, Links]]
) -> ReceptiveField:
    try:
        sizes, back = field_size(graph, target)
    except UnknownFieldError as error:
        node = graph.trace.nodes[error.node]
        detail = f"{names.of(error.node)} ({node.name}) is not understood"
        return ReceptiveField(None, None, "unknown", detail, before)
    gathered = tuple(dict.fromkeys(names.of(index) for index in reversed(back.gathered)))
    wanted = graph.axes(graph.trace.input) or set()
    if not sizes or set(sizes) != wanted:
        detail = f"positions are lost in {', '.join(gathered) or before}: no local path leads to the map"
        return ReceptiveField(None, None, "unknown", detail, before, gathered)
    proof = prove(model, graph, target, sizes)
    left = field_size(graph, target, live)[0]
    # a signal of one dimension has a height of one pixel
    height, width = sizes.get(HEIGHT, 1), sizes[WIDTH]
    return ReceptiveField(
        height,
        width,
        proof.status,
        proof.detail,
        before=before,
        gathered=gathered,
        live=None if left == sizes else (left.get(HEIGHT, 1), left.get(WIDTH, 1)),
    )


def _layers(graph: Graph, names: Names, convolutions: Sequence[Convolution]) -> tuple[Layer, ...]:
    """Rows of the summary: leaf module calls and functional operators outside of them, in order."""
    recorded = graph.trace
    inside: dict[int, list[int]] = {}
    for index, node in enumerate(recorded.nodes):
        if recorded.in_leaf(node):
            inside.setdefault(node.call, []).append(index)
    fields = _Fields(graph)
    counted: set[str] = set()
    sizes = {name: parameter.numel() for name, parameter in recorded.model.named_parameters()}
    rows = []
    for event, index in recorded.events:
        nodes = inside.get(index, []) if event == "call" else [index]
        if event == "call":
            call = recorded.calls[index]
            name, kind, output = call.path, type(call.module).__name__, call.output
            own = {f"{name}.{own_name}" for own_name, _ in call.module.named_parameters(recurse=False)}
        else:
            node = recorded.nodes[index]
            name, kind, output = names.of(index), friendly(recorded, node), node.outputs[0] if node.outputs else None
            own = set()
            if not _shows(graph, index):
                continue
        if output is None or not recorded.values[output].dependent:
            continue
        own |= {used for node_index in nodes for used in used_parameters(recorded, recorded.nodes[node_index])}
        fresh = (own & sizes.keys()) - counted
        counted |= fresh
        unknown = any(unknown_work(graph, node_index) for node_index in nodes)
        details = "; ".join(describe(c) for c in convolutions if c.node in nodes) or _pooling_details(graph, nodes)
        size, note = fields.of(output)
        rows.append(
            Layer(
                name=name,
                kind=kind,
                details=details,
                output_shape=recorded.values[output].shape[1:],
                parameters=sum(sizes[entry] for entry in fresh),
                macs=None if unknown else sum(recorded.nodes[i].macs or 0 for i in nodes),
                receptive_field=size,
                field_note=note,
            )
        )
    return tuple(rows)


def _shows(graph: Graph, index: int) -> bool:
    """Whether a functional operator deserves a row: not a copy, nor a reshape that only adds or drops sizes of 1."""
    node, values = graph.trace.nodes[index], graph.trace.values
    inputs = [v for v in node.inputs if values[v].dependent]
    if node.name in _SILENT or not inputs or not node.outputs:
        return False
    if node.name in ("view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "select", "_reshape_alias"):
        before, after = ([s for s in values[v].shape if s > 1] for v in (inputs[0], node.outputs[0]))
        return before != after
    return True


def describe(convolution: Convolution) -> str:
    """A convolution in words: ``3x3 depthwise, stride 2, dilation 2``."""
    words = "x".join(map(str, convolution.kernel))
    if convolution.depthwise:
        words += " depthwise"
    elif convolution.groups > 1:
        words += f" in {convolution.groups} groups"
    if convolution.transposed:
        words += " transposed"
    for label, sizes in (("stride", convolution.stride), ("dilation", convolution.dilation)):
        if any(size > 1 for size in sizes):
            words += f", {label} " + _short(sizes)
    same = tuple(d * (k - 1) // 2 for d, k in zip(convolution.dilation, convolution.kernel, strict=True))
    if convolution.padding != same:
        words += ", padding " + _short(convolution.padding)
    return words


def _short(sizes: Sequence[int]) -> str:
    return str(sizes[0]) if len(set(sizes)) == 1 else "x".join(map(str, sizes))


def _pooling_details(graph: Graph, nodes: Sequence[int]) -> str:
    for index in nodes:
        node = graph.trace.nodes[index]
        if "pool" in node.name and "kernel_size" in node.args:
            kernel = list(node.args["kernel_size"])
            return "x".join(map(str, kernel if len(kernel) > 1 else kernel * 2))
    return ""


class _Fields:
    """Receptive fields of many values, each worked out once."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known: dict[int, tuple[tuple[int, int] | None, str]] = {}

    def of(self, value: int) -> tuple[tuple[int, int] | None, str]:
        """Field of a value and a note on it."""
        source = self._same_as(value)
        if source not in self._known:
            self._known[source] = self._work_out(source)
        return self._known[source]

    def _same_as(self, value: int) -> int:
        """The value at the beginning of a chain of operators that keep every position."""
        while (producer := self._graph.trace.values[value].producer) is not None:
            effect = self._graph.effects[producer]
            if effect is None or not effect.known or effect.gathers or len(effect.links) != 1:
                return value
            [(source, links)] = effect.links.items()
            if not links or any(link != SAME for link in links.values()):
                return value
            value = source
        return value

    def _work_out(self, value: int) -> tuple[tuple[int, int] | None, str]:
        if self._graph.trace.leaks:
            return None, "unknown"
        try:
            sizes, back = field_size(self._graph, value)
        except UnknownFieldError:
            return None, "unknown"
        if WIDTH not in sizes:
            return None, "whole map"
        return (sizes.get(HEIGHT, 1), sizes[WIDTH]), "and whole map" if back.gathered else ""
