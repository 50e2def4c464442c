"""Rules about what a network is made of, judged by its facts: each verdict with its margin and the layer at fault.

What could not be analysed fails: an unknown is never taken for a zero or a pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator

from flyweight.analysis import ConvolutionLayer, Facts
from flyweight.analysis.trace.trace import Node
from flyweight.rules.cures.edit import Edit, together
from flyweight.rules.cures.head import head_edits
from flyweight.rules.cures.layers import (
    first_and_last,
    larger_field,
    last_on_map,
    more_dilated,
    more_separable,
    several,
    smaller_field,
)
from flyweight.rules.cures.poolings import average_instead, stride_before
from flyweight.rules.cures.reshape import without_steps
from flyweight.rules.rule import Blocks, Rule, Verdict
from flyweight.text import some


class NoMaxPooling(Rule):
    """No maximum over space anywhere."""

    kind: Literal["no_max_pooling"]

    def check(self, facts: Facts, blocks: Blocks) -> Verdict:
        """See :class:`Rule`."""
        found = [pooling for pooling in facts.poolings if pooling.kind == "max" and pooling.known]
        if found:
            detail = f"{len(found)} found, 0 allowed: {', '.join(pooling.name for pooling in found)}"
            return self.fails(detail, found[0].name, len(found))
        unsure = [pooling for pooling in facts.poolings if pooling.kind == "max"]
        unknown = self.opaque(facts)
        if unsure and not unknown:
            detail = f"unknown: whether {unsure[0].name} takes a maximum over space"
            return self.fails(detail, unsure[0].name)
        return unknown or self.passes("none found")

    def edits(self, facts: Facts, blocks: Blocks) -> Iterator[Edit]:
        """See :class:`Rule`."""
        found = [pooling for pooling in facts.poolings if pooling.kind == "max" and pooling.known]
        ways = []
        for pooling in found:
            step = None if pooling.whole else stride_before(facts, pooling)
            ways.append([step, average_instead(facts, pooling)] if step else [average_instead(facts, pooling)])
        yield from first_and_last(ways)


class _Field(Rule):
    """A rule about the receptive field before global pooling, which must be proved."""

    @property
    def blames_cure(self) -> bool:
        """See :class:`Rule`."""
        return True

    def check(self, facts: Facts, blocks: Blocks) -> Verdict:
        """See :class:`Rule`."""
        field = facts.receptive_field
        if field.height is None or field.width is None:
            where = facts.unknown[0].layer if facts.unknown else field.before or None
            return self.fails(f"unknown: {field.detail}", where, 1e6)
        sizes = _sides(facts, field.live or (field.height, field.width))
        size = "x".join(map(str, sizes))
        if field.live:
            whole = "x".join(map(str, _sides(facts, (field.height, field.width))))
            size += f" ({whole} with kernels of which one tap alone sees more than padding)"
        if field.status != "proved":
            return self.fails(f"{size}, but {field.status}: {field.detail}", field.before or None, 1e6)
        return self.judged(facts, sizes, size)

    def judged(self, facts: Facts, sizes: tuple[int, ...], size: str) -> Verdict:
        """The verdict on a field of known size, `size` being that in words."""
        raise NotImplementedError


class ReceptiveFieldAbove(_Field):
    """The receptive field before global pooling is larger than `minimum` on both axes, and proved."""

    kind: Literal["receptive_field_above"]
    minimum: int = Field(ge=0)

    def judged(self, facts: Facts, sizes: tuple[int, ...], size: str) -> Verdict:
        """See :class:`_Field`."""
        return _above(self, facts, sizes, size, self.minimum)

    def edits(self, facts: Facts, blocks: Blocks) -> Iterator[Edit]:
        """See :class:`Rule`."""
        return larger_field(facts, self.minimum)


class ReceptiveFieldAtMost(_Field):
    """The receptive field before global pooling is no larger than `maximum` on any axis, and proved."""

    kind: Literal["receptive_field_at_most"]
    maximum: int = Field(ge=1)

    def judged(self, facts: Facts, sizes: tuple[int, ...], size: str) -> Verdict:
        """See :class:`_Field`."""
        return _at_most(self, facts, sizes, size, self.maximum)

    def edits(self, facts: Facts, blocks: Blocks) -> Iterator[Edit]:
        """See :class:`Rule`."""
        return smaller_field(facts, self.maximum)


class ReceptiveFieldWithin(_Field):
    """The receptive field before global pooling is from `minimum` to `maximum` on every axis, and proved."""

    kind: Literal["receptive_field_within"]
    minimum: int = Field(ge=1)
    maximum: int = Field(ge=1)

    @model_validator(mode="after")
    def _some_field(self) -> ReceptiveFieldWithin:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is more than maximum {self.maximum}: no network has both")
        return self

    def judged(self, facts: Facts, sizes: tuple[int, ...], size: str) -> Verdict:
        """See :class:`_Field`."""
        if min(sizes) < self.minimum:
            return _above(self, facts, sizes, size, self.minimum - 1)
        return _at_most(self, facts, sizes, size, self.maximum)

    def edits(self, facts: Facts, blocks: Blocks) -> Iterator[Edit]:
        """See :class:`Rule`."""
        field = facts.receptive_field
        small = field.height is not None and min(_sides(facts, field.live or (field.height, field.width or 0)))
        return larger_field(facts, self.minimum - 1) if small < self.minimum else smaller_field(facts, self.maximum)


def _sides(facts: Facts, sizes: tuple[int, int]) -> tuple[int, ...]:
    """Height and width; of a signal its length alone."""
    return sizes[1:] if len(facts.input_shape) == 2 else sizes


def _above(rule: Rule, facts: Facts, sizes: tuple[int, ...], size: str, minimum: int) -> Verdict:
    margin = min(sizes) - minimum
    if margin > 0:
        return rule.passes(f"{size}, must be more than {minimum}: {margin} more")
    return rule.fails(f"{size}, must be more than {minimum}: {1 - margin} too few", last_on_map(facts), 1 - margin)


def _at_most(rule: Rule, facts: Facts, sizes: tuple[int, ...], size: str, maximum: int) -> Verdict:
    over = max(sizes) - maximum
    if over <= 0:
        return rule.passes(f"{size}, must be at most {maximum}: {-over} to spare")
    return rule.fails(f"{size}, must be at most {maximum}: {over} too many", last_on_map(facts), over)


class LayersAtLeast(Rule):
    """At least so many convolution layers of one sort; a kind says of which, and what would make one more."""

    at_least: int = Field(1, ge=1)

    @property
    def blames_cure(self) -> bool:
        """See :class:`Rule`."""
        return True

    def check(self, facts: Facts, blocks: Blocks) -> Verdict:
        """See :class:`Rule`."""
        found = [layer.name for layer in facts.convolution_layers if self.counts(layer)]
        detail = f"{len(found)} found, at least {self.at_least} needed"
        if len(found) >= self.at_least:
            return self.passes(f"{detail}: {some(found)}")
        return self.fails(detail, last_on_map(facts), self.at_least - len(found))

    def counts(self, layer: ConvolutionLayer) -> bool:
        """Whether a layer is of the sort."""
        raise NotImplementedError

    def more(self, facts: Facts) -> list[Edit]:
        """Edits that each make one more, the best first."""
        raise NotImplementedError

    def edits(self, facts: Facts, blocks: Blocks) -> Iterator[Edit]:
        """See :class:`Rule`."""
        needed = self.at_least - sum(self.counts(layer) for layer in facts.convolution_layers)
        return several(self.more(facts), needed)


class DepthwiseSeparableLayers(LayersAtLeast):
    """At least so many depthwise separable layers."""

    kind: Literal["depthwise_separable"]

    def counts(self, layer: ConvolutionLayer) -> bool:
        """See :class:`LayersAtLeast`."""
        return layer.separable

    def more(self, facts: Facts) -> list[Edit]:
        """See :class:`LayersAtLeast`."""
        return more_separable(facts)


class DilatedLayers(LayersAtLeast):
    """At least so many dilated convolutions."""

    kind: Literal["dilated"]

    def counts(self, layer: ConvolutionLayer) -> bool:
        """See :class:`LayersAtLeast`."""
        return layer.dilated

    def more(self, facts: Facts) -> list[Edit]:
        """See :class:`LayersAtLeast`."""
        return more_dilated(facts)


class GlobalAveragePooling(Rule):
    """Every way from the last map to the output goes through global average pooling."""

    kind: Literal["global_average_pooling"]

    def check(self, facts: Facts, blocks: Blocks) -> Verdict:
        """See :class:`Rule`."""
        head = facts.head
        if not head.faults and head.pooling:
            return self.passes(f"{', '.join(head.pooling)} is the only way to the output")
        if not head.faults:
            return self.fails("no map reaches the output")
        fault = head.faults[0]
        return self.fails(f"{fault.layer} {fault.detail}", fault.layer, len(head.faults))

    def edits(self, facts: Facts, blocks: Blocks) -> Iterator[Edit]:
        """See :class:`Rule`."""
        for fault in facts.head.faults:
            yield from head_edits(facts, fault)


class NoDownSampling(Rule):
    """No stride and no pooling anywhere, other than averages over the whole map."""

    kind: Literal["no_down_sampling"]

    def _steps(self, facts: Facts) -> list[tuple[Node, str, str]]:
        """Operators that drop pixels, their names and what they are, in order."""
        steps = [(c.node, c.name, f"stride {max(c.stride)}") for c in facts.convolutions if c.strided]
        steps += [
            (pooling.node, pooling.name, f"{pooling.kind} pooling" if pooling.kind != "subsampling" else pooling.kind)
            for pooling in facts.poolings
            if pooling.known and not (pooling.whole and pooling.kind == "average")
        ]
        return sorted(steps, key=lambda step: step[0].index)

    def check(self, facts: Facts, blocks: Blocks) -> Verdict:
        """See :class:`Rule`."""
        steps = self._steps(facts)
        if steps:
            detail = ", ".join(f"{name} ({what})" for _, name, what in steps)
            return self.fails(detail, steps[0][1], len(steps))
        if facts.unknown:  # wherever positions are lost, some may have been left out
            unknown = facts.unknown[0]
            detail = f"unknown: {unknown.told} in {unknown.layer} is not understood and could pool or drop pixels"
            return self.fails(detail, unknown.layer)
        return self.passes("none found")

    def edits(self, facts: Facts, blocks: Blocks) -> Iterator[Edit]:
        """See :class:`Rule`."""
        steps = [node for node, *_ in self._steps(facts)]
        # a plain stride of 1 is the least; dilated where the stride was, a block still ends dilated
        yield without_steps(facts, steps)
        yield without_steps(facts, steps, atrous=True)
        yield without_steps(facts, steps, atrous=True, ends=True)
        yield without_steps(facts, steps, ends=True)
        for fault in facts.head.faults:
            if fault.features:  # a flattened map of another size would not fit
                yield from (together([edit, without_steps(facts, steps)]) for edit in head_edits(facts, fault))
