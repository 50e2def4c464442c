"""Rule sets: YAML files of entries, each judged by the class of its kind.

A rule set has a ``title``, ``blocks``, ``rules`` and ``bonuses``, each of the two a list of entries with a ``name``,
a ``kind`` and the settings of that kind; and where it likes, the ``input`` and the number of ``classes`` that a network
is judged at when no data set says them. ``blocks`` are names of submodules, or ``{c1: [conv1, trans1], ...}`` where a
block lies in several, or ``auto``: the network's own children that hold convolutions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, create_model, field_validator

from flyweight.analysis import Facts
from flyweight.errors import FlyweightError
from flyweight.files import answers
from flyweight.recipes.sections import AugmentConfig, TrainConfig
from flyweight.rules.blocks import BlockRule, BlocksEndStrided, BlocksEndStridedOrDilated, ConvolutionsPerBlock
from flyweight.rules.counts import Depth, LayerCount
from flyweight.rules.cures.edit import Edit
from flyweight.rules.cures.search import Cure, find_cure
from flyweight.rules.files import FileSizeBelow
from flyweight.rules.kinds import (
    DepthwiseSeparableLayers,
    DilatedLayers,
    GlobalAveragePooling,
    NoDownSampling,
    NoMaxPooling,
    ReceptiveFieldAbove,
    ReceptiveFieldAtMost,
    ReceptiveFieldWithin,
)
from flyweight.rules.limits import FlashBytes, MacsBelow, ParametersBelow, PeakActivationBytes
from flyweight.rules.operators import OperatorsAmong
from flyweight.rules.rule import Blocks, Evidence, Judgement, Rule, Score, Verdict
from flyweight.rules.training import AccuracyAtLeast, Augmentations, NoPretrainedWeights
from flyweight.schema import Section, parse, read_yaml, suggestion
from flyweight.text import short

RULESETS = Path(__file__).parent / "rulesets"

KINDS: dict[str, type[Rule]] = {
    "convolutions_per_block": ConvolutionsPerBlock,
    "blocks_end_strided_or_dilated": BlocksEndStridedOrDilated,
    "blocks_end_strided": BlocksEndStrided,
    "no_max_pooling": NoMaxPooling,
    "no_down_sampling": NoDownSampling,
    "receptive_field_above": ReceptiveFieldAbove,
    "receptive_field_at_most": ReceptiveFieldAtMost,
    "receptive_field_within": ReceptiveFieldWithin,
    "depthwise_separable": DepthwiseSeparableLayers,
    "dilated": DilatedLayers,
    "layer_count": LayerCount,
    "depth": Depth,
    "global_average_pooling": GlobalAveragePooling,
    "operators_among": OperatorsAmong,
    "parameters_below": ParametersBelow,
    "macs_below": MacsBelow,
    "peak_activation_bytes": PeakActivationBytes,
    "flash_bytes": FlashBytes,
    "file_size_below": FileSizeBelow,
    "augmentations": Augmentations,
    "no_pretrained_weights": NoPretrainedWeights,
    "accuracy_at_least": AccuracyAtLeast,
}
"""Every kind of rule by its name in a rule set."""


class _File(Section):
    """A rule set as written; its entries are checked one by one, each by its kind."""

    title: str
    input: str | None = None
    classes: int | None = Field(None, ge=1)
    blocks: Blocks = ()
    rules: tuple[dict[str, Any], ...] = Field(min_length=1)
    bonuses: tuple[dict[str, Any], ...] = ()

    @field_validator("input")
    @classmethod
    def _three_sizes(cls, text: str | None) -> str | None:
        if text is not None and not re.fullmatch(r"[1-9]\d*(,[1-9]\d*){1,2}", text):
            raise ValueError("write channels, height and width with commas, for example 1,28,28; of a signal 3,64")
        return text


def json_schema() -> dict[str, Any]:
    """What a rule set's file may be, as JSON Schema: its entries are a union that ``kind`` tells apart."""
    # by a function, for a field that a validator looks at first cannot tell a union apart
    union = reduce(or_, (Annotated[model, Tag(kind)] for kind, model in KINDS.items()))
    kinds = Annotated[union, Discriminator(lambda entry: entry["kind"])]  # type: ignore[valid-type]
    whole = create_model(
        "RuleSet",
        __base__=_File,
        __doc__="A rule set of flyweight's.",
        rules=(tuple[kinds, ...], Field(min_length=1)),
        bonuses=(tuple[kinds, ...], ()),
    )
    return whole.model_json_schema()


