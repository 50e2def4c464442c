"""Try the edits that a rule names, each on a copy, with the whole rule set judged again; keep the first that hold.

A cure holds when its own rule passes, proofs included, and no rule fails that passed before. Where one edit is not
enough, more follow, chosen on the copy that came nearest; where one breaks another rule, that rule's edits follow.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import nn

from flyweight.analysis import Facts, analyze
from flyweight.rules.cures.edit import Edit, together
from flyweight.rules.rule import Verdict

TRIALS, BREADTH, DEPTH = 20, 6, 4
"""Copies that are tried for one verdict, edits of one kind at one step, steps."""

Judge = Callable[[Facts], "dict[int, Verdict]"]
Edits = Callable[[int, Facts], Iterable[Edit]]


@dataclass(frozen=True)
class Cure:
    """Edits that hold, and what becomes of the network.

    Attributes:
        edits: in the order in which they are carried out.
        text: them, and their effect in numbers.
        layer: the first one that is changed.
        model: the copy.
    """

    edits: tuple[Edit, ...]
    text: str
    layer: str | None
    model: nn.Module


@dataclass(frozen=True)
class _State:
    model: nn.Module
    facts: Facts
    verdicts: dict[int, Verdict]
    edits: tuple[Edit, ...]

    def broken(self, before: dict[int, Verdict]) -> list[int]:
        """Rules that passed before and fail."""
        return [rule for rule, verdict in self.verdicts.items() if verdict.passed is False and before[rule].passed]


def find_cure(facts: Facts, rule: int, judge: Judge, edits: Edits) -> Cure | None:
    """The first edits that make a network obey a rule and break no other; None where none of those tried do.

    Args:
        facts: of the network.
        rule: the number of the one that fails.
        judge: verdicts of all rules of the set, by number, from a network's facts.
        edits: what the rule of a number would try, the cheapest first.
    """
    return _Search(facts, rule, judge, edits).run()


class _Search:
    def __init__(self, facts: Facts, rule: int, judge: Judge, edits: Edits) -> None:
        self._rule, self._judge, self._edits = rule, judge, edits
        self._start = _State(facts.graph.trace.model, facts, judge(facts), ())
        self._left = TRIALS

    def run(self) -> Cure | None:
        here, seen = [self._start], set[tuple[str, ...]]()
        for _ in range(DEPTH):
            near: list[_State] = []
            for state in here:
                broken = state.broken(self._start.verdicts)
                rule = self._rule if state.verdicts[self._rule].passed is False else broken[0]
                for edit in islice(self._edits(rule, state.facts), BREADTH):
                    words = tuple(one.text for one in (*state.edits, edit))
                    if self._left <= 0 or words in seen:
                        continue
                    seen.add(words)
                    self._left -= 1
                    trial = self._tried(state, edit)
                    if trial is None:
                        continue
                    if self._holds(trial):
                        cure = self._confirmed(self._pruned(trial))
                        if cure is not None:
                            return cure
                    elif self._distance(trial)[0] <= self._distance(state)[0] or trial.broken(self._start.verdicts):
                        near.append(trial)
            here = sorted(near, key=self._distance)[:3]
        return None

    def _distance(self, state: _State) -> tuple[float, int, int]:
        """How far from holding: what is too much or too little, rules broken besides, edits made."""
        own = state.verdicts[self._rule]
        broken = state.broken(self._start.verdicts)
        short = (own.short if own.passed is False else 0.0) + sum(state.verdicts[rule].short for rule in broken)
        return short, len(broken), len(state.edits)

    def _holds(self, state: _State) -> bool:
        return state.verdicts[self._rule].passed is True and not state.broken(self._start.verdicts)

    def _tried(self, state: _State, edit: Edit) -> _State | None:
        """The network after one more edit, its field not proved yet; None where it cannot be made or cannot run."""
        try:
            with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
                warnings.simplefilter("ignore")
                torch.manual_seed(0)
                model = copy.deepcopy(state.model)
                edit.apply(model)
                facts = analyze(model, state.facts.input_shape, prove_field=False)
        except Exception:  # whatever a network raises that was changed: it cannot be changed so
            return None
        field = (
            replace(facts.receptive_field, status="proved") if facts.receptive_field.value else facts.receptive_field
        )
        return _State(model, facts, self._judge(replace(facts, receptive_field=field)), (*state.edits, edit))

    def _pruned(self, state: _State) -> _State:
        """Without the edits that the later ones made needless."""
        for edit in state.edits[:-1]:
            fewer = self._start
            for other in state.edits:
                trial = self._tried(fewer, other) if other is not edit else fewer
                if trial is None:
                    break
                fewer = trial
            else:
                if self._holds(fewer):
                    return self._pruned(fewer)
        return state

    def _confirmed(self, state: _State) -> Cure | None:
        """The cure, if it still holds with the field proved."""
        facts = analyze(state.model, state.facts.input_shape)
        if not self._holds(replace(state, facts=facts, verdicts=self._judge(facts))):
            return None
        words = together(state.edits).text
        layer = next((layer for edit in state.edits for layer in edit.layers), None)
        return Cure(state.edits, f"{words}{_effect(self._start.facts, facts, words)}", layer, state.model)


def _effect(before: Facts, after: Facts, words: str) -> str:
    """What becomes of the numbers that people count."""
    told: list[str] = []
    if before.parameters != after.parameters:
        change = after.parameters - before.parameters
        told.append(f"{after.parameters:,} parameters, {abs(change):,} {'more' if change > 0 else 'fewer'}")
    fields = [_field(facts) for facts in (before, after)]
    if fields[0] != fields[1] and fields[1]:
        told.append(f"receptive field {f'{fields[0]} becomes ' if fields[0] else ''}{fields[1]}")
    if before.macs != after.macs and before.macs and after.macs and before.parameters == after.parameters:
        told.append(f"{after.macs:,} MACs in place of {before.macs:,}")
    if before.parameters == after.parameters:
        told.append("no more parameters")
    mark = "; " if ":" in words else ": "
    return f"{mark}{', '.join(told)}"


def _field(facts: Facts) -> str:
    field = facts.receptive_field
    if field.height is None or field.width is None:
        return ""
    return "x".join(map(str, field.live or (field.height, field.width)))
