"""Rule sets: YAML files of entries, each judged by the class of its kind.

A rule set has a ``title``, ``blocks`` (paths of submodules), ``rules`` and ``bonuses``, each a list of entries with a
``name``, a ``kind`` and the settings of that kind; and where it likes, the ``input`` and the number of ``classes`` that
a network is judged at when no data set says them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from flyweight.analysis import Facts
from flyweight.errors import FlyweightError
from flyweight.recipes.sections import AugmentConfig
from flyweight.rules.kinds import (
    BlockRule,
    BlocksEndStridedOrDilated,
    ConvolutionsPerBlock,
    DepthwiseSeparableLayers,
    DilatedLayers,
    GlobalAveragePooling,
    MacsBelow,
    NoDownSampling,
    NoMaxPooling,
    ParametersBelow,
    ReceptiveFieldAbove,
)
from flyweight.rules.rule import Evidence, Judgement, Rule, Score
from flyweight.rules.training import AccuracyAtLeast, Augmentations
from flyweight.schema import Section, is_file, parse, read_yaml, suggestion
from flyweight.text import short

RULESETS = Path(__file__).parent / "rulesets"

KINDS: dict[str, type[Rule]] = {
    "convolutions_per_block": ConvolutionsPerBlock,
    "no_max_pooling": NoMaxPooling,
    "blocks_end_strided_or_dilated": BlocksEndStridedOrDilated,
    "receptive_field_above": ReceptiveFieldAbove,
    "depthwise_separable": DepthwiseSeparableLayers,
    "dilated": DilatedLayers,
    "global_average_pooling": GlobalAveragePooling,
    "parameters_below": ParametersBelow,
    "macs_below": MacsBelow,
    "no_down_sampling": NoDownSampling,
    "augmentations": Augmentations,
    "accuracy_at_least": AccuracyAtLeast,
}
"""Every kind of rule by its name in a rule set."""


class _File(Section):
    """A rule set as written; its entries are checked one by one, each by its kind."""

    title: str
    input: str | None = None
    classes: int | None = Field(None, ge=1)
    blocks: tuple[str, ...] = ()
    rules: tuple[dict[str, Any], ...] = Field(min_length=1)
    bonuses: tuple[dict[str, Any], ...] = ()

    @field_validator("input")
    @classmethod
    def _three_sizes(cls, text: str | None) -> str | None:
        if text is not None and not re.fullmatch(r"[1-9]\d*(,[1-9]\d*){2}", text):
            raise ValueError("write channels, height and width with commas, for example 1,28,28")
        return text


@dataclass(frozen=True)
class RuleSet:
    """Rules that decide, and bonuses that do not.

    Attributes:
        title: what a verdict calls it.
        blocks: paths of the submodules that rules about blocks judge.
        rules: in the order in which they are told.
        bonuses: told apart.
        input: channels, height and width such as ``1,28,28``, at which a network is judged where no data set says it.
        classes: how many a network is built for where no data set says it.
    """

    title: str
    blocks: tuple[str, ...]
    rules: tuple[Rule, ...]
    bonuses: tuple[Rule, ...]
    input: str | None = None
    classes: int | None = None

    @property
    def accuracy(self) -> float | None:
        """Test accuracy in percent that the rules ask for; None where they ask for none."""
        return max((rule.minimum for rule in self.rules if isinstance(rule, AccuracyAtLeast)), default=None)


def known_rulesets() -> list[str]:
    """Names of the built-in rule sets."""
    return sorted(path.stem for path in RULESETS.glob("*.yaml"))


def load_ruleset(source: str | Path) -> RuleSet:
    """Read a built-in rule set by its name, or one of the user's own by its path.

    Raises:
        FlyweightError: there is no such rule set, or an entry is wrong; one line, with the nearest known word.
    """
    path = RULESETS / f"{source}.yaml" if str(source) in known_rulesets() else Path(source)
    if not is_file(path):
        name, known = short(str(source), 200), known_rulesets()
        raise FlyweightError(
            f"no rule set {name!r}{suggestion(name, known)}: the built-in ones are {', '.join(known)};"
            " one of yours is the path of a YAML file"
        )
    content = parse(_File, read_yaml(path), str(path))
    ruleset = RuleSet(
        title=content.title,
        blocks=content.blocks,
        rules=tuple(_rule(entry, f"{path}: rules.{i}") for i, entry in enumerate(content.rules)),
        bonuses=tuple(_rule(entry, f"{path}: bonuses.{i}") for i, entry in enumerate(content.bonuses)),
        input=content.input,
        classes=content.classes,
    )
    for rule in (*ruleset.rules, *ruleset.bonuses):
        # over no blocks at all, any network would obey it
        if isinstance(rule, BlockRule) and not (rule.blocks or ruleset.blocks):
            raise FlyweightError(
                f"{path}: the rule {short(rule.name, 80)!r} ({rule.kind}) judges blocks, and none are named:"
                " add a line like blocks: [c1, c2, c3, c4]"
            )
    return ruleset


def _rule(entry: dict[str, Any], where: str) -> Rule:
    kind = str(entry.get("kind", ""))
    if kind not in KINDS:
        raise FlyweightError(
            f"{where}: no rule kind {kind!r}{suggestion(kind, list(KINDS))}: known are {', '.join(KINDS)}"
        )
    return parse(KINDS[kind], entry, where)


def check(
    facts: Facts, ruleset: RuleSet, augment: AugmentConfig | None = None, score: Score | None = None
) -> Judgement:
    """Judge a network by a rule set, and its training where that is known.

    Args:
        facts: of the network.
        ruleset: whose rules.
        augment: of the recipe that it was trained by; none: rules about it are pending.
        score: what the training has reached; none: rules about it are pending.
    """
    evidence = Evidence(facts, augment, score)
    rules = [(rule, rule.judge(evidence, ruleset.blocks)) for rule in ruleset.rules]
    bonuses = [(rule, rule.judge(evidence, ruleset.blocks)) for rule in ruleset.bonuses]
    return Judgement(
        title=ruleset.title,
        verdicts=tuple(verdict for _, verdict in rules if verdict is not None),
        bonuses=tuple(verdict for _, verdict in bonuses if verdict is not None),
        pending=tuple(rule.name for rule, verdict in (*rules, *bonuses) if verdict is None),
    )
