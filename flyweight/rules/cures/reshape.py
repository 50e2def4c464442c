"""Edits that change what convolutions look at: strides, dilations, kernels, poolings, the way to the output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import prod

from torch import nn

from flyweight.analysis import Convolution, ConvolutionLayer, Facts, HeadFault, Pooling
from flyweight.analysis.trace.trace import Node
from flyweight.rules.cures import operators, surgery
from flyweight.rules.cures.edit import Edit, formed, together

Sizes = tuple[int, ...]


def window(
    part: Convolution, *, stride: Sizes | None = None, dilation: Sizes | None = None, padding: Sizes | None = None
) -> Edit:
    """A convolution with another stride, dilation or padding."""
    words = [
        f"{name} {_by(sizes)}"
        for name, sizes, now in (
            ("stride", stride, part.stride),
            ("dilation", dilation, part.dilation),
            ("padding", padding, part.padding),
        )
        if sizes is not None and sizes != now
    ]

    def apply(model: nn.Module) -> None:
        surgery.reshape_window(model, part.path, stride=stride, dilation=dilation, padding=padding)

    return formed(part.name, f"give {{}} {' and '.join(words)}", apply)


def dilated(part: Convolution, dilation: int, stride: int | None = None) -> Edit:
    """A convolution with a dilation, and the padding with which the map keeps the size that it has."""
    grown = tuple(
        p + (dilation - step) * (side - 1) // 2
        for p, step, side in zip(part.padding, part.dilation, part.kernel, strict=True)
    )
    steps = (dilation,) * len(part.kernel)
    return window(part, dilation=steps, padding=grown, stride=None if stride is None else (stride,) * len(steps))


def can_dilate(part: Convolution, dilation: int) -> bool:
    """Whether the outer taps see the map with that dilation and the padding that keeps its size."""
    sides = [(k, n) for k, n in zip(part.kernel, part.input_size, strict=True) if k > 1]
    own = set(part.node.args["dilation"]) == set(part.dilation)  # else the map is split
    return bool(sides) and own and not part.transposed and all(dilation * (k - 1) // 2 < n for k, n in sides)


def kernel_of_three(part: Convolution, dilation: int = 1) -> Edit:
    """A 1x1 with a 3x3 kernel."""
    padding = dilation
    words = f" and dilation {dilation}" * (dilation > 1)
    side = "x".join(["3"] * len(part.kernel))
    form = f"give {{}} a {side} kernel{words} and padding {padding}"
    return formed(part.name, form, lambda model: surgery.widen_kernel(model, part.path, 3, dilation))


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
    """The sum that a value comes to before another convolution reads it."""
    graph = facts.graph
    found: list[Node] = []

    def passes(reader: Node) -> bool:
        if graph.ops[reader].adds and len(graph.inputs(reader)) > 1:
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
        text, stand = f"replace {name} by F.avg_pool2d of the same window", operators.average_windows
        if pooling.whole:
            text = f"replace {name} by the mean over height and width"
            stand = lambda func, x, *args, **kwargs: operators._as_many(func, x.mean((-2, -1), keepdim=True))  # noqa: E731
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


def field_edits(facts: Facts, enough: Callable[[Sizes], bool], fits: Callable[[Facts, Convolution, int], Sizes | None]):
    """Each dilation of one convolution with which the field is large enough, the smallest step and least overshoot."""
    for extra in range(1, 9):
        found = []
        for part in facts.convolutions:
            step = max(part.dilation) + extra
            if can_dilate(part, step) and len(set(part.dilation)) == 1:
                sizes = fits(facts, part, extra)
                if sizes is not None:
                    found.append((prod(sizes), step, part, sizes))
        good = sorted((entry for entry in found if enough(entry[3])), key=lambda entry: entry[0])
        if good:
            yield from (dilated(part, step) for _, step, part, _ in good[:3])
            return


def head_edits(facts: Facts, fault: HeadFault) -> Iterator[Edit]:
    """An average of the whole map in place of what ends it, or a map that is left for the average."""
    graph, node = facts.graph, fault.node
    if node is None:
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
        shape = (1, *fault.map_shape)

        def pooled(func, x, *args, **kwargs):  # type: ignore[no-untyped-def]
            return x.reshape(shape).mean((2, 3))

        yield Edit((fault.layer,), text, lambda model: operators.run_instead(model, graph, node, pooled))


def _average_before(fault: HeadFault, module: nn.Linear, path: str) -> Edit:
    channels, area = fault.map_shape[0], prod(fault.map_shape[1:])
    cure = f"put nn.AdaptiveAvgPool2d(1) before {fault.layer}"
    if area > 1:
        after, before = channels * fault.features, channels * area * fault.features
        cure += f": it then needs {after:,} weights in place of {before:,}"

    def apply(model: nn.Module) -> None:
        linear = nn.Linear(channels, module.out_features, module.bias is not None)
        made = [nn.Unflatten(-1, fault.map_shape), nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear]
        surgery.replace(model, path, nn.Sequential(*made).to(module.weight.device, module.weight.dtype))

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
            elif pooling.kind == "average" and node.in_leaf and prod(node.outputs[0].shape[2:]) == 1:
                edits.append(whole_average(pooling.name, node.path))
            else:
                edits.append(delete(facts, node, pooling.name))
            factor *= pooling.stride
    return together(edits)


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


def _by(sizes: Sequence[int]) -> str:
    return str(sizes[0]) if len(set(sizes)) == 1 else "x".join(map(str, sizes))
