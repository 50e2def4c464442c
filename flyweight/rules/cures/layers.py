"""Edits that many kinds of rules share: more layers of a sort, fewer of one, a larger or a smaller field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from math import prod

from flyweight.analysis import Convolution, Facts
from flyweight.rules.cures import surgery
from flyweight.rules.cures.edit import Edit, formed, together
from flyweight.rules.cures.foresight import field_if_dilated
from flyweight.rules.cures.lighten import separable_edits
from flyweight.rules.cures.windows import can_dilate, dilated, kernel_of_three, window


def last_on_map(facts: Facts) -> str | None:
    """The last convolution with more than one pixel to look at."""
    names = [c.name for c in facts.convolutions if prod(c.output_size) > 1]
    return names[-1] if names else None


def several(edits: Sequence[Edit], needed: int) -> Iterator[Edit]:
    """So many of some edits together, the best first; then others of them."""
    for start in range(max(1, len(edits) - needed + 1)):
        chosen = edits[start : start + max(1, needed)]
        if chosen:
            yield together(chosen)


def first_and_last(ways: Sequence[Sequence[Edit]]) -> Iterator[Edit]:
    """The first way of each of several together, the last way of each, and then each by itself."""
    if ways and all(ways):
        yield together([way[0] for way in ways])
        yield together([way[-1] for way in ways])
    if len(ways) > 1:
        for way in ways:
            yield from way


def more_separable(facts: Facts) -> list[Edit]:
    """Each edit that makes one more layer depthwise separable, the greatest saving first."""
    edits = [edit for edit, _ in separable_edits(facts)]
    for part in facts.convolutions:
        alone = not any(part in layer.parts and len(layer.parts) > 1 for layer in facts.convolution_layers)
        if part.pointwise and not part.transposed and alone and prod(part.input_size) > 1 and part.inputs > 1:
            text = f"put a depthwise 3x3 before {part.name}"
            edits.append(Edit((part.name,), text, partial(surgery.depthwise_before, path=part.path)))
    return edits


def more_dilated(facts: Facts) -> list[Edit]:
    """Each edit that makes one more convolution dilated, the largest field first."""
    found = []
    for part in facts.convolutions:
        if not part.dilated and can_dilate(part, 2) and part.kernel != (1,) * len(part.kernel):
            sizes = field_if_dilated(facts, part, 2 - max(part.dilation)) or (0, 0)
            found.append((prod(sizes), dilated(part, 2)))
    edits = [edit for _, edit in sorted(found, key=lambda entry: -entry[0])]
    wider = [c for c in facts.convolutions if c.pointwise and not c.transposed and min(c.input_size) > 2]
    return [*edits, *(kernel_of_three(part, 2) for part in wider)]


def larger_field(facts: Facts, minimum: int) -> Iterator[Edit]:
    """The smallest step in one dilation that takes every axis above a minimum, else the largest there are."""

    def sizes(part: Convolution, dilation: int) -> tuple[int, ...]:
        found = field_if_dilated(facts, part, dilation - max(part.dilation)) or (0, 0)
        return found[1:] if len(facts.input_shape) == 2 else found

    parts = [part for part in facts.convolutions if max(part.kernel) > 1 and len(set(part.dilation)) == 1]
    for extra in range(1, 9):
        ways = [(sizes(p, p.dilation[0] + extra), p) for p in parts if can_dilate(p, p.dilation[0] + extra)]
        enough = sorted((way for way in ways if min(way[0]) > minimum), key=lambda way: prod(way[0]))
        if enough:
            yield from (dilated(part, part.dilation[0] + extra) for _, part in enough[:2])
            break
    # kernels of which one tap alone sees the map see more with a smaller dilation
    for part in parts:
        if prod(part.live) == 1 and max(part.dilation) > 1:
            steps = [step for step in range(1, max(part.dilation)) if can_dilate(part, step)]
            good = [step for step in steps if min(sizes(part, step)) > minimum] or steps[-1:]
            yield from (_with_size(part, step) for step in good[:1])
    far = [(p, _farthest(p)) for p in parts if _farthest(p) > max(p.dilation)]
    yield from (dilated(part, step) for part, step in far[-3:][::-1])
    if far:
        yield together([dilated(part, step) for part, step in far])
    narrow = [c for c in facts.convolutions if c.pointwise and not c.transposed and min(c.input_size) > 2]
    yield from (kernel_of_three(part) for part in narrow[-2:])
    if narrow:
        yield together([kernel_of_three(part, max(1, min(2, min(part.input_size) - 1))) for part in narrow])


def _with_size(part: Convolution, dilation: int) -> Edit:
    """A dilation with the padding of a map that keeps its size."""
    padding = tuple(dilation * (side - 1) // 2 for side in part.kernel)
    return window(part, dilation=(dilation,) * len(part.kernel), padding=padding)


def _farthest(part: Convolution) -> int:
    """The largest dilation with which all taps see the map, of at most four times what it is."""
    return max((s for s in range(1, 4 * max(part.dilation) + 1) if can_dilate(part, s)), default=1)


def smaller_field(facts: Facts, maximum: int) -> Iterator[Edit]:
    """Dilations of 1, then kernels of 1, the last layers first, for there a tap reaches farthest."""
    wide = [c for c in facts.convolutions if max(c.dilation) > 1 and not c.transposed]
    if wide:
        yield together([_with_size(part, 1) for part in wide])
        yield from (_with_size(part, 1) for part in wide[::-1])
    chosen: list[Edit] = []
    for part in reversed([c for c in facts.convolutions if max(c.kernel) > 1 and not c.transposed]):
        form = "give {} a kernel of 1 and padding 0"
        chosen.append(formed(part.name, form, partial(surgery.widen_kernel, path=part.path, side=1)))
        yield together([*[_with_size(p, 1) for p in wide if p.name not in (e.layers[0] for e in chosen)], *chosen])
