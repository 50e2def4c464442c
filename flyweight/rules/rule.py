"""What a rule is: one entry of a rule set, what it judges by, and its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flyweight.analysis import Facts
from flyweight.recipes.sections import AugmentConfig
from flyweight.schema import Section


@dataclass(frozen=True)
class Score:
    """What a finished training has reached.

    Attributes:
        accuracy: of the last epoch, in percent.
        data: name of the data set whose images it was measured on.
    """

    accuracy: float
    data: str


@dataclass(frozen=True)
class Evidence:
    """All that a rule may judge by.

    Attributes:
        facts: of the network.
        augment: how the training images are augmented; none: no training is known yet.
        score: what the training has reached; none: it has not ended yet.
    """

    facts: Facts
    augment: AugmentConfig | None = None
    score: Score | None = None


@dataclass(frozen=True)
class Verdict:
    """What became of one rule.

    Attributes:
        name: of the rule.
        passed: whether it is obeyed; none: it was measured on other data than the rule names, and does not count.
        detail: measured value, limit and margin in one line.
        layer: the layer or block at fault; None when it passed or no layer is to blame.
        cure: the cheapest edit that would mend it, in one line; None when it passed or none was found.
    """

    name: str
    passed: bool | None
    detail: str
    layer: str | None = None
    cure: str | None = None


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

    name: str
    kind: str

    def judge(self, evidence: Evidence, blocks: Sequence[str]) -> Verdict | None:
        """Judge by all that is known; None where that is not enough yet. `blocks` are those of the rule set."""
        return self.check(evidence.facts, blocks)

    def check(self, facts: Facts, blocks: Sequence[str]) -> Verdict:
        """Judge a network. `blocks` are those of the rule set."""
        raise NotImplementedError

    def passes(self, detail: str) -> Verdict:
        """The rule is obeyed."""
        return Verdict(self.name, True, detail)

    def fails(self, detail: str, layer: str | None = None, cure: str | None = None) -> Verdict:
        """The rule is broken."""
        return Verdict(self.name, False, detail, layer, cure)

    def opaque(self, facts: Facts) -> Verdict | None:
        """A failure when some operator could hide anything at all, None when there is no such operator."""
        for unknown in facts.unknown:
            if unknown.opaque:
                detail = f"unknown: {unknown.told} in {unknown.layer} is not understood and could hide anything"
                return self.fails(detail, unknown.layer, f"write {unknown.layer} with operators of torch.nn")
        return None
