"""Rules that count layers: so many of a sort, and how many stand one behind another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from pydantic import Field, field_validator, model_validator
from torch.nn import functional

from flyweight.analysis import ConvolutionLayer, Facts
from flyweight.analysis.findings.weights import used_parameters
from flyweight.rules.cures.edit import Edit, together
from flyweight.rules.cures.exchange import dense, put_behind, without
from flyweight.rules.cures.layers import last_on_map, more_dilated, more_separable, several
from flyweight.rules.cures.lighten import count_edits
from flyweight.rules.cures.poolings import average_instead
from flyweight.rules.cures.reshape import strided
from flyweight.rules.cures.windows import window
from flyweight.rules.rule import Blocks, Rule, Verdict
from flyweight.schema import suggestion
from flyweight.text import some

SORTS = {
    "convolution": "any, a depthwise separable pair counting as one",
    "depthwise_separable": "a depthwise convolution with the 1x1 that ends it",
    "dilated": "taps further apart than one pixel",
    "strided": "steps of more than one pixel",
    "depthwise": "a filter for each single channel",
    "pointwise": "1x1 over all channels, alone or in a pair",
    "grouped": "in groups of more than one channel",
    "transposed": "a transposed convolution",
    "projection": "a 1x1 beside a block, up to its sum",
    "linear": "fully connected, however it is written",
    "max_pooling": "a maximum over space",
    "average_pooling": "an average over space that is not of the whole map",
}
"""What `layer_count` counts by these names; any other name is the class of a layer, such as ``BatchNorm2d``."""


class _Bounded(Rule):
    """A count between two bounds, or exactly a number."""

    at_least: int | None = Field(None, ge=0)
    at_most: int | None = Field(None, ge=0)
    exactly: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _some_bound(self) -> _Bounded:
        bounds = (self.at_least, self.at_most, self.exactly)
        if all(bound is None for bound in bounds):
            raise ValueError("say at_least, at_most or exactly how many")
        if self.exactly is not None and (self.at_least is not None or self.at_most is not None):
            raise ValueError("exactly says both at_least and at_most: leave those out")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least {self.at_least} is more than at_most {self.at_most}: no network has both")
        return self

    @property
    def bounds(self) -> tuple[int, int | None]:
        """The least and the most."""
        if self.exactly is not None:
            return self.exactly, self.exactly
        return self.at_least or 0, self.at_most

    def decided(self, count: int, told: str, layer: str | None) -> Verdict:
        """The verdict on a count."""
        least, most = self.bounds
        wanted = (
            f"exactly {self.exactly}" if self.exactly is not None
            else " and ".join(
                [f"at least {least}"] * (self.at_least is not None) + [f"at most {most}"] * (most is not None)
            )
        )  # fmt: skip
        detail = f"{told}, must be {wanted}"
        if count < least:
            return self.fails(f"{detail}: {least - count} too few", layer, least - count)
        if most is not None and count > most:
            return self.fails(f"{detail}: {count - most} too many", layer, count - most)
        return self.passes(detail)

    def missing(self, count: int) -> int:
        """How many more are needed; below 0, how many fewer."""
        least, most = self.bounds
        return least - count if count < least else most - count if most is not None and count > most else 0


class LayerCount(_Bounded):
    """At least, at most or exactly so many layers of one sort, 0 among them."""

    kind: Literal["layer_count"]
    of: str = Field(min_length=1, description=f"one of {', '.join(SORTS)}, or the class of a layer such as BatchNorm2d")

    @field_validator("of")
    @classmethod
    def _known(cls, of: str) -> str:
        # a word that nothing is called counts 0 in any network; classes have capitals, also those of the user's own
        if of in SORTS or of[:1].isupper() or hasattr(functional, of) or hasattr(torch, of):
            return of
        raise ValueError(f"no sort {of!r}{suggestion(of, list(SORTS))}: {', '.join(SORTS)}, or the class of a layer")

    def check(self, facts: Facts, blocks: Blocks) -> Verdict:
        """See :class:`Rule`."""
        unknown = self.opaque(facts)
        if unknown:
            return unknown
        found = [name for name, _ in self._found(facts)]
        told = f"{len(found)} {self.of}{f' ({some(found)})' if found else ''}"
        return self.decided(len(found), told, found[-1] if found else last_on_map(facts))

    def _found(self, facts: Facts) -> list[tuple[str, Any]]:
        """Names and facts of the layers of the sort."""
        if self.of == "max_pooling":
            return [(pooling.name, pooling) for pooling in facts.poolings if pooling.kind == "max"]
        if self.of == "average_pooling":
            return [(p.name, p) for p in facts.poolings if p.kind == "average" and not p.whole]
        if self.of == "linear":
            made = [(layer.name, layer) for layer in facts.convolution_layers if layer.connected]
            graph = facts.graph
            return made + [
                (graph.names[node], node)
                for node in graph.trace.nodes
                if graph.ops[node].kind == "product"
                and graph.inputs(node)
                and graph.runs(node)
                and used_parameters(graph, node)
            ]
        if self.of not in SORTS:
            return [(row.name, row) for row in facts.layers if row.kind == self.of]
        return [(layer.name, layer) for layer in facts.convolution_layers if not layer.connected and self._is(layer)]

    def _is(self, layer: ConvolutionLayer) -> bool:
        if self.of == "depthwise_separable":
            return layer.separable
        if self.of in ("convolution", "projection"):
            return layer.projection is (self.of == "projection") or self.of == "convolution"
        if self.of in ("dilated", "strided"):
            return bool(getattr(layer, self.of))
        if self.of == "grouped":
            return any(part.groups > 1 and not part.depthwise for part in layer.parts)
        return any(bool(getattr(part, self.of)) for part in layer.parts)

    def edits(self, facts: Facts, blocks: Blocks) -> Iterator[Edit]:
        """See :class:`Rule`."""
        found = self._found(facts)
        missing = self.missing(len(found))
        if self.of == "convolution" and missing:
            layers = [layer for layer in facts.convolution_layers if not layer.connected]
            yield from count_edits(facts, "the network", layers, len(layers) + missing, None)
        elif missing > 0:
            yield from several(self._more(facts), missing)
        elif missing < 0:
            edits = [edit for _, layer in reversed(found) for edit in self._less(facts, layer)]
            yield from several(edits, -missing)

    def _more(self, facts: Facts) -> list[Edit]:
        beside = [part for layer in facts.convolution_layers if layer.projection for part in layer.parts]
        plain = [c for c in facts.convolutions if not c.transposed and min(c.output_size) > 1 and c not in beside]
        if self.of == "depthwise_separable":
            return more_separable(facts)
        if self.of == "dilated":
            return more_dilated(facts)
        if self.of == "strided":
            return [next(strided(facts, part, 2)) for part in reversed(plain) if not part.strided]
        if self.of in ("depthwise", "pointwise"):
            return more_separable(facts)
        return [] if self.of in SORTS else put_behind(facts, self.of)

    def _less(self, facts: Facts, layer: Any) -> list[Edit]:
        if self.of == "max_pooling":
            return [average_instead(facts, layer)]
        if self.of == "dilated":
            parts = [part for part in layer.parts if part.dilated]
            ones = [(1,) * len(part.kernel) for part in parts]
            same = [tuple((side - 1) // 2 for side in part.kernel) for part in parts]
            return [
                together([window(p, dilation=o, padding=s) for p, o, s in zip(parts, ones, same, strict=True)])
            ]  # fmt: skip
        if self.of == "strided":
            parts = [part for part in layer.parts if part.strided]
            return list(strided(facts, parts[0], 1))[:1]
        if self.of in ("depthwise_separable", "depthwise", "grouped"):
            return [dense(layer)]
        return [] if self.of in SORTS else [without(layer.name)]


class Depth(_Bounded):
    """Convolutions and linear layers on the longest way from image to output; a separable pair counts as one."""

    kind: Literal["depth"]

    def check(self, facts: Facts, blocks: Blocks) -> Verdict:
        """See :class:`Rule`."""
        unknown = self.opaque(facts)
        if unknown:
            return unknown
        depth = _depth(facts)
        return self.decided(depth, f"{depth} layers on the longest way", last_on_map(facts))

    def edits(self, facts: Facts, blocks: Blocks) -> Iterator[Edit]:
        """See :class:`Rule`."""
        layers: Sequence[ConvolutionLayer] = [layer for layer in facts.convolution_layers if not layer.connected]
        missing = self.missing(_depth(facts))
        if missing:
            yield from count_edits(facts, "the network", layers, len(layers) + missing, None)


def _depth(facts: Facts) -> int:
    graph = facts.graph
    seconds = {part.node for layer in facts.convolution_layers for part in layer.parts[1:]}
    depths = {graph.trace.input: 0}
    for node in graph.trace.nodes:
        read = [depths[value] for value in graph.inputs(node) if value in depths]
        if read:
            counts = graph.ops[node].kind in ("convolution", "product") and node not in seconds
            depths.update(dict.fromkeys(node.outputs, max(read) + counts))
    return max((depths.get(value, 0) for value in graph.trace.outputs), default=0)
