"""Edits that change the sizes of maps: strides, their removal, the ends of blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from torch import nn

from flyweight.analysis import Convolution, ConvolutionLayer, Facts
from flyweight.analysis.trace.trace import Node
from flyweight.rules.cures import operators
from flyweight.rules.cures.edit import Edit, together
from flyweight.rules.cures.poolings import average_instead, delete, whole_average
from flyweight.rules.cures.windows import can_dilate, dilated, kernel_of_three, window


def strided(facts: Facts, part: Convolution, step: int) -> Iterator[Edit]:
    """A stride for a convolution; where a sum follows, for the 1x1 beside it too, or without that sum."""
    steps = (step,) * len(part.kernel)
    alone = window(part, stride=steps)
    total = _sum_behind(facts, part.node)
    if total is None:
        yield alone
        return
    beside = [
        layer.parts[0]
        for layer in facts.convolution_layers
        if layer.projection and _sum_behind(facts, layer.parts[0].node) is total and layer.parts[0] is not part
    ]
    if beside:
        yield together([alone, *(window(other, stride=steps) for other in beside)])
    yield together([alone, _without_sum(facts, total, part)])


def _sum_behind(facts: Facts, node: Node) -> Node | None:
    """The sum that a value comes to, before another convolution reads it, with something that was not made of it."""
    graph = facts.graph
    found: list[Node] = []
    made = {value for reader in graph.forth(node.outputs[0], lambda reader: True) for value in reader.outputs}
    made.add(node.outputs[0])

    def passes(reader: Node) -> bool:
        if graph.ops[reader].adds and not made.issuperset(graph.inputs(reader)):
            found.append(reader)
            return False
        return graph.ops[reader].kind not in ("convolution", "product") or graph.inputs(reader) == []

    for _ in graph.forth(node.outputs[0], passes):
        if found:
            break
    return found[0] if found else None


def _without_sum(facts: Facts, total: Node, part: Convolution) -> Edit:
    """A block without what is added around it."""
    mine = set(facts.graph.forth(part.node.outputs[0], lambda node: node is not total))
    values = [total.args["self"], total.args["other"]]
    kept = next((i for i, v in enumerate(values) if v.producer in mine or v in part.node.outputs), 0)
    name = facts.graph.names[total]

    def apply(model: nn.Module) -> None:
        operators.run_instead(model, facts.graph, total, lambda func, *args, **kwargs: args[kept])

    return Edit((name,), f"take the sum {name} away", apply)


def without_steps(facts: Facts, steps: Iterable[Node], atrous: bool = False, ends: bool = False) -> Edit:
    """No stride and no pooling: strides become 1, other steps go.

    Args:
        facts: of the network.
        steps: operators that drop pixels.
        atrous: convolutions are dilated by what the strides before them were, so that each sees as far as it did
            (Yu and Koltun 2016, section 2).
        ends: by their own stride as well.
    """
    edits, factor, gone = [], 1, set(steps)
    parts = {c.node: c for c in facts.convolutions}
    poolings = {p.node: p for p in facts.poolings}
    for node in facts.graph.trace.nodes:
        part = parts.get(node)
        if part is not None:
            own = max(part.stride) if node in gone else 1
            step = max(part.dilation) * (factor if atrous else 1) * (own if ends else 1)
            if step > max(part.dilation) and can_dilate(part, step):
                edits.append(dilated(part, step, 1 if own > 1 else None))
            elif own > 1:
                edits.append(window(part, stride=(1,) * len(part.kernel)))
            factor *= own
        elif node in gone:
            pooling = poolings[node]
            if pooling.whole:
                edits.append(average_instead(facts, pooling))
            elif pooling.kind == "average" and node.in_leaf and not _looked_at(facts, node):
                edits.append(whole_average(pooling.name, node.path))
            else:
                edits.append(delete(facts, node, pooling.name))
            factor *= pooling.stride
    return together(edits)


def _looked_at(facts: Facts, node: Node) -> bool:
    """Whether a kernel comes after an operator."""
    return any(part.node.index > node.index and max(part.kernel) > 1 for part in facts.convolutions)


def end_edits(facts: Facts, last: Sequence[ConvolutionLayer], step: int | None) -> Iterator[Edit]:
    """A stride or a dilation for the last convolution of each of some blocks; with a step, a stride of that alone."""
    wide = [next((p for p in layer.parts if max(p.kernel) > 1), layer.parts[0]) for layer in last]
    strides = [list(strided(facts, part, step or 2)) for part in wide]
    if all(strides):
        yield together([ways[0] for ways in strides])
    if step is None:
        dilations = [_dilated_end(part) for part in wide]
        known = [edit for edit in dilations if edit is not None]
        if len(known) == len(dilations):
            yield together(known)
    if all(strides):
        yield together([ways[-1] for ways in strides])
    if len(last) > 1:
        for ways, part in zip(strides, wide, strict=True):
            yield from ways
            edit = _dilated_end(part) if step is None else None
            if edit is not None:
                yield edit


def _dilated_end(part: Convolution) -> Edit | None:
    if can_dilate(part, 2):
        return dilated(part, 2)
    if max(part.kernel) == 1 and part.groups == 1 and min(part.input_size) > 2:
        return kernel_of_three(part, 2)
    return None
