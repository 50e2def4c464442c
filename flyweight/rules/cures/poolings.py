"""Edits of poolings: an average in the place of a maximum, a stride in the place of a pooling."""

from __future__ import annotations

from math import prod

from torch import nn

from flyweight.analysis import Facts, Pooling
from flyweight.analysis.trace.trace import Node
from flyweight.rules.cures import operators, surgery
from flyweight.rules.cures.edit import Edit
from flyweight.rules.cures.windows import window


def average_instead(facts: Facts, pooling: Pooling) -> Edit:
    """An average in the place of a maximum."""
    node, name = pooling.node, pooling.name
    module = node.call.module if node.call and node.in_leaf else None
    if pooling.whole and isinstance(module, nn.AdaptiveMaxPool2d | nn.MaxPool2d):
        return whole_average(name, node.path)
    if isinstance(module, nn.MaxPool2d):
        made = nn.AvgPool2d(module.kernel_size, module.stride, module.padding, module.ceil_mode)
        sides = f"{module.kernel_size}, {module.stride}, {module.padding}"
        text = f"replace {name} by nn.AvgPool2d({sides}), which has no parameters"
        return Edit((name,), text, lambda model: surgery.replace(model, node.path, made))
    graph = facts.graph
    if graph.ops[node].kind == "pooling":
        stand: operators.Stand = operators.average_windows
        text = f"replace {name} by F.avg_pool2d of the same window"
        if pooling.whole:
            text = f"replace {name} by the mean over height and width"
            stand = lambda func, x, *args, **kwargs: operators.as_many(func, x.mean((-2, -1), keepdim=True))  # noqa: E731
    elif graph.ops[node].kind == "reduction":
        text, stand = f"replace {name} by the mean over the same dimensions", operators.average_dimensions
    else:
        text, stand = f"replace {name} by the mean of the two", operators.average_two
    return Edit((name,), text, lambda model: operators.run_instead(model, graph, node, stand))


def delete(facts: Facts, node: Node, name: str, more: str = "") -> Edit:
    """A pooling, or a step that drops pixels, taken away."""

    def apply(model: nn.Module) -> None:
        if node.in_leaf:
            surgery.take_away(model, [node.path])
        else:
            operators.run_instead(model, facts.graph, node, operators.nothing)

    return Edit((name,), f"delete {name}{more}", apply)


def whole_average(name: str, path: str) -> Edit:
    """Global average pooling in the place of a layer."""
    text = f"replace {name} by nn.AdaptiveAvgPool2d(1), which has no parameters"
    return Edit((name,), text, lambda model: surgery.replace(model, path, nn.AdaptiveAvgPool2d(1)))


def stride_before(facts: Facts, pooling: Pooling) -> Edit | None:
    """A pooling's steps taken over by the convolution before it."""
    before = [
        c
        for c in facts.convolutions
        if c.node.index < pooling.node.index and not c.strided and not c.transposed and prod(c.output_size) > 1
    ]
    if facts.graph.ops[pooling.node].kind != "pooling":
        return None
    if pooling.stride == 1:
        return delete(facts, pooling.node, pooling.name, ": it drops no pixels, so nothing has to stand in for it")
    if not before:
        return None
    order = f"delete {pooling.name} and give {before[-1].name} before it stride {pooling.stride}"
    step = window(before[-1], stride=(pooling.stride,) * len(before[-1].kernel))
    gone = delete(facts, pooling.node, pooling.name)

    def apply(model: nn.Module) -> None:
        gone.apply(model)
        step.apply(model)

    return Edit((pooling.name, before[-1].name), order, apply)
