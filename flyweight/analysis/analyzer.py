"""Put the facts of a network together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from torch import nn

from flyweight.analysis.facts import Facts, Head, ReceptiveField
from flyweight.analysis.findings.convolutions import find_convolutions, join_separable
from flyweight.analysis.findings.dead import find_dead_taps, live_links
from flyweight.analysis.findings.head import find_head
from flyweight.analysis.findings.layers import find_layers
from flyweight.analysis.findings.memory import activation_peak
from flyweight.analysis.findings.pooling import find_poolings
from flyweight.analysis.findings.structure import find_unknown, find_unreached, unknown_work
from flyweight.analysis.findings.weights import find_unregistered
from flyweight.analysis.positions.axes import HEIGHT, WIDTH
from flyweight.analysis.positions.field import Instead, UnknownFieldError, field_centres, field_size
from flyweight.analysis.positions.graph import Graph
from flyweight.analysis.positions.names import words
from flyweight.analysis.positions.operators import follow
from flyweight.analysis.proof.prove import Proof, prove
from flyweight.analysis.trace.recorder import record
from flyweight.analysis.trace.running import plain
from flyweight.analysis.trace.trace import Value
from flyweight.errors import FlyweightError


def analyze(model: nn.Module, input_shape: Sequence[int], prove_field: bool = True) -> Facts:
    """Find out everything about a network at one input size. The network comes back as it was.

    Args:
        model: any module that takes one float tensor (N, C, H, W); it runs in evaluation mode on its own device.
        input_shape: (C, H, W).
        prove_field: without it the field is "unproved", and a network that is another one in each run is not found
            out; to try many edits of one that was proved.

    Raises:
        FlyweightError: the shape is no shape, or the network cannot take it.
    """
    shape = tuple(int(size) for size in input_shape)
    if not shape or min(shape) < 1:
        raise FlyweightError(f"input shape {','.join(map(str, input_shape))}: sizes must be 1 or more, as in 3,32,32")
    graph = follow(record(model, shape, twice=prove_field))
    nodes = graph.trace.nodes
    convolutions = find_convolutions(graph)
    prover = prove if prove_field else _unproved
    head = find_head(graph)
    unknown = find_unknown(graph)
    hidden = graph.trace.random or any(operator.opaque for operator in unknown)
    uncounted = graph.leaks or graph.trace.random or any(unknown_work(graph, node) for node in nodes)
    return Facts(
        network=type(getattr(model, "_orig_mod", model)).__name__,
        input_shape=shape,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        trainable_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        macs=None if uncounted else sum(node.macs or 0 for node in nodes),
        peak=None if hidden else activation_peak(graph),
        receptive_field=_receptive_field(graph, head, live_links(graph, convolutions), prover),
        layers=find_layers(graph, convolutions),
        convolutions=convolutions,
        convolution_layers=join_separable(graph, convolutions),
        poolings=find_poolings(graph),
        head=head,
        dead_taps=find_dead_taps(convolutions),
        unreached=find_unreached(graph),
        unregistered=find_unregistered(graph),
        unknown=unknown,
        submodules=tuple(dict.fromkeys(plain(path) for path, _ in model.named_modules() if plain(path))),
        graph=graph,
        random=graph.trace.random,
    )


def centres(
    model: nn.Module, input_shape: Sequence[int], layer: nn.Module
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """Where the places of a layer's map lie on the image. The network comes back as it was.

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
    graph = follow(record(model, tuple(input_shape)))
    ended = [call.output for call in graph.trace.calls if call.module is layer and call.output is not None]
    if graph.leaks or not ended:
        return None
    try:
        found = field_centres(graph, ended[-1])
    except UnknownFieldError:
        return None
    return (found[HEIGHT], found[WIDTH]) if {HEIGHT, WIDTH} <= found.keys() else None


Prover = Callable[[nn.Module, Graph, Value, dict[int, int]], Proof]


def _unproved(*args: object) -> Proof:
    return Proof("unproved", "nobody asked")


def _receptive_field(graph: Graph, head: Head, live: Instead, prover: Prover) -> ReceptiveField:
    """The largest field among the last maps, proved."""
    before = ", ".join(head.pooling) or ", ".join(fault.layer for fault in head.faults)
    if graph.trace.random:
        return ReceptiveField(None, None, "unknown", f"not the same in two runs: {graph.trace.random}", before)
    if graph.leaks:
        where = ", ".join(dict.fromkeys(graph.leaks))
        return ReceptiveField(None, None, "unknown", f"values are read outside torch in {where}", before)
    if not head.targets:
        reason = "; ".join(f"{fault.layer} {fault.detail}" for fault in head.faults)
        return ReceptiveField(None, None, "unknown", reason or "no map reaches the output", before)
    found = [_field_of(graph, target, before, live, prover) for target in head.targets]
    for worst in ("unknown", "contradicted", "unproved"):
        for field in found:
            if field.status == worst:
                return field
    return max(found, key=lambda field: (field.height or 0) * (field.width or 0))


def _field_of(graph: Graph, target: Value, before: str, live: Instead, prover: Prover) -> ReceptiveField:
    try:
        sizes, back = field_size(graph, target)
    except UnknownFieldError as error:
        detail = f"{graph.names[error.node]} ({words(graph, error.node)}) is not understood"
        return ReceptiveField(None, None, "unknown", detail, before)
    gathered = tuple(dict.fromkeys(graph.names[node] for node in reversed(back.gathered)))
    if not sizes or sizes.keys() != graph.axes(graph.trace.input):
        detail = f"positions are lost in {', '.join(gathered) or before}: no local path leads to the map"
        return ReceptiveField(None, None, "unknown", detail, before, gathered)
    proof = prover(graph.trace.model, graph, target, sizes)
    left = field_size(graph, target, live)[0]
    return ReceptiveField(
        # a signal of one dimension has a height of one pixel
        height=sizes.get(HEIGHT, 1),
        width=sizes[WIDTH],
        status=proof.status,
        detail=proof.detail,
        before=before,
        gathered=gathered,
        live=None if left == sizes else (left.get(HEIGHT, 1), left.get(WIDTH, 1)),
    )
