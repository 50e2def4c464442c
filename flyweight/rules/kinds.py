"""Rules about a network, judged by its facts: each verdict with its margin, the layer at fault and the cheapest cure.

What could not be analysed fails: an unknown is never taken for a zero or a pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Literal

from pydantic import Field

from flyweight.analysis import ConvolutionLayer, Facts
from flyweight.rules import cures
from flyweight.rules.edits import dilation_edits, field_edit, reviving_edit, separable_edits
from flyweight.rules.rule import Rule, Verdict
from flyweight.schema import suggestion
from flyweight.text import some


class BlockRule(Rule):
    """A rule about blocks: its own, or those of the rule set."""

    blocks: tuple[str, ...] | None = None


class ConvolutionsPerBlock(BlockRule):
    """Each block has exactly `count` convolutions; a depthwise separable pair counts as one."""

    kind: Literal["convolutions_per_block"]
    count: int = Field(ge=1)

    def check(self, facts: Facts, blocks: Sequence[str]) -> Verdict:
        """See :class:`Rule`."""
        unknown = self.opaque(facts)
        if unknown:
            return unknown
        counts = []
        for block in self.blocks or blocks:
            if block not in facts.submodules:
                return _missing_block(self, facts, block)
            layers = _layers_in(facts, block)
            if len(layers) != self.count:
                names = ", ".join(layer.name for layer in layers) or "none"
                detail = f"{block} has {len(layers)}, must have {self.count}: {names}"
                return self.fails(detail, block, cures.fewer_or_more(facts, block, layers, self.count))
            counts.append(f"{block} {len(layers)}")
        return self.passes(", ".join(counts))


class NoMaxPooling(Rule):
    """No maximum over space anywhere."""

    kind: Literal["no_max_pooling"]

    def check(self, facts: Facts, blocks: Sequence[str]) -> Verdict:
        """See :class:`Rule`."""
        found = [pooling for pooling in facts.poolings if pooling.kind == "max" and pooling.known]
        if found:
            detail = f"{len(found)} found, 0 allowed: {', '.join(pooling.name for pooling in found)}"
            return self.fails(detail, found[0].name, cures.no_maximum(facts, found[0]))
        unsure = [pooling for pooling in facts.poolings if pooling.kind == "max"]
        unknown = self.opaque(facts)
        if unsure and not unknown:
            detail = f"unknown: whether {unsure[0].name} takes a maximum over space"
            return self.fails(detail, unsure[0].name, cures.no_maximum(facts, unsure[0]))
        return unknown or self.passes("none found")


class BlocksEndStridedOrDilated(BlockRule):
    """The last convolution of each block has a stride of 2 or more, or is dilated."""

    kind: Literal["blocks_end_strided_or_dilated"]

    def check(self, facts: Facts, blocks: Sequence[str]) -> Verdict:
        """See :class:`Rule`."""
        ends = []
        for block in self.blocks or blocks:
            if block not in facts.submodules:
                return _missing_block(self, facts, block)
            layers = _layers_in(facts, block)
            if not layers:
                return self.fails(f"{block} has no convolution", block)
            last = layers[-1]
            if not (last.strided or last.dilated):
                detail = f"the last convolution of {block}, {last.name}, has stride 1 and dilation 1"
                steps = max((max(part.dilation) for part in last.parts if prod(part.kernel) > 1), default=1)
                if steps > 1:
                    detail = f"{detail[:-1]}{steps}, with which all taps but one see only padding"
                return self.fails(detail, last.name, cures.shrink_or_dilate(facts, last))
            ends.append(f"{block} {'stride' if last.strided else 'dilated'}")
        return self.passes(", ".join(ends))


class ReceptiveFieldAbove(Rule):
    """The receptive field before global pooling is larger than `minimum` on both axes, and proved."""

    kind: Literal["receptive_field_above"]
    minimum: int = Field(ge=0)

    def check(self, facts: Facts, blocks: Sequence[str]) -> Verdict:
        """See :class:`Rule`."""
        field = facts.receptive_field
        if field.height is None or field.width is None:
            where = facts.unknown[0].layer if facts.unknown else field.before or None
            return self.fails(f"unknown: {field.detail}", where, "write that layer with operators of torch.nn")
        high, wide = field.live or (field.height, field.width)
        size, margin = f"{high}x{wide}", min(high, wide) - self.minimum
        if field.live:
            size += f" ({field.height}x{field.width} with kernels of which one tap alone sees more than padding)"
        if field.status != "proved":
            return self.fails(f"{size}, but {field.status}: {field.detail}", field.before or None)
        if margin > 0:
            return self.passes(f"{size}, must be more than {self.minimum}: {margin} more")
        edit = field_edit(facts, self.minimum) or reviving_edit(facts, self.minimum)
        detail = f"{size}, must be more than {self.minimum}: {1 - margin} too few"
        last = _last_on_map(facts)
        if edit is None or edit.receptive_field is None:
            return self.fails(detail, last, "no single dilation is enough: add a 3x3 convolution in each block")
        grown = "x".join(map(str, edit.receptive_field))
        return self.fails(detail, edit.layer, f"{edit.text}: {high}x{wide} becomes {grown}, no parameters")


class LayersAtLeast(Rule):
    """At least so many convolution layers of one sort; a kind says of which, and what would make one more."""

    at_least: int = Field(1, ge=1)

    def check(self, facts: Facts, blocks: Sequence[str]) -> Verdict:
        """See :class:`Rule`."""
        found = [layer.name for layer in facts.convolution_layers if self.counts(layer)]
        detail = f"{len(found)} found, at least {self.at_least} needed"
        if len(found) >= self.at_least:
            return self.passes(f"{detail}: {some(found)}")
        return self.fails(detail, *self.cure(facts, found))

    def counts(self, layer: ConvolutionLayer) -> bool:
        """Whether a layer is of the sort."""
        raise NotImplementedError

    def cure(self, facts: Facts, found: Sequence[str]) -> tuple[str, str] | tuple[()]:
        """The layer that is best made one of them, and the edit; `found` are those that are."""
        raise NotImplementedError


class DepthwiseSeparableLayers(LayersAtLeast):
    """At least so many depthwise separable layers."""

    kind: Literal["depthwise_separable"]

    def counts(self, layer: ConvolutionLayer) -> bool:
        """See :class:`LayersAtLeast`."""
        return layer.separable

    def cure(self, facts: Facts, found: Sequence[str]) -> tuple[str, str] | tuple[()]:
        """See :class:`LayersAtLeast`."""
        for edit in separable_edits(facts):
            saved = facts.parameters - edit.parameters
            return edit.layer, f"{edit.text}: {edit.parameters:,} parameters, {saved:,} fewer"
        return ()


class DilatedLayers(LayersAtLeast):
    """At least so many dilated convolutions."""

    kind: Literal["dilated"]

    def counts(self, layer: ConvolutionLayer) -> bool:
        """See :class:`LayersAtLeast`."""
        return layer.dilated

    def cure(self, facts: Facts, found: Sequence[str]) -> tuple[str, str] | tuple[()]:
        """See :class:`LayersAtLeast`."""
        for edit in dilation_edits(facts):
            if edit.layer not in found:
                high, wide = edit.receptive_field or (0, 0)
                return edit.layer, f"{edit.text}: no parameters, receptive field {high}x{wide}"
        return ()


class GlobalAveragePooling(Rule):
    """Every way from the last map to the output goes through global average pooling."""

    kind: Literal["global_average_pooling"]

    def check(self, facts: Facts, blocks: Sequence[str]) -> Verdict:
        """See :class:`Rule`."""
        head = facts.head
        if not head.faults and head.pooling:
            return self.passes(f"{', '.join(head.pooling)} is the only way to the output")
        if not head.faults:
            return self.fails("no map reaches the output")
        fault = head.faults[0]
        return self.fails(f"{fault.layer} {fault.detail}", fault.layer, cures.average_whole_map(facts, fault))


class ParametersBelow(Rule):
    """Fewer parameters than `limit`, trainable or not, and none that the network does not know of."""

    kind: Literal["parameters_below"]
    limit: int = Field(ge=1)

    def check(self, facts: Facts, blocks: Sequence[str]) -> Verdict:
        """See :class:`Rule`."""
        if facts.unregistered:
            hidden = sum(held.parameters for held in facts.unregistered)
            where = facts.unregistered[0].layer
            names = some([held.layer for held in facts.unregistered])
            detail = f"{facts.parameters:,}, and {hidden:,} in {names} that are neither registered, trained nor saved"
            return self.fails(detail, where, f"hold layers of {where} in nn.ModuleList, tensors in nn.Parameter")
        margin = self.limit - facts.parameters
        if margin > 0:
            return self.passes(f"{facts.parameters:,}, must be fewer than {self.limit:,}: {margin:,} to spare")
        detail = f"{facts.parameters:,}, must be fewer than {self.limit:,}: {1 - margin:,} too many"
        largest = max(facts.layers, key=lambda layer: layer.parameters, default=None)
        cure, layer = cures.lighten(facts, self.limit)
        return self.fails(detail, layer or (largest.name if largest else None), cure)


class MacsBelow(Rule):
    """Fewer multiply-accumulates of convolutions and matrix products for one image than `limit`."""

    kind: Literal["macs_below"]
    limit: int = Field(ge=1)

    def check(self, facts: Facts, blocks: Sequence[str]) -> Verdict:
        """See :class:`Rule`."""
        if facts.macs is None:
            unknown = facts.unknown[0] if facts.unknown else None
            what = f"{unknown.told} in {unknown.layer} is not understood" if unknown else "not counted"
            return self.fails(f"unknown: {what}", unknown.layer if unknown else None)
        margin = self.limit - facts.macs
        if margin > 0:
            return self.passes(f"{facts.macs:,}, must be fewer than {self.limit:,}: {margin:,} to spare")
        largest = max(facts.layers, key=lambda layer: layer.macs or 0)
        return self.fails(f"{facts.macs:,}, must be fewer than {self.limit:,}: {1 - margin:,} too many", largest.name)


class NoDownSampling(Rule):
    """No stride and no pooling anywhere, other than averages over the whole map."""

    kind: Literal["no_down_sampling"]

    def check(self, facts: Facts, blocks: Sequence[str]) -> Verdict:
        """See :class:`Rule`."""
        steps = [(c.node, c.name, f"stride {max(c.stride)}") for c in facts.convolutions if c.strided]
        steps += [
            (pooling.node, pooling.name, f"{pooling.kind} pooling" if pooling.kind != "subsampling" else pooling.kind)
            for pooling in facts.poolings
            if pooling.known and not (pooling.whole and pooling.kind == "average")
        ]
        if steps:
            steps.sort(key=lambda step: step[0].index)
            detail = ", ".join(f"{name} ({what})" for _, name, what in steps)
            node, first, _ = steps[0]
            return self.fails(detail, first, cures.dilate_instead(facts, node, first))
        if facts.unknown:  # wherever positions are lost, some may have been left out
            unknown = facts.unknown[0]
            detail = f"unknown: {unknown.told} in {unknown.layer} is not understood and could pool or drop pixels"
            return self.fails(detail, unknown.layer, f"write {unknown.layer} with operators of torch.nn")
        return self.passes("none found")


def _layers_in(facts: Facts, block: str) -> list[ConvolutionLayer]:
    """Convolution layers that ran in a submodule, in order."""
    return [
        layer
        for layer in facts.convolution_layers
        if layer.parts[0].path == block or layer.parts[0].path.startswith(f"{block}.")
    ]


def _missing_block(rule: Rule, facts: Facts, block: str) -> Verdict:
    top = [path for path in facts.submodules if "." not in path]
    near = suggestion(block, top)
    detail = f"there is no submodule {block!r}{near}: the network has {some(top) or 'none'}"
    return rule.fails(detail, block, f"name the block {block!r}, or list other blocks in the rule set")


def _last_on_map(facts: Facts) -> str | None:
    """The last convolution with more than one pixel to look at."""
    names = [c.name for c in facts.convolutions if prod(c.output_size) > 1]
    return names[-1] if names else None
