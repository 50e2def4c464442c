"""The convolutions of a network: what they are, and which two make one layer."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from flyweight.analysis.convolution import Convolution, ConvolutionLayer
from flyweight.analysis.findings.dead import live_taps, per_axis
from flyweight.analysis.findings.weights import used_parameters
from flyweight.analysis.positions import axes
from flyweight.analysis.positions.axes import LostError
from flyweight.analysis.positions.graph import Graph
from flyweight.analysis.trace.trace import Node, Value


def find_convolutions(graph: Graph) -> tuple[Convolution, ...]:
    """Every convolution that ran on something that depends on the input, in order."""
    return tuple(
        _convolution(graph, node, node.args["input"], node.args["weight"])
        for node in graph.trace.nodes
        if graph.ops[node].kind == "convolution" and graph.argument(node, "input")
    )


def _convolution(graph: Graph, node: Node, source: Value, weight: Value) -> Convolution:
    count, after = len(source.shape) - 2, node.outputs[0].shape
    dilation = per_axis(node.args["dilation"], count)
    return Convolution(
        name=graph.names[node],
        path=node.path,
        node=node,
        kernel=weight.shape[2:],
        stride=per_axis(node.args["stride"], count),
        padding=per_axis(node.args["padding"], count),
        dilation=tuple(step * scale for step, scale in zip(dilation, _scales(graph, source), strict=True)),
        live=tuple(int(taps.sum()) for taps in live_taps(graph, node)),
        groups=int(node.args["groups"]),
        inputs=source.shape[1],
        outputs=after[1],
        input_size=source.shape[2:],
        output_size=after[2:],
        bias=node.args.get("bias") is not None,
        transposed=bool(node.args["transposed"]),
        parameters=sum(used_parameters(graph, node).values()),
        macs=node.macs or 0,
    )


def _scales(graph: Graph, value: Value) -> list[int]:
    """Pixels of the map between two neighbours of each spatial dimension: more than 1 in a split map."""
    scales = []
    for dim in (graph.layouts.get(value) or [()] * len(value.shape))[2:]:
        try:
            atom = axes.single(dim)
        except LostError:
            atom = None
        scales.append(atom.scale if atom else 1)
    return scales


def join_separable(graph: Graph, convolutions: Iterable[Convolution]) -> tuple[ConvolutionLayer, ...]:
    """Join each depthwise convolution with the 1x1 that is the only thing its output goes to.

    Between the two, only element-by-element operators on that output alone are allowed (normalisation, activation).
    """
    all_of_them = tuple(convolutions)
    by_node = {convolution.node: convolution for convolution in all_of_them}
    partner: dict[Node, Convolution] = {}
    for convolution in all_of_them:
        if convolution.depthwise and prod(convolution.kernel) > 1:  # a 1x1 only scales each channel
            ends = _ends(graph, convolution.node)
            end = by_node.get(ends[0]) if len(ends) == 1 else None
            if end is not None and end.pointwise and not end.transposed:
                partner[convolution.node] = end
    seconds = {end.node for end in partner.values()}
    return tuple(
        ConvolutionLayer((convolution, partner[convolution.node]))
        if convolution.node in partner
        else ConvolutionLayer((convolution,), projection=_projects(graph, convolution, by_node))
        for convolution in all_of_them
        if convolution.node not in seconds
    )


def _projects(graph: Graph, convolution: Convolution, by_node: dict[Node, Convolution]) -> bool:
    """Whether a 1x1 fits what a block read to the sum at its end (He et al. 2016, section 3.3, option B).

    It is added to what other convolutions made of the same map: more than one, or one of more than one tap. That map is
    followed back through what works on one value alone, such as a norm or an average before a 1x1 of stride 1.
    """
    if prod(convolution.kernel) > 1 or convolution.transposed:
        return False
    ends = _ends(graph, convolution.node)
    if len(ends) != 1 or not graph.ops[ends[0]].adds:
        return False
    starts = set(graph.back([convolution.node.args["input"]], lambda value: _alone(graph, value)))
    beside: dict[Node, None] = {}

    def step(value: Value) -> Iterable[Value]:
        if value in starts or value.producer is None or value.producer is convolution.node:
            return ()
        return graph.inputs(value.producer)

    way = list(graph.back(graph.inputs(ends[0]), step))
    for value in way:
        if value not in starts and value.producer in by_node and value.producer is not convolution.node:
            beside[value.producer] = None
    joined = any(value in starts for value in way)
    return joined and (len(beside) > 1 or any(prod(by_node[node].kernel) > 1 for node in beside))


def _alone(graph: Graph, value: Value) -> list[Value]:
    """The one value that a value was made of without a convolution."""
    node = value.producer
    if node is None or graph.ops[node].kind in ("convolution", "product"):
        return []
    read = graph.inputs(node)
    return read if len(read) == 1 else []


def _ends(graph: Graph, node: Node) -> list[Node]:
    """Nodes that a node's output flows to through element-by-element operators on that output alone."""
    mine, ends = {node.outputs[0]}, list[Node]()

    def passes(reader: Node) -> bool:
        effect = graph.effects.get(reader)
        alone = effect is not None and effect.known and not effect.gathers and mine.issuperset(graph.inputs(reader))
        if alone and graph.ops[reader].kind in ("elementwise", "batch norm"):
            mine.add(reader.outputs[0])
            return True
        ends.append(reader)
        return False

    for _ in graph.forth(node.outputs[0], passes):
        pass
    return ends
