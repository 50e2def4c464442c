"""Whether a network obeys a rule set: by arithmetic, for all that is drawn, and by proof, for what is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flyweight import analysis, rules
from flyweight.errors import FlyweightError
from flyweight.images.spec import Spec
from flyweight.networks.build import build
from flyweight.recipes.sections import AugmentConfig, ModelConfig
from flyweight.rules.rule import Judgement
from flyweight.rules.ruleset import RuleSet
from flyweight.rules.training import Augmentations
from flyweight.search.arithmetic import Layer, TableFacts, facts
from flyweight.search.halving import Aim
from flyweight.search.space import Candidate, Space, known
from flyweight.text import short

Excess = Callable[[Any, TableFacts, Any], float]


def _blocks(rule: Any, found: TableFacts, blocks: Any) -> list[tuple[Layer, ...]] | None:
    """The layers of the blocks that a rule judges; none: they are named in a way that is left to the proof."""
    whole = list(found.blocks) if blocks == "auto" else blocks
    own = rule.blocks or whole
    if not isinstance(own, list | tuple) or not isinstance(whole, list | tuple):
        return None
    # by their places among the rule set's, or by their names
    names = [whole[place - 1] if isinstance(place, int) and place <= len(whole) else place for place in own]
    return [found.blocks.get(name, ()) for name in names]


def _per_block(rule: Any, found: TableFacts, blocks: Any) -> float:
    return sum(abs(rule.count - len(layers)) for layers in _blocks(rule, found, blocks) or ())


def _ends(*ways: str) -> Excess:
    def excess(rule: Any, found: TableFacts, blocks: Any) -> float:
        judged = _blocks(rule, found, blocks) or ()
        return sum(not (layers and any(getattr(layers[-1], way) for way in ways)) for layers in judged)

    return excess


def _field(least: int, most: float, found: TableFacts) -> float:
    return max(0.0, least - min(found.field), max(found.field) - most) / max(1, least)


def _layers(found: TableFacts) -> list[Layer]:
    return [layer for block in found.blocks.values() for layer in block]


def _at_least(sort: str) -> Excess:
    return lambda rule, found, _: max(0, rule.at_least - sum(getattr(layer, sort) for layer in _layers(found)))


def _layer_count(rule: Any, found: TableFacts, blocks: Any) -> float:
    sort = {"depthwise_separable": "separable"}.get(rule.of, rule.of)
    if sort not in ("separable", "dilated", "strided", "convolution"):
        return 0
    layers = _layers(found)
    count = len(layers) if sort == "convolution" else sum(getattr(layer, sort) for layer in layers)
    least, most = rule.bounds
    return max(0, least - count, 0 if most is None else count - most)


def _peak(rule: Any, found: TableFacts, blocks: Any) -> float:
    usual = (rule.input, rule.add, rule.pointwise) == ("counted", "separate", "separate")
    return _over(found.peak_bytes * rule.element_bytes, rule.limit) if usual else 0


def _flash(rule: Any, found: TableFacts, blocks: Any) -> float:
    used = found.weights * rule.weight_bytes + found.channels * rule.channel_bytes + rule.runtime_bytes
    return _over(used, rule.limit)


def _over(used: int, limit: int) -> float:
    """By what share of a limit more is used than it allows."""
    return max(0, used - limit) / limit


EXCESS: dict[str, Excess] = {
    "convolutions_per_block": _per_block,
    "blocks_end_strided_or_dilated": _ends("strided", "dilated"),
    "blocks_end_strided": _ends("strided"),
    "receptive_field_above": lambda rule, found, _: _field(rule.minimum + 1, float("inf"), found),
    "receptive_field_at_most": lambda rule, found, _: _field(0, rule.maximum, found),
    "receptive_field_within": lambda rule, found, _: _field(rule.minimum, rule.maximum, found),
    "depthwise_separable": _at_least("separable"),
    "dilated": _at_least("dilated"),
    "layer_count": _layer_count,
    "parameters_below": lambda rule, found, _: _over(found.parameters + 1, rule.limit),
    "macs_below": lambda rule, found, _: _over(found.macs + 1, rule.limit),
    "peak_activation_bytes": _peak,
    "flash_bytes": _flash,
    "no_down_sampling": lambda rule, found, _: sum(layer.strided for layer in _layers(found)),
}
"""How far a table is from obeying a rule, 0 where it obeys, by kind of rule: (the rule, facts, the rule set's blocks).
What is not among them either holds for every table (no max pooling, global average pooling) or is left to the proof."""

EMPTY, LONG = "a map of at least 2x2 is left", "a training step is short enough"
DEAR = "costs not much more than the network to beat"
"""What a search asks for beside the rules."""


def known_cost(aim: Aim, found: TableFacts) -> float | None:
    """What is minimised, where arithmetic knows it; none: it is measured."""
    return {"macs": float(found.macs), "memory": float(found.peak_bytes)}.get(aim)


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
        self._compared: tuple[Aim, float] | None = None
        self._known = [(rule, EXCESS[rule.kind]) for rule in self.ruleset.rules if rule.kind in EXCESS]

    def compare(self, aim: Aim, reference: Candidate) -> None:
        """Hold what is drawn from now on to the space's multiple of what the network to beat costs."""
        found = self.facts(reference)
        spent = None if found is None else known_cost(aim, found)
        self._compared = None if spent is None else (aim, spent)

    def promise(self, candidate: Candidate) -> float | None:
        """How much may be hoped of a legal network beside the one to beat; none: there is none, or no cost of it.

        Parameters times MACs, by which networks are told apart about as well as by any figure that needs no training
        (White et al. 2022, "A deeper look at zero-cost proxies for lightweight NAS"). What costs more than the network
        to beat promises as much less as it would if it cost less.
        """
        found = self.facts(candidate)
        if found is None or self._compared is None:
            return None
        aim, spent = self._compared
        return found.parameters * found.macs / max(1.0, (known_cost(aim, found) or 0) / spent) ** 2

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
        if self._compared is not None and self.space.cost is not None:
            aim, spent = self._compared
            broken[DEAR] = max(0.0, (known_cost(aim, found) or 0) / (self.space.cost * spent) - 1)
        total = sum(broken.values())
        if total:
            self.rejected[max(broken, key=lambda name: broken[name])] += 1
        return total

    def prove(self, candidate: Candidate) -> Judgement:
        """Build it, analyse it and judge it by the whole rule set."""
        self.proved += 1
        network = build(ModelConfig(network="drawn", table=candidate.network, phases=candidate.phases), self.spec)
        judgement = rules.check(analysis.analyze(network, self.spec.shape), self.ruleset, self.augment, cures=False)
        if not judgement.passed:
            self.refused[next(verdict.name for verdict in judgement.verdicts if verdict.passed is False)] += 1
        return judgement


def known_legal(judge: Judge, reference: str | None) -> tuple[tuple[str, Candidate], ...]:
    """The built-in networks that the search begins with, the one to beat first.

    Raises:
        FlyweightError: whatever the network, the recipe's augmentation breaks a rule; the one to beat is none of these.
    """
    legal = []
    about_training = {rule.name for rule in judge.ruleset.rules if isinstance(rule, Augmentations)}
    for name, one in known(judge.space):
        if judge.excess(one):
            continue
        judgement = judge.prove(one)
        for verdict in judgement.verdicts:
            if verdict.passed is False and verdict.name in about_training:
                raise FlyweightError(
                    f"the recipe breaks {verdict.name!r}, whatever the network: {verdict.detail}; change it with"
                    " --set augment...., or name another with --recipe"
                )
        if judgement.passed:
            legal.append((name, one))
    if reference is not None and reference not in dict(legal):
        names = ", ".join(name for name, _ in legal) or "none"
        raise FlyweightError(
            f"--reference {short(reference, 80)}: of the built-in networks these obey the rules and lie in the space:"
            f" {names}"
        )
    return tuple(sorted(legal, key=lambda one: one[0] != reference))
