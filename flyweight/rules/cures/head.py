"""Edits of the way from the last map to the output: an average of the whole of it."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

from torch import Tensor, nn

from flyweight.analysis import Convolution, Facts, HeadFault, Pooling
from flyweight.rules.cures import operators, surgery
from flyweight.rules.cures.edit import Edit
from flyweight.rules.cures.poolings import average_instead, whole_average
from flyweight.rules.cures.windows import window


def head_edits(facts: Facts, fault: HeadFault) -> Iterator[Edit]:
    """An average of the whole map in place of what ends it, or a map that is left for the average."""
    graph, node = facts.graph, fault.node
    if node is None:
        partial = [p for p in facts.poolings if p.kind == "average" and not p.whole and p.node.in_leaf]
        yield from (whole_average(pooling.name, pooling.node.path) for pooling in reversed(partial))
        text = "end with nn.AdaptiveAvgPool2d(1) and nn.Flatten()"
        yield Edit((fault.layer,), text, lambda model: operators.at_end(model, lambda y: y.flatten(2).mean(2)))
        return
    part = next((c for c in facts.convolutions if c.node is node), None)
    module, op = node.call.module if node.call and node.in_leaf else None, graph.ops[node]
    if part is not None:
        yield _leave_map(part)
    elif op.kind == "slice":
        text = f"leave {fault.layer} out: the whole map is to be averaged"
        yield Edit((fault.layer,), text, lambda model: operators.run_instead(model, graph, node, operators.nothing))
    elif isinstance(module, nn.Linear) and len(fault.map_shape) == 3:
        yield _average_before(fault, module, node.path)
    elif op.kind == "pooling" and module is not None:
        yield whole_average(fault.layer, node.path)
    elif op.kind == "pooling" or op.takes == "maximum":
        pooling = next((p for p in facts.poolings if p.node is node), None)
        if pooling is not None:
            whole = Pooling(pooling.name, node, "max", True)
            yield average_instead(facts, whole)
    elif op.kind in ("reshape", "squeeze", "move") and len(fault.map_shape) == 3:
        maker = graph.inputs(node)[0].producer
        made = next((c for c in facts.convolutions if c.node is maker), None)
        name = made.name if made else fault.layer
        text = f"put nn.AdaptiveAvgPool2d(1) between {name} and {fault.layer}"

        def pooled(func: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            return x.flatten(2).mean(2)

        yield Edit((fault.layer,), text, lambda model: operators.run_instead(model, graph, node, pooled))


def _average_before(fault: HeadFault, module: nn.Linear, path: str) -> Edit:
    channels, area = fault.map_shape[0], prod(fault.map_shape[1:])
    cure = f"put nn.AdaptiveAvgPool2d(1) before {fault.layer}"
    if area > 1:
        after, before = channels * fault.features, channels * area * fault.features
        cure += f": it then needs {after:,} weights in place of {before:,}"

    def apply(model: nn.Module) -> None:
        linear = nn.Linear(channels, module.out_features, module.bias is not None)
        made = nn.Sequential(surgery.Averaged(channels), linear)
        surgery.replace(model, path, made.to(module.weight.device, module.weight.dtype))

    return Edit((fault.layer,), cure, apply)


def _leave_map(part: Convolution) -> Edit:
    """Stride or padding with which a convolution makes a map of more than one place."""
    spans = [step * (side - 1) for step, side in zip(part.dilation, part.kernel, strict=True)]
    padding, ones = part.padding, (1,) * len(spans)
    if all(n + 2 * p == s + 1 for n, p, s in zip(part.input_size, padding, spans, strict=True)):
        padding = tuple(span // 2 for span in spans)
    left = [n + 2 * p - s for n, p, s in zip(part.input_size, padding, spans, strict=True)]
    edit = window(part, stride=ones if part.strided else None, padding=padding)
    return Edit(edit.layers, f"{edit.text}: a map of {'x'.join(map(str, left))} is left to average", edit.apply)
