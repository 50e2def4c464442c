"""The table of marks as one offline page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flyweight.files import write_text
from flyweight.marking.marks import Claim, Mark, counts, field_of, why
from flyweight.report.pages import render
from flyweight.text import ending, printable, short


def write(
    marks: Sequence[Mark], title: str, rules: Sequence[str], claims: Sequence[Claim], path: Path, about: str
) -> None:
    """Write the page.

    Args:
        marks: one a network.
        title: of the rule set.
        rules: names of its rules, a column each.
        claims: a column each.
        path: of the page; one that is there is replaced.
        about: in a line, at which input, for how many classes and how they were judged.

    Raises:
        RunError: it cannot be written.
    """
    content = {
        "title": printable(title),
        "about": about,
        "counts": {
            outcome: sum(mark.outcome == outcome for mark in marks) for outcome in ("pass", "fail", "not checked")
        },
        "summary": counts(marks),
        "total": len(marks),
        "rules": [
            {"name": printable(name), "short": label, "rest": printable(name).removeprefix(_short(name)).strip()}
            for name, label in zip(rules, _labels(rules), strict=True)
        ],
        "failures": [sum(_passed(mark, name) is False for mark in marks) for name in rules],
        "claims": [{"fact": claim.short, "said": claim.said} for claim in claims],
        "marks": [_row(number, mark, rules, claims) for number, mark in enumerate(marks, start=1)],
    }
    write_text(path, render("marks.html.jinja", content))


def _short(name: str) -> str:
    """What stands over a narrow column: the rule's number where its name begins with one."""
    first = name.split()[0] if name.split() else ""
    return printable(first) if any(letter.isdigit() for letter in first) and len(first) <= 4 else short(name, 14)


def _labels(names: Sequence[str]) -> list[str]:
    """What stands over the columns; of several rules with one number each gets a letter besides: R1a, R1b."""
    plain = [_short(name) for name in names]
    return [
        f"{label}{chr(ord('a') + plain[:position].count(label) % 26)}" if plain.count(label) > 1 else label
        for position, label in enumerate(plain)
    ]


def _passed(mark: Mark, name: str) -> bool | None:
    return next((rule["passed"] for rule in mark.rules if rule["name"] == name), None)


def _row(number: int, mark: Mark, rules: Sequence[str], claims: Sequence[Claim]) -> dict[str, Any]:
    facts = mark.facts or {}
    judged = {rule["name"]: rule for rule in mark.rules}
    return {
        "number": number,
        "name": ending(mark.name, 90),
        "network": short(str(facts.get("network", "")), 40),
        "parameters": facts.get("parameters"),
        "macs": facts.get("macs"),
        "field": field_of(mark),
        "checked": mark.facts is not None,
        "outcome": mark.outcome,
        "error": "" if mark.facts else why(mark, 400),
        "rules": [
            {"passed": judged[name]["passed"] if name in judged else None, "detail": _detail(judged.get(name))}
            for name in rules
        ],
        "failed": [
            {key: printable(str(rule.get(key) or "")) for key in ("name", "detail", "layer", "cure")}
            for rule in mark.rules
            if rule["passed"] is False
        ],
        "claims": [mark.holds(claim) for claim in claims],
        "notes": [short(note, 400) for note in mark.notes],
    }


def _detail(rule: dict[str, Any] | None) -> str:
    return "" if rule is None else short(f"{rule['name']}: {rule['detail']}", 300)
