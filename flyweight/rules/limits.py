"""Rules that limit a number of a network: parameters, work, memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field
from torch import nn

from flyweight.analysis import Facts, Peak, activation_peak
from flyweight.analysis.findings.weights import used_parameters
from flyweight.analysis.trace.trace import Node
from flyweight.rules.cures import surgery
from flyweight.rules.cures.edit import Edit, together
from flyweight.rules.cures.lighten import memory_edits, parameter_edits, work_edits
from flyweight.rules.rule import Blocks, Rule, Verdict
from flyweight.text import some


class ParametersBelow(Rule):
    """Fewer parameters than `limit`, trainable or not, and none that the network does not know of."""

    kind: Literal["parameters_below"]
    limit: int = Field(ge=1)

    @property
    def blames_cure(self) -> bool:
        """See :class:`Rule`."""
        return True

    @property
    def settled(self) -> bool:
        """See :class:`Rule`."""
        return True

    def check(self, facts: Facts, blocks: Blocks) -> Verdict:
        """See :class:`Rule`."""
        if facts.unregistered:
            return hidden(self, facts)
        margin = self.limit - facts.parameters
        if margin > 0:
            return self.passes(f"{facts.parameters:,}, must be fewer than {self.limit:,}: {margin:,} to spare")
        detail = f"{facts.parameters:,}, must be fewer than {self.limit:,}: {1 - margin:,} too many"
        return self.fails(detail, largest_layer(facts), 1 - margin)

    def edits(self, facts: Facts, blocks: Blocks) -> Iterator[Edit]:
        """See :class:`Rule`."""
        if facts.unregistered:
            yield registered(facts)
        else:
            yield from parameter_edits(facts, self.limit)


def hidden(rule: Rule, facts: Facts) -> Verdict:
    """No size is known where a network computes with weights that it does not know of."""
    count = sum(held.parameters for held in facts.unregistered)
    names = some([held.layer for held in facts.unregistered])
    detail = f"{facts.parameters:,}, and {count:,} in {names} that are neither registered, trained nor saved"
    return rule.fails(detail, facts.unregistered[0].layer, 1e12 + count)


def registered(facts: Facts) -> Edit:
    """All that a network does not know of, made known to it."""
    return together([_registered(held.layer) for held in facts.unregistered])


def largest_layer(facts: Facts) -> str | None:
    """The layer with most parameters."""
    largest = max(facts.layers, key=lambda layer: layer.parameters, default=None)
    return largest.name if largest else None


def _registered(where: str) -> Edit:
    """What a plain attribute holds, made known to the network."""

    def apply(model: nn.Module) -> None:
        owner, _, name = where.rpartition(".")
        holder = surgery.layer_at(model, owner) if owner else model
        held = vars(holder).pop(name)
        if isinstance(held, dict):
            held = nn.ModuleDict(held)
        elif isinstance(held, list | tuple):
            held = nn.ModuleList(held)
        else:
            held = nn.Parameter(held.detach())
        setattr(holder, name, held)

    return Edit((where,), f"hold layers of {where} in nn.ModuleList, tensors in nn.Parameter", apply)


class MacsBelow(Rule):
    """Fewer multiply-accumulates of convolutions and matrix products for one image than `limit`."""

    kind: Literal["macs_below"]
    limit: int = Field(ge=1)

    def check(self, facts: Facts, blocks: Blocks) -> Verdict:
        """See :class:`Rule`."""
        if facts.macs is None:
            unknown = facts.unknown[0] if facts.unknown else None
            what = f"{unknown.told} in {unknown.layer} is not understood" if unknown else "not counted"
            return self.fails(f"unknown: {what}", unknown.layer if unknown else None, 1e18)
        margin = self.limit - facts.macs
        if margin > 0:
            return self.passes(f"{facts.macs:,}, must be fewer than {self.limit:,}: {margin:,} to spare")
        largest = max(facts.layers, key=lambda layer: layer.macs or 0)
        detail = f"{facts.macs:,}, must be fewer than {self.limit:,}: {1 - margin:,} too many"
        return self.fails(detail, largest.name, 1 - margin)

    def edits(self, facts: Facts, blocks: Blocks) -> Iterator[Edit]:
        """See :class:`Rule`."""
        if facts.macs is not None:
            yield from work_edits(facts, self.limit)


class PeakActivationBytes(Rule):
    """The maps that a network holds at once take no more than `limit` bytes, one image at a time.

    Attributes:
        limit: bytes.
        element_bytes: of one number; 1 where a runtime computes in 8 bits.
        input: whether the image lies in the same memory (TensorFlow Lite Micro: counted; uNAS: excluded).
        add: whether a sum is written over a part of it that nobody reads afterwards.
        pointwise: the same of a 1x1 of stride 1 over what it reads, where its target is no larger; the C export does
            both.
    """

    kind: Literal["peak_activation_bytes"]
    limit: int = Field(ge=1)
    element_bytes: int = Field(1, ge=1)
    input: Literal["counted", "excluded"] = "counted"
    add: Literal["separate", "in_place"] = "separate"
    pointwise: Literal["separate", "in_place"] = "separate"

    def check(self, facts: Facts, blocks: Blocks) -> Verdict:
        """See :class:`Rule`."""
        unknown = self.opaque(facts)
        if unknown:
            return unknown
        peak = self._peak(facts)
        used = peak.numbers * self.element_bytes
        held = " and ".join(f"{name} {numbers * self.element_bytes:,}" for name, numbers in peak.maps[:4])
        margin = self.limit - used
        if margin >= 0:
            detail = f"{used:,} bytes at {peak.layer}, must be at most {self.limit:,}: {margin:,} to spare"
            return self.passes(detail)
        detail = f"{used:,} bytes at {peak.layer} ({held}), must be at most {self.limit:,}: {-margin:,} too many"
        return self.fails(detail, peak.layer, -margin)

    def edits(self, facts: Facts, blocks: Blocks) -> Iterator[Edit]:
        """See :class:`Rule`."""
        return memory_edits(facts, self._peak(facts), self.limit / self.element_bytes)

    def _peak(self, facts: Facts) -> Peak:
        return activation_peak(
            facts.graph, self.input == "counted", self.add == "in_place", self.pointwise == "in_place"
        )


class FlashBytes(Rule):
    """Weights of 8 bits, what belongs to each channel, and a runtime take no more than `limit` bytes.

    A batch norm that alone reads what a convolution makes is folded into it and takes nothing; any other parameter is
    as large as a weight.

    Attributes:
        limit: bytes.
        weight_bytes: of one weight.
        channel_bytes: of one output channel: a bias of 4 bytes and a scale of 4.
        runtime_bytes: of the program that runs it; about 37,000 of TensorFlow Lite Micro's, by its own figures.
    """

    kind: Literal["flash_bytes"]
    limit: int = Field(ge=1)
    weight_bytes: int = Field(1, ge=1)
    channel_bytes: int = Field(8, ge=0)
    runtime_bytes: int = Field(0, ge=0)

    def check(self, facts: Facts, blocks: Blocks) -> Verdict:
        """See :class:`Rule`."""
        if facts.unregistered:
            return hidden(self, facts)
        used = self._used(facts)
        margin = self.limit - used
        parts = f"{used:,} bytes" + f", {self.runtime_bytes:,} of them the runtime's" * (self.runtime_bytes > 0)
        if margin >= 0:
            return self.passes(f"{parts}, must be at most {self.limit:,}: {margin:,} to spare")
        return self.fails(
            f"{parts}, must be at most {self.limit:,}: {-margin:,} too many", largest_layer(facts), -margin
        )

    def _used(self, facts: Facts) -> int:
        graph, sizes = facts.graph, {}
        folded: set[str] = set()
        channels = 0
        for node in graph.trace.nodes:
            if not graph.runs(node):
                continue
            used = used_parameters(graph, node)
            if graph.ops[node].kind in ("convolution", "product") and used:
                channels += node.outputs[0].shape[1 if graph.ops[node].kind == "convolution" else -1]
                # biases have their bytes among those of the channels
                sizes.update({name: count for name, count in used.items() if not name.endswith("bias")})
                folded.update(name for name in used if name.endswith("bias"))
            elif graph.ops[node].kind == "batch norm" and self._behind(facts, node):
                folded.update(used)
        rest = {n: p.numel() for n, p in graph.trace.model.named_parameters() if n not in folded and n not in sizes}
        weights = sum(sizes.values()) + sum(rest.values())
        return weights * self.weight_bytes + channels * self.channel_bytes + self.runtime_bytes

    def _behind(self, facts: Facts, node: Node) -> bool:
        """Whether a norm reads nothing but what a convolution makes, and nobody else reads that."""
        graph = facts.graph
        value = graph.inputs(node)[0]
        alone = sum(value in graph.inputs(reader) for reader in graph.trace.nodes) == 1
        return alone and value.producer is not None and graph.ops[value.producer].kind in ("convolution", "product")

    def edits(self, facts: Facts, blocks: Blocks) -> Iterator[Edit]:
        """See :class:`Rule`."""
        if facts.unregistered:
            yield registered(facts)
        else:
            over = self._used(facts) - self.limit
            yield from parameter_edits(facts, max(2, facts.parameters - int(over / self.weight_bytes)))
