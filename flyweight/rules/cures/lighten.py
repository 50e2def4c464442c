"""Edits that make a network smaller: layers made separable, widths narrowed, maps made smaller."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from math import prod

from torch import nn

from flyweight.analysis import Convolution, ConvolutionLayer, Facts, Peak
from flyweight.rules.cures import surgery
from flyweight.rules.cures.edit import Edit, formed, together
from flyweight.rules.cures.head import head_edits
from flyweight.rules.cures.reshape import strided
from flyweight.rules.cures.widths import Width, Widths, fewest_cuts, narrow

MOST_ADDED = 32
"""Layers that are added at most: with more it is another network, and analysing thousands of them takes hours."""


def separable_edits(facts: Facts) -> list[tuple[Edit, int]]:
    """Each dense convolution of more than one tap made depthwise separable, and the weights that it saves, most first.

    ``taps * inputs * outputs`` weights become ``taps * inputs + inputs * outputs``
    (Howard et al. 2017, "MobileNets", section 3.1).
    """
    found = []
    for part in facts.convolutions:
        taps, pairs = prod(part.kernel), part.inputs * part.outputs
        saved = taps * pairs - (taps * part.inputs + pairs)
        if part.groups == 1 and taps > 1 and not part.transposed and part.inputs > 1 and saved > 0:
            found.append((separable_edit(part), saved))
    return sorted(found, key=lambda entry: -entry[1])


def separable_edit(part: Convolution) -> Edit:
    """A dense convolution made depthwise separable."""
    return formed(part.name, "make {} depthwise separable", lambda model: surgery.separable(model, part.path))


def parameter_edits(facts: Facts, limit: int) -> Iterator[Edit]:
    """Ways to fewer parameters than a limit: one layer where that is enough, else several, else all widths."""
    model = facts.graph.trace.model
    cuts = list(fewest_cuts(model, Widths(facts.graph), limit))
    single = [kept for kept in cuts if len(kept) == 1]
    yield from (narrowing(facts, kept) for kept in single[:1])
    choices = separable_edits(facts)
    over = facts.parameters - limit
    enough = [edit for edit, saved in choices if saved > over]
    if enough:
        yield enough[-1]
    yield from (narrowing(facts, kept) for kept in single[1:2])
    chosen: list[Edit] = []
    for edit, saved in choices:
        chosen.append(edit)
        over -= saved
        if over < 0:
            yield together(chosen)
            break
    yield from (narrowing(facts, kept) for kept in cuts if len(kept) > 1)
    yield from head_widths(facts)
    if choices:
        yield together([edit for edit, _ in choices])


def head_widths(facts: Facts) -> Iterator[Edit]:
    """An average in front of the first linear layer that reads a flattened map, where most of a network can lie."""
    for fault in facts.head.faults:
        if fault.features:
            yield from head_edits(facts, fault)


def narrowing(facts: Facts, kept: dict[Width, int]) -> Edit:
    """Some widths narrowed."""
    texts, layers = [], []
    for width, left in kept.items():
        names = [_name(facts, path) for path in width.makers]
        texts.append(f"narrow {' and '.join(names)} from {width.size} to {left} channels")
        layers += names

    def apply(model: nn.Module) -> None:
        for width, left in kept.items():
            narrow(model, width, left)

    return Edit(tuple(layers), "; ".join([texts[0], *(text.removeprefix("narrow ") for text in texts[1:])]), apply)


def _name(facts: Facts, path: str) -> str:
    return next((c.name for c in facts.convolutions if c.path == path), path)


def work_edits(facts: Facts, limit: int) -> Iterator[Edit]:
    """Ways to fewer multiply-accumulates: separable layers, the heaviest first, then narrower ones, then a stride."""
    over = (facts.macs or 0) - limit
    choices = []
    for part in facts.convolutions:
        taps = prod(part.kernel)
        if part.groups == 1 and taps > 1 and part.inputs > 1 and not part.transposed:
            after = part.macs / part.outputs + part.macs / taps  # taps * inputs, and inputs * outputs, a place
            if after < part.macs:
                choices.append((separable_edit(part), part.macs - after))
    choices.sort(key=lambda entry: -entry[1])
    enough = [edit for edit, saved in choices if saved > over]
    if enough:
        yield enough[-1]
    chosen: list[Edit] = []
    for edit, saved in choices:
        chosen.append(edit)
        over -= int(saved)
        if over < 0:
            yield together(chosen)
            break
    yield from scaled(facts, limit / max(1, facts.macs or 1))
    heavy = [c for c in facts.convolutions if not c.strided and min(c.output_size) > 3 and not c.transposed]
    for part in heavy[:2]:
        yield from strided(facts, part, 2)


def scaled(facts: Facts, share: float, among: Sequence[Width] | None = None) -> Iterator[Edit]:
    """All free widths, or some, made so much narrower: as the share is, and then its root and in between."""
    widths = list(among) if among is not None else Widths(facts.graph).free()
    if not widths or share >= 1:
        return
    for part in (share**0.5 * 0.97, share * 0.98, share * 0.7, share * 0.45):
        kept = {width: max(1, int(width.size * part)) for width in widths}
        if any(left < width.size for width, left in kept.items()):
            yield narrowing(facts, {width: left for width, left in kept.items() if left < width.size})


def memory_edits(facts: Facts, peak: Peak, limit: float) -> Iterator[Edit]:
    """Ways to smaller maps at the peak: narrower widths there, or a stride before them.

    Args:
        facts: of the network.
        peak: what is held when most is.
        limit: numbers that may be held.
    """
    graph, widths = facts.graph, Widths(facts.graph)
    held = {name for name, _ in peak.maps}
    there = [widths.of(node.outputs[0]) for node in graph.trace.nodes if graph.names[node] in held and node.outputs]
    among = [width for width in dict.fromkeys(there) if width is not None and not width.fixed and width.makers]
    fixed = sum(numbers for name, numbers in peak.maps if name == "input")
    share = max(0.05, (limit - fixed) / max(1, peak.numbers - fixed))
    yield from (edit for edit in scaled(facts, share**2 / 0.95**2, among) if share < 1)
    first = [c for c in facts.convolutions if not c.strided and not c.transposed and min(c.output_size) > 3]
    for part in first[:2]:
        yield from strided(facts, part, 2)
    for part in first[:1]:
        for edit in strided(facts, part, 2):
            yield from (together([edit, other]) for other in list(scaled(facts, share**2, among))[:2])


def count_edits(
    facts: Facts, block: str, layers: Sequence[ConvolutionLayer], count: int, path: str | None
) -> Iterator[Edit]:
    """Layers added to a block, the lightest first, or taken from it, those first that keep the width.

    Args:
        facts: of the network.
        block: its name.
        layers: its convolutions.
        count: how many it is to have.
        path: of the submodule that it ends with.
    """
    if len(layers) < count:
        if count - len(layers) <= MOST_ADDED:
            yield from _more(facts, block, layers, count - len(layers), path)
        return
    many = len(layers) - count
    spare = [
        layer
        for layer in layers
        if layer.parts[0].inputs == layer.parts[-1].outputs and not layer.strided and not layer.dilated
    ]
    for chosen in (sorted(spare, key=lambda layer: layer.separable)[:many], spare[:many], spare[-many:]):
        if len(chosen) == many:
            names = " and ".join(", ".join(layer.name for layer in chosen).rsplit(", ", 1))
            weights = sum(part.parameters for layer in chosen for part in layer.parts)
            text = f"take {names} away, which keep{'s' * (many == 1)} the width: {weights:,} weights fewer"
            paths = [part.path for layer in chosen for part in layer.parts]
            yield Edit(tuple(la.name for la in chosen), text, partial(surgery.take_away, paths=paths))
    for at in range(len(layers) - 2, -1, -1):
        yield merged(facts, layers[at], layers[at + 1])


def _more(
    facts: Facts, block: str, layers: Sequence[ConvolutionLayer], missing: int, path: str | None
) -> Iterator[Edit]:
    places = [(layers[0].parts[-1], False), (layers[-1].parts[0], True)] if layers else []
    for dense in (False, True):
        for part, before in places:
            width = part.inputs if before else part.outputs
            yield _added(part.path, part.name, width, missing, before, dense)
        call = next((c for c in reversed(facts.graph.trace.calls) if path is not None and c.path == path), None)
        if not layers and path and call is not None and call.output is not None and len(call.output.shape) == 4:
            yield _added(path, block, call.output.shape[1], missing, False, dense)


def _added(path: str, name: str, width: int, missing: int, before: bool, dense: bool) -> Edit:
    weights = 9 * width * width if dense else 9 * width + width * width
    sort = "3x3 convolution" if dense else "depthwise separable 3x3 convolution"
    text = (
        f"add {missing} {sort}{'s' * (missing > 1)} of {width} to {width} channels {'before' if before else 'after'}"
        f" {name}: {weights:,} weights each"
    )
    return Edit(
        (name,), text, lambda model: surgery.insert(model, path, width, count=missing, before=before, dense=dense)
    )


def merged(facts: Facts, gone: ConvolutionLayer, heir: ConvolutionLayer) -> Edit:
    """A layer taken away, and the next one reads what it read, with its stride besides."""
    inputs, steps = gone.parts[0].inputs, max(max(part.stride) for part in gone.parts)
    text = f"take {gone.name} away and let {heir.name} read its {inputs} channels"
    text += f" with stride {steps * max(heir.parts[0].stride)}" * (steps > 1)
    nodes = facts.graph.trace.nodes
    norms = [
        node.path
        for node in nodes
        if gone.parts[-1].node.index < node.index < heir.parts[0].node.index
        and facts.graph.ops[node].kind == "batch norm"
        and node.in_leaf
    ]

    def apply(model: nn.Module) -> None:
        surgery.take_away(model, [part.path for part in gone.parts] + norms)
        first = surgery.convolution_at(model, heir.parts[0].path)
        stride = tuple(step * steps for step in first.stride)
        depthwise = len(heir.parts) == 2
        outputs, groups = (inputs, inputs) if depthwise else (first.out_channels, 1)
        surgery.replace(model, heir.parts[0].path, surgery.like(first, inputs, outputs, groups=groups, stride=stride))
        if depthwise:
            second = surgery.convolution_at(model, heir.parts[1].path)
            surgery.replace(model, heir.parts[1].path, surgery.like(second, inputs, second.out_channels))
            between = [
                node.path for node in nodes
                if heir.parts[0].node.index < node.index < heir.parts[1].node.index
                and facts.graph.ops[node].kind == "batch norm" and node.in_leaf
            ]  # fmt: skip
            for path in between:
                surgery.replace(model, path, nn.BatchNorm2d(inputs))

    return Edit((gone.name, heir.name), text, apply)
