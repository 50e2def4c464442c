"""What came out: a row a network, as a table for people, as CSV for spreadsheets; claims beside what was proved."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from flyweight.errors import FlyweightError
from flyweight.marking.task import Task
from flyweight.schema import suggestion
from flyweight.text import aligned, ending, printable, short

OUTCOMES = ("pass", "fail", "not checked")
CLAIMS = ("parameters", "macs", "receptive_field")
HEAD = ("name", "network", "parameters", "macs", "receptive_field", "receptive_field_status", "outcome")
"""The first columns of the CSV file."""


@dataclass(frozen=True)
class Claim:
    """What somebody says of a network: ``receptive_field=109``."""

    fact: str
    value: int | tuple[int, int]

    @property
    def said(self) -> str:
        """The value as text."""
        return _size(self.value)

    @property
    def short(self) -> str:
        """The fact in a word."""
        return self.fact.removeprefix("receptive_").replace("macs", "MACs")


@dataclass(frozen=True)
class Mark:
    """What became of one network.

    Attributes:
        name: as it was called.
        facts: as `--json` prints them; None where it could not be judged.
        text: the same for a person.
        error: why it could not be judged, in one line; empty where it was.
        bug: whether that is flyweight's own fault.
        notes: what was not run or stood in for.
        seconds: that it took.
    """

    name: str
    facts: dict[str, Any] | None = None
    text: str = ""
    error: str = ""
    bug: bool = False
    notes: tuple[str, ...] = field(default=())
    seconds: float = 0.0

    @classmethod
    def of(cls, task: Task, answer: dict[str, Any], seconds: float) -> Mark:
        """From what its process answered, with the names that whoever asks used."""
        notes = tuple(task.told(printable(str(note))) for note in answer.get("notes", ()))
        if isinstance(answer.get("facts"), dict):
            return cls(task.name, answer["facts"], str(answer.get("text", "")), notes=notes, seconds=seconds)
        error = str(answer.get("error") or f"a bug of flyweight's ({answer.get('bug')}): please report it")
        return cls(
            task.name,
            error=task.told(printable(" ".join(error.split()))),
            bug="error" not in answer,
            notes=notes,
            seconds=seconds,
        )

    @property
    def outcome(self) -> str:
        """``pass``, ``fail`` or ``not checked``."""
        return "not checked" if self.facts is None else "pass" if self.facts["passed"] else "fail"

    @property
    def rules(self) -> list[dict[str, Any]]:
        """The verdicts of the rules; empty where there are none."""
        return [] if self.facts is None else self.facts["rules"]

    def found(self, fact: str) -> int | tuple[int, int] | None:
        """What was found, and of a receptive field proved; None: not known."""
        if self.facts is None or (fact == "receptive_field" and self.facts["receptive_field_status"] != "proved"):
            return None
        value = self.facts[fact]
        return (value[0], value[1]) if isinstance(value, list) else value

    def holds(self, claim: Claim) -> bool | None:
        """Whether a claim is what was found; None where nothing is proved."""
        found = self.found(claim.fact)
        return None if found is None else _both(found) == _both(claim.value)


def parse_claim(text: str) -> Claim:
    """Read a claim such as ``receptive_field=109``, ``receptive_field=31x63`` or ``parameters=174,352``.

    Raises:
        FlyweightError: it is none.
    """
    fact, equals, value = (part.strip() for part in text.partition("="))
    fact = fact.lower().replace("-", "_")
    if fact not in CLAIMS or not equals:
        raise FlyweightError(
            f"--claim {short(text, 80)}{suggestion(fact, CLAIMS)}: write one of {', '.join(CLAIMS)} with its number,"
            " such as receptive_field=109"
        )
    try:
        sizes = [int(part.replace(",", "").replace("_", "")) for part in value.lower().split("x")]
    except ValueError:
        sizes = []
    if not sizes or len(sizes) > (2 if fact == "receptive_field" else 1) or min(sizes) < 0:
        raise FlyweightError(f"--claim {short(text, 80)}: {short(value, 40)!r} is no number, such as 109")
    return Claim(fact, sizes[0] if len(sizes) == 1 else (sizes[0], sizes[1]))


def claim_line(mark: Mark, claim: Claim) -> str:
    """A claim beside what was found, for a person."""
    found, holds = mark.found(claim.fact), mark.holds(claim)
    words = claim.fact.replace("_", " ").replace("macs", "MACs")
    if holds is None or found is None:
        return f"claim  {words} {claim.said}: nothing is proved"
    return f"claim  {words} {claim.said}: {'right' if holds else f'wrong, it is {_size(found)}'}"


def claim_json(mark: Mark, claim: Claim) -> dict[str, Any]:
    """The same for a program."""
    return {"fact": claim.fact, "claimed": claim.value, "found": mark.found(claim.fact), "holds": mark.holds(claim)}


def counts(marks: Sequence[Mark]) -> str:
    """``12 pass, 3 fail, 1 not checked``."""
    return ", ".join(f"{sum(mark.outcome == outcome for mark in marks)} {outcome}" for outcome in OUTCOMES)


def table(marks: Sequence[Mark], claims: Sequence[Claim] = ()) -> str:
    """A row a network for a terminal."""
    head = ["name", "outcome", "parameters", "MACs", "field", *(f"{claim.short} {claim.said}?" for claim in claims)]
    rows = []
    for mark in marks:
        facts = mark.facts
        rows.append(
            [
                ending(mark.name, 48),
                mark.outcome,
                *("-" if facts is None else number(facts[key]) for key in ("parameters", "macs")),
                field_of(mark) or "-",
                *({True: "right", False: "wrong", None: "-"}[mark.holds(claim)] for claim in claims),
            ]
        )
    lines = aligned(head, rows, left=2)
    return "\n".join(
        [lines[0], *(f"{line}  {why(mark)}".rstrip() for line, mark in zip(lines[1:], marks, strict=True))]
    )


def why(mark: Mark, most: int = 200) -> str:
    """The rules that fail, or why it could not be judged in so many characters; empty where it passes."""
    if mark.facts is None:
        # its name stands beside it
        return short(re.sub(rf"^{re.escape(mark.name)}(:\w+)?: ", "", mark.error), most)
    return "; ".join(rule["name"] for rule in mark.rules if rule["passed"] is False)


def number(value: object) -> str:
    """A count for a person."""
    return f"{value:,}" if isinstance(value, int) else "unknown"


def field_of(mark: Mark) -> str:
    """The receptive field for a person; ``unknown`` where nothing is proved."""
    if mark.facts is None:
        return ""
    found = mark.found("receptive_field")
    return "unknown" if found is None else _size(found)


def as_csv(marks: Sequence[Mark], rules: Sequence[str], claims: Sequence[Claim] = ()) -> str:
    """A row a network, a column a rule; no cell can be a formula of a spreadsheet's.

    Args:
        marks: one a network.
        rules: names of the rules, whose columns are there even where no network could be judged.
        claims: each has a column with ``right``, ``wrong`` or nothing.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    told = [f"claim {claim.fact} {claim.said}" for claim in claims]
    writer.writerow([*HEAD, *told, *map(_cell, rules), "why", "notes", "seconds"])
    for mark in marks:
        facts = mark.facts or {}
        judged = {rule["name"]: rule["passed"] for rule in mark.rules}
        failed = [rule for rule in mark.rules if rule["passed"] is False]
        reason = mark.error or "; ".join(f"{rule['name']}: {rule['detail']}" for rule in failed)
        found = facts.get("receptive_field")
        cells = [
            mark.name,
            facts.get("network", ""),
            facts.get("parameters", ""),
            facts.get("macs", ""),
            "x".join(map(str, found)) if isinstance(found, list) else found,
            facts.get("receptive_field_status", ""),
            mark.outcome,
            *({True: "right", False: "wrong", None: ""}[mark.holds(claim)] for claim in claims),
            *({True: "pass", False: "fail", None: ""}[judged.get(name)] for name in rules),
            reason,
            "; ".join(mark.notes),
            f"{mark.seconds:.1f}",
        ]
        writer.writerow([_cell(cell) for cell in cells])
    return buffer.getvalue()


def _cell(value: object) -> str:
    text = "" if value is None else printable(str(value))
    # a spreadsheet would take it for a formula
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def _size(value: int | tuple[int, int]) -> str:
    return f"{value[0]}x{value[1]}" if isinstance(value, tuple) else f"{value:,}"


def _both(value: int | tuple[int, int]) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)