@dataclass(frozen=True)
class RuleSet:
    """Rules that decide, and bonuses that do not.

    Attributes:
        title: what a verdict calls it.
        blocks: the submodules that rules about blocks judge.
        rules: in the order in which they are told.
        bonuses: told apart.
        input: channels, height and width such as ``1,28,28``, at which a network is judged where no data set says it.
        classes: how many a network is built for where no data set says it.
    """

    title: str
    blocks: Blocks
    rules: tuple[Rule, ...]
    bonuses: tuple[Rule, ...]
    input: str | None = None
    classes: int | None = None

    @property
    def accuracy(self) -> float | None:
        """Test accuracy in percent that the rules ask for; None where they ask for none."""
        return max((rule.minimum for rule in self.rules if isinstance(rule, AccuracyAtLeast)), default=None)

    def with_blocks(self, blocks: Blocks) -> RuleSet:
        """The same rules about other blocks: a rule about the first three of its blocks is about the first three.

        Raises:
            FlyweightError: there are not as many as the rules speak of.
        """
        names = [str(name) for name in self.blocks] if not isinstance(self.blocks, str) else []

        def moved(rule: Rule) -> Rule:
            own = rule.blocks if isinstance(rule, BlockRule) else None
            if not isinstance(own, tuple) or not own or not all(name in names for name in own):
                return rule
            places = tuple(names.index(str(name)) + 1 for name in own)
            if not isinstance(blocks, str) and max(places) > len(blocks):
                raise FlyweightError(
                    f"{len(blocks)} blocks are named, and the rule {short(rule.name, 80)!r} speaks of block"
                    f" {max(places)}: name as many as {', '.join(names)}"
                )
            return rule.model_copy(update={"blocks": places})

        rules, bonuses = (tuple(moved(rule) for rule in some) for some in (self.rules, self.bonuses))
        return replace(self, blocks=blocks, rules=rules, bonuses=bonuses)


def named_blocks(names: str | Sequence[str]) -> Blocks:
    """The blocks that somebody names for a call: ``auto``, or submodules, in a list or with commas between them.

    Raises:
        FlyweightError: none is named, or one twice.
    """
    given = names.split(",") if isinstance(names, str) else names
    found = tuple(name.strip() for name in given if name.strip())
    if not found:
        raise FlyweightError("no blocks are named: write them as in layer1,layer2,layer3, or auto")
    twice = next((name for name in found if found.count(name) > 1), None)
    if twice is not None:
        raise FlyweightError(f"the block {short(twice, 80)!r} is named twice: name each once")
    return "auto" if found == ("auto",) else found


def known_rulesets() -> list[str]:
    """Names of the built-in rule sets."""
    return sorted(path.stem for path in RULESETS.glob("*.yaml"))


def load_ruleset(source: str | Path) -> RuleSet:
    """Read a built-in rule set by its name, or one of the user's own by its path.

    Raises:
        FlyweightError: there is no such rule set, or an entry is wrong; one line, with the nearest known word.
    """
    path = RULESETS / f"{source}.yaml" if str(source) in known_rulesets() else Path(source)
    if not answers(path, Path.exists):
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
    names = [rule.name for rule in (*ruleset.rules, *ruleset.bonuses)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        # a table has a column a name
        raise FlyweightError(f"{path}: two rules are named {short(twice, 80)!r}: give each a name of its own")
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
    facts: Facts,
    ruleset: RuleSet,
    augment: AugmentConfig | None = None,
    score: Score | None = None,
    train: TrainConfig | None = None,
    cures: bool = True,
) -> Judgement:
    """Judge a network by a rule set, and its training where that is known.

    Args:
        facts: of the network.
        ruleset: whose rules.
        augment: of the recipe that it was trained by; none: rules about it are pending.
        score: what the training has reached; none: rules about it are pending.
        train: of the recipe that it was trained by; none: rules about it are pending.
        cures: look for edits that mend what fails. Each is tried on a copy, which takes as long as some analyses of the
            network; who only wants to know whether it passes leaves them out.
    """
    known = Evidence(facts, augment, score, train)
    verdicts = _judged(ruleset, known)
    if cures and not facts.random:
        for number, verdict in enumerate(verdicts):
            if verdict is not None and verdict.passed is False and verdict.cure is None:
                verdicts[number] = _cured(ruleset, known, number, verdict)
    names = [rule.name for rule in (*ruleset.rules, *ruleset.bonuses)]
    split = len(ruleset.rules)
    return Judgement(
        title=ruleset.title,
        verdicts=tuple(verdict for verdict in verdicts[:split] if verdict is not None),
        bonuses=tuple(verdict for verdict in verdicts[split:] if verdict is not None),
        pending=tuple(name for name, verdict in zip(names, verdicts, strict=True) if verdict is None),
    )


def _judged(ruleset: RuleSet, evidence: Evidence) -> list[Verdict | None]:
    return [rule.judge(evidence, ruleset.blocks) for rule in (*ruleset.rules, *ruleset.bonuses)]


def cure_of(ruleset: RuleSet, evidence: Evidence, number: int) -> Cure | None:
    """Edits that make a network obey one rule of a set and break no other, carried out and judged.

    Args:
        ruleset: whose rules.
        evidence: of the network.
        number: of the rule that fails, those of the bonuses coming after those of the rules.
    """
    entries = (*ruleset.rules, *ruleset.bonuses)

    def edits(which: int, found: Facts) -> Iterable[Edit]:
        return entries[which].edits(found, ruleset.blocks)

    def judge(found: Facts) -> dict[int, Verdict]:
        verdicts = _judged(ruleset, replace(evidence, facts=found))
        return {place: verdict for place, verdict in enumerate(verdicts) if verdict is not None}

    return find_cure(evidence.facts, number, judge, edits)


def _cured(ruleset: RuleSet, evidence: Evidence, number: int, verdict: Verdict) -> Verdict:
    """A failure with the edits that mend it, and the layer that they begin with; as it is where none are found."""
    cure = cure_of(ruleset, evidence, number)
    if cure is None:
        return verdict
    rule = (*ruleset.rules, *ruleset.bonuses)[number]
    return replace(verdict, cure=cure.text, layer=cure.layer if rule.blames_cure else verdict.layer)
