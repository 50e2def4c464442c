"""What a rule is: one entry of a rule set, what it judges by, and its verdict."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from flyweight.analysis import Facts
from flyweight.recipes.sections import AugmentConfig, TrainConfig
from flyweight.rules.cures.edit import Edit
from flyweight.schema import Section

Place = Annotated[int, Field(ge=1)]
Blocks = Literal["auto"] | dict[str, tuple[str, ...]] | tuple[str, ...] | tuple[Place, ...]
"""Names of submodules; names with the submodules that each consists of; ``auto``: the network's own children that hold
convolutions; or places among the blocks of the rule set, the first being 1."""


@dataclass(frozen=True)
class Score:
    """What a finished training has reached.

    Attributes:
        accuracy: of the last epoch, in percent.
        data: name of the data set whose images it was measured on.
        least: the lower end of the accuracy's 95 % interval, in percent; none: not worked out.
        file_bytes: size of the weights' file; none: there is none yet.
    """

    accuracy: float
    data: str
    least: float | None = None
    file_bytes: int | None = None


@dataclass(frozen=True)
class Evidence:
    """All that a rule may judge by.

    Attributes:
        facts: of the network.
        augment: how the training images are augmented; none: no training is known yet.
        score: what the training has reached; none: it has not ended yet.
        train: how it is trained; none: no training is known yet.
    """

    facts: Facts
    augment: AugmentConfig | None = None
    score: Score | None = None
    train: TrainConfig | None = None


@dataclass(frozen=True)
class Verdict:
    """What became of one rule.

    Attributes:
        name: of the rule.
        passed: whether it is obeyed; none: it was measured on other data than the rule names, and does not count.
        detail: measured value, limit and margin in one line.
        layer: the layer or block at fault; None when it passed or no layer is to blame.
        cure: the cheapest edits that mend it and break no other rule, in one line; None when it passed or none of
            those that were tried hold.
        short: how far it is from passing, in the measure of the rule; to tell which of two failures is the nearer.
    """

    name: str
    passed: bool | None
    detail: str
    layer: str | None = None
    cure: str | None = None
    short: float = field(default=1.0, repr=False, compare=False)


@dataclass(frozen=True)
class Judgement:
    """Verdicts of a rule set: it is obeyed when no rule is broken; bonuses are told apart.

    Attributes:
        title: of the rule set.
        verdicts: of the rules that could be judged, in the order of the rule set.
        bonuses: of the bonuses that could be judged; failing one fails nothing.
        pending: names of rules and bonuses about a training that is not known yet: neither passed nor failed.
    """

    title: str
    verdicts: tuple[Verdict, ...]
    bonuses: tuple[Verdict, ...]
    pending: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether no rule failed; those that do not count or are not judged yet fail nothing."""
        return all(verdict.passed is not False for verdict in self.verdicts)


class Rule(Section):
    """One entry of a rule set. A kind adds its settings and :meth:`check`, or :meth:`judge` where it needs more."""

    name: str = Field(min_length=1)
    kind: str

    def judge(self, evidence: Evidence, blocks: Blocks) -> Verdict | None:
        """Judge by all that is known; None where that is not enough yet. `blocks` are those of the rule set."""
        facts = evidence.facts
        if facts.random and not self.settled:
            return self.fails(f"unknown: not the same in two runs: {facts.random}")
        return self.check(facts, blocks)

    @property
    def blames_cure(self) -> bool:
        """Whether no layer is to blame by itself, so that the one which is best changed is named."""
        return False

    @property
    def settled(self) -> bool:
        """Whether what it judges is the same in every run of a network, however the network runs."""
        return False

    def check(self, facts: Facts, blocks: Blocks) -> Verdict:
        """Judge a network. `blocks` are those of the rule set."""
        raise NotImplementedError

    def edits(self, facts: Facts, blocks: Blocks) -> Iterable[Edit]:
        """What might make a network that breaks it obey it, the cheapest first; each is tried before it is told."""
        return ()

    def passes(self, detail: str) -> Verdict:
        """The rule is obeyed."""
        return Verdict(self.name, True, detail, short=0.0)

    def fails(self, detail: str, layer: str | None = None, short: float = 1.0, cure: str | None = None) -> Verdict:
        """The rule is broken."""
        return Verdict(self.name, False, detail, layer, cure, short)

    def opaque(self, facts: Facts) -> Verdict | None:
        """A failure when some operator could hide anything at all, None when there is no such operator."""
        for unknown in facts.unknown:
            if unknown.opaque:
                detail = f"unknown: {unknown.told} in {unknown.layer} is not understood and could hide anything"
                return self.fails(detail, unknown.layer)
        return None
