"""Whether a network obeys a rule set: by arithmetic, for all that is drawn, and by proof, for what is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from flyweight import analysis, rules
from flyweight.images.spec import Spec
from flyweight.networks.build import build
from flyweight.recipes.sections import AugmentConfig, ModelConfig
from flyweight.rules import kinds
from flyweight.rules.rule import Judgement, Rule
from flyweight.rules.ruleset import RuleSet
from flyweight.search.arithmetic import TableFacts, facts
from flyweight.search.space import Candidate, Space

Excess = Callable[[Any, TableFacts, Sequence[str]], float]


def _per_block(rule: kinds.ConvolutionsPerBlock, found: TableFacts, blocks: Sequence[str]) -> float:
    return sum(abs(rule.count - len(found.blocks.get(name, ()))) for name in rule.blocks or blocks)


def _ends(rule: kinds.BlocksEndStridedOrDilated, found: TableFacts, blocks: Sequence[str]) -> float:
    last = [found.blocks[name][-1] if name in found.blocks else None for name in rule.blocks or blocks]
    return sum(layer is None or not (layer.strided or layer.dilated) for layer in last)


def _field(rule: kinds.ReceptiveFieldAbove, found: TableFacts, blocks: Sequence[str]) -> float:
    return max(0, rule.minimum + 1 - min(found.field)) / (rule.minimum + 1)


def _count(what: str) -> Excess:
    def excess(rule: kinds.LayersAtLeast, found: TableFacts, blocks: Sequence[str]) -> float:
        layers = [layer for block in found.blocks.values() for layer in block]
        return max(0, rule.at_least - sum(getattr(layer, what) for layer in layers))

    return excess


def _strides(rule: kinds.NoDownSampling, found: TableFacts, blocks: Sequence[str]) -> float:
    return sum(layer.strided for block in found.blocks.values() for layer in block)


EXCESS: dict[type[Rule], Excess] = {
    kinds.ConvolutionsPerBlock: _per_block,
    kinds.BlocksEndStridedOrDilated: _ends,
    kinds.ReceptiveFieldAbove: _field,
    kinds.DepthwiseSeparableLayers: _count("separable"),
    kinds.DilatedLayers: _count("dilated"),
    kinds.ParametersBelow: lambda rule, found, _: max(0, found.parameters + 1 - rule.limit) / rule.limit,
    kinds.MacsBelow: lambda rule, found, _: max(0, found.macs + 1 - rule.limit) / rule.limit,
    kinds.NoDownSampling: _strides,
}
"""How far a table is from obeying a rule, 0 where it obeys; by kind of rule. What is not among them either holds for \
every table (no max pooling, global average pooling) or is left to the proof."""

EMPTY, LONG = "a map of at least 2x2 is left", "a training step is short enough"
"""What a search asks for beside the rules."""


@dataclass
class Judge:
    """Judges tables for one kind of data, and counts what it has seen.

    Attributes:
        ruleset: the rules.
        space: for what it says of a training step.
        spec: of the data.
        augment: of the training, which rules may ask for.
        drawn: tables judged by arithmetic.
        rejected: how many of these broke a rule, by the rule that they were furthest from.
        proved: networks built and analysed.
        refused: how many of these broke a rule, by its name.
    """

    ruleset: RuleSet
    space: Space
    spec: Spec
    augment: AugmentConfig | None = None

    def __post_init__(self) -> None:
        self.drawn = self.proved = 0
        self.rejected: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._known = [(rule, EXCESS[type(rule)]) for rule in self.ruleset.rules if type(rule) in EXCESS]

    def facts(self, candidate: Candidate) -> TableFacts | None:
        """By arithmetic; none: it cannot be built for such images."""
        return facts(candidate.network, self.spec.shape, len(self.spec.classes), candidate.phases == "one")

    def excess(self, candidate: Candidate) -> float:
        """How far a table is from legal, by arithmetic: 0 where it is legal; in no unit."""
        self.drawn += 1
        found = self.facts(candidate)
        if found is None or min(found.map_size) < 2:
            self.rejected[EMPTY] += 1
            return float("inf")
        broken = {rule.name: excess(rule, found, self.ruleset.blocks) for rule, excess in self._known}
        if self.space.step_macs is not None:
            _, height, width = self.spec.shape
            broken[LONG] = max(0.0, found.step_macs / (self.space.step_macs * height * width) - 1)
        total = sum(broken.values())
        if total:
            self.rejected[max(broken, key=lambda name: broken[name])] += 1
        return total

    def prove(self, candidate: Candidate) -> Judgement:
        """Build it, analyse it and judge it by the whole rule set."""
        self.proved += 1
        network = build(ModelConfig(network="drawn", table=candidate.network, phases=candidate.phases), self.spec)
        judgement = rules.check(analysis.analyze(network, self.spec.shape), self.ruleset, self.augment)
        if not judgement.passed:
            self.refused[next(verdict.name for verdict in judgement.verdicts if verdict.passed is False)] += 1
        return judgement
