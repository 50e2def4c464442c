"""Verdicts as JUnit XML, which continuous integration reads, and as Markdown, which people read beside a change."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from typing import Any

from flyweight.rules.rule import Verdict
from flyweight.text import printable

Answer = dict[str, Any]
"""Facts and verdicts of one network, as :func:`flyweight.rules.summary.as_json` makes them."""

JUNIT = '<testsuites name="flyweight check"'
"""How each file of verdicts begins, behind its first line."""


def as_junit(judged: Iterable[tuple[str, Answer | None, str]]) -> str:
    """One test suite for each network, one test case for each rule; rules that are not judged are skipped.

    Args:
        judged: what each network is called, what came out, and why nothing did where that is so.
    """
    root = ET.Element("testsuites", name="flyweight check")
    for network, answer, error in judged:
        suite = ET.SubElement(root, "testsuite", name=_text(network))
        counts = dict.fromkeys(("tests", "failures", "skipped", "errors"), 0)
        for name, outcome, message, more in _cases(answer, error):
            case = ET.SubElement(suite, "testcase", classname=_text(network), name=_text(name))
            counts["tests"] += 1
            if outcome:
                counts[{"failure": "failures", "error": "errors"}.get(outcome, outcome)] += 1
                ET.SubElement(case, outcome, message=_text(message)).text = _text(more) or None
            else:
                ET.SubElement(case, "system-out").text = _text(message)
        suite.attrib.update({name: str(count) for name, count in counts.items()})
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _cases(answer: Answer | None, error: str) -> Iterator[tuple[str, str, str, str]]:
    """Name, outcome (empty: passed), message and more of each test case."""
    if answer is None:
        yield "check", "error", error, error
        return
    for verdict in answer["rules"]:
        failed = verdict["passed"] is False
        outcome = "failure" if failed else "" if verdict["passed"] else "skipped"
        yield verdict["name"], outcome, verdict["detail"], _told(verdict) if failed else ""
    for verdict in answer["bonuses"]:
        yield verdict["name"], "" if verdict["passed"] else "skipped", verdict["detail"], ""
    for name in answer["pending"]:
        yield name, "skipped", "judged after a training", ""


def _text(text: str) -> str:
    """Text without control characters, which no XML may hold."""
    return printable(text.replace("\n", " "))


def told(verdict: Verdict) -> str:
    """A failure in one line: what, where, and what to do."""
    return _told(vars(verdict))


def _told(verdict: Answer) -> str:
    where = f"; layer: {verdict['layer']}" if verdict["layer"] else ""
    return f"{verdict['detail']}{where}{'; cure: ' + verdict['cure'] if verdict['cure'] else ''}"


def as_markdown(network: str, answer: Answer | None, error: str = "") -> str:
    """A heading, the numbers and a table of verdicts, or why there are none."""
    if answer is None:
        return f"### {_cell(network)} could not be checked\n\n{_cell(error)}"
    field, macs = answer["receptive_field"], answer["macs"]
    size = "unknown" if field is None else "x".join(map(str, field)) if isinstance(field, list) else str(field)
    lines = [
        f"### {_cell(network)} {'obeys' if answer['passed'] else 'breaks'} {_cell(answer['ruleset'])}",
        "",
        f"{'x'.join(map(str, answer['input']))}: {answer['parameters']:,} parameters,"
        f" {'unknown' if macs is None else f'{macs:,}'} MACs, receptive field {size}"
        f" ({answer['receptive_field_status']})",
        "",
        "| | rule | found | layer | cure |",
        "| --- | --- | --- | --- | --- |",
    ]
    for verdicts, failure in ((answer["rules"], "**FAIL**"), (answer["bonuses"], "no")):
        for verdict in verdicts:
            mark = "-" if verdict["passed"] is None else "pass" if verdict["passed"] else failure
            cells = (verdict["name"], verdict["detail"], verdict["layer"] or "", verdict["cure"] or "")
            lines.append(f"| {mark} | {' | '.join(_cell(cell) for cell in cells)} |")
    lines += [f"| - | {_cell(name)} | judged after a training | | |" for name in answer["pending"]]
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text that stays in its cell and is no markup."""
    text = printable(text.replace("\n", " "))
    for mark in "\\`*_|<>[]":
        text = text.replace(mark, f"\\{mark}")
    return text
