"""Cures in words: the cheapest edit that would make a network obey a rule, with its effect in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from flyweight.analysis.facts import Convolution, ConvolutionLayer, Facts, HeadFault, Pooling
from flyweight.analysis.trace.trace import Node
from flyweight.rules.edits import dilates_alike, field_if_dilated, narrowing_edit, reaches, separable_edits


def fewer_or_more(facts: Facts, block: str, layers: Sequence[ConvolutionLayer], count: int) -> str | None:
    """Add the lightest layer, or take away one that keeps the width."""
    if not layers:
        return f"put {count} convolutions into {block}"
    last = layers[-1].parts[-1]
    if len(layers) < count:
        width = layers[0].parts[-1].outputs
        light, dense = 9 * width + width * width, 9 * width * width
        missing = count - len(layers)
        return (
            f"add {missing} 3x3 convolution{'s' * (missing > 1)} of {width} to {width} channels after"
            f" {layers[0].parts[-1].name}: {light:,} weights each depthwise separable, {dense:,} dense"
        )
    spare = [
        layer
        for layer in layers
        if layer.parts[0].inputs == layer.parts[-1].outputs and not layer.strided and not layer.dilated
    ]
    many = len(layers) - count
    if len(spare) < many:
        return f"take {many} of them away and let {last.name} take over {'its' if many == 1 else 'their'} channels"
    # a rule may ask for a separable layer
    chosen = sorted(spare, key=lambda layer: layer.separable)[:many]
    names = " and ".join(", ".join(layer.name for layer in chosen).rsplit(", ", 1))
    weights = sum(part.parameters for layer in chosen for part in layer.parts)
    return f"take {names} away, which keep{'s' * (many == 1)} the width: {weights:,} weights fewer"


def no_maximum(facts: Facts, pooling: Pooling) -> str:
    """What to put in the place of a maximum over space."""
    if not pooling.known:
        return f"write {pooling.name}, and what comes before it, with operators of torch.nn"
    if pooling.whole:
        return f"replace {pooling.name} by nn.AdaptiveAvgPool2d(1), which has no parameters"
    before = [c for c in facts.convolutions if c.node.index < pooling.node.index and not c.strided]
    if pooling.stride > 1 and before:
        return f"delete {pooling.name} and give {before[-1].name} before it stride {pooling.stride}"
    return f"delete {pooling.name}" + ": it drops no pixels, so nothing has to stand in for it" * (pooling.stride == 1)


def dilate_instead(facts: Facts, node: Node, name: str) -> str:
    """A dilated convolution that shrinks the map in place of a stride, a pooling or a step that drops pixels."""
    without = "a larger dilation without padding, which shrinks the map as well"
    before = [c for c in facts.convolutions if c.node.index < node.index and max(c.kernel) > 1 and not c.transposed]
    part = next((c for c in facts.convolutions if c.node is node), None)
    if part is not None:
        return f"give {name} stride 1" + f" and {without}" * (max(part.kernel) > 1)
    whole = any(pooling.whole for pooling in facts.poolings if pooling.node is node)
    if whole:
        return f"replace {name} by nn.AdaptiveAvgPool2d(1), which has no parameters"
    return f"delete {name}" + (f" and give {before[-1].name} before it {without}" if before else "")


def shrink_or_dilate(facts: Facts, last: ConvolutionLayer) -> str:
    """A stride or a dilation for the last convolution of a block, and what each does."""
    part = last.parts[0]
    halved = "x".join(str((size + 1) // 2) for size in part.output_size)
    cure = f"give {part.name} stride 2: its map becomes {halved}"
    if max(part.kernel) == 1 or not dilates_alike(facts, part) or not reaches(part, 2):
        return cure
    dead = part.dilation[0] > 1
    sizes = field_if_dilated(facts, part, 2 - part.dilation[0])
    if sizes is not None:
        cure += f"; or dilation 2{' and padding 2' * dead}: receptive field {sizes[0]}x{sizes[1]}"
        cure += "; neither costs parameters"
    return cure


def average_whole_map(facts: Facts, fault: HeadFault) -> str:
    """An average in place of what ends the last map, or a map that is left for the average."""
    if fault.node is None or len(fault.map_shape) != 3:
        return "end with nn.AdaptiveAvgPool2d(1) and a 1x1 convolution or nn.Linear"
    part = next((c for c in facts.convolutions if c.node is fault.node), None)
    if part is not None:
        return _leave_map(part)
    if facts.graph.ops[fault.node].kind == "slice":
        return f"leave {fault.layer} out: the whole map is to be averaged"
    if not fault.features:
        return f"replace {fault.layer} by nn.AdaptiveAvgPool2d(1)"
    channels, area = fault.map_shape[0], prod(fault.map_shape[1:])
    cure = f"put nn.AdaptiveAvgPool2d(1) before {fault.layer}"
    if area > 1:
        after, before = channels * fault.features, channels * area * fault.features
        cure += f": it then needs {after:,} weights in place of {before:,}"
    return cure


def _leave_map(part: Convolution) -> str:
    """Stride or padding with which a convolution makes a map of more than one place."""
    spans = [step * (side - 1) for step, side in zip(part.dilation, part.kernel, strict=True)]
    padding, edits = part.padding, ["stride 1"] if part.strided else []
    if all(n + 2 * p == s + 1 for n, p, s in zip(part.input_size, padding, spans, strict=True)):
        padding = tuple(span // 2 for span in spans)
        edits.append(f"padding {'x'.join(map(str, padding))}")
    left = (n + 2 * p - s for n, p, s in zip(part.input_size, padding, spans, strict=True))
    return f"give {part.name} {' and '.join(edits)}: a map of {'x'.join(map(str, left))} is left to average"


def lighten(facts: Facts, limit: int) -> tuple[str | None, str | None]:
    """The edit of one layer that gets below the limit with the least change, and that layer."""
    separable = separable_edits(facts)
    enough = [edit for edit in separable if edit.parameters < limit]
    options = [edit for edit in (narrowing_edit(facts, limit), enough[-1] if enough else None) if edit]
    if options:
        return "; or ".join(f"{edit.text}: {edit.parameters:,} parameters" for edit in options), options[0].layer
    left, chosen = facts.parameters, []
    for edit in separable:
        left -= facts.parameters - edit.parameters
        chosen.append(edit.layer)
        if left < limit:
            return f"make {', '.join(chosen)} depthwise separable: {left:,} parameters", chosen[0]
    return f"no edit of single layers is enough (all depthwise separable: {left:,}): narrow the whole network", None
