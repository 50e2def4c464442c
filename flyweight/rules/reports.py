"""Verdicts as JUnit XML, which continuous integration reads, and as Markdown, which people read beside a change."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable

from flyweight.analysis import Facts
from flyweight.rules.rule import Judgement, Verdict
from flyweight.text import printable


def as_junit(judged: Iterable[tuple[str, Judgement]]) -> str:
    """One test suite for each network, one test case for each rule; rules that are not judged are skipped.

    Args:
        judged: what each network is called, and its verdicts.
    """
    root = ET.Element("testsuites", name="flyweight check")
    for network, judgement in judged:
        failed = sum(verdict.passed is False for verdict in judgement.verdicts)
        waiting = [*(v.name for v in judgement.verdicts if v.passed is None), *judgement.pending]
        bonuses = [verdict for verdict in judgement.bonuses if verdict.name not in waiting]
        suite = ET.SubElement(
            root, "testsuite", name=f"{_text(network)}: {_text(judgement.title)}",
            tests=str(len(judgement.verdicts) + len(judgement.pending) + len(bonuses)), failures=str(failed),
            skipped=str(len(waiting) + sum(not verdict.passed for verdict in bonuses)), errors="0",
        )  # fmt: skip
        for verdict in judgement.verdicts:
            _case(suite, network, verdict, bonus=False)
        for verdict in bonuses:
            _case(suite, network, verdict, bonus=True)
        for name in judgement.pending:
            case = ET.SubElement(suite, "testcase", classname=_text(network), name=_text(name))
            ET.SubElement(case, "skipped", message="judged after a training")
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _case(suite: ET.Element, network: str, verdict: Verdict, bonus: bool) -> None:
    case = ET.SubElement(suite, "testcase", classname=_text(network), name=_text(verdict.name))
    if verdict.passed is False and not bonus:
        ET.SubElement(case, "failure", message=_text(verdict.detail)).text = _text(told(verdict))
    elif not verdict.passed:
        ET.SubElement(case, "skipped", message=_text(verdict.detail))
    else:
        ET.SubElement(case, "system-out").text = _text(verdict.detail)


def _text(text: str) -> str:
    """Text without control characters, which no XML may hold."""
    return printable(text.replace("\n", " "))


def told(verdict: Verdict) -> str:
    """A failure in one line: what, where, and what to do."""
    where = f"; layer: {verdict.layer}" if verdict.layer else ""
    return f"{verdict.detail}{where}{f'; cure: {verdict.cure}' if verdict.cure else ''}"


def as_markdown(facts: Facts, judgement: Judgement) -> str:
    """A heading, the numbers and a table of verdicts."""
    field = facts.receptive_field
    size = "unknown" if field.height is None else "x".join(map(str, field.live or (field.height, field.width)))
    macs = "unknown" if facts.macs is None else f"{facts.macs:,}"
    sizes = "x".join(map(str, facts.input_shape))
    word = "obeys" if judgement.passed else "breaks"
    lines = [
        f"### {_cell(facts.network)} {word} {_cell(judgement.title)}",
        "",
        f"{sizes}: {facts.parameters:,} parameters, {macs} MACs, receptive field {size} ({field.status})",
        "",
        "| | rule | found | layer | cure |",
        "| --- | --- | --- | --- | --- |",
    ]
    for verdicts, failure in ((judgement.verdicts, "**FAIL**"), (judgement.bonuses, "no")):
        for verdict in verdicts:
            mark = "-" if verdict.passed is None else "pass" if verdict.passed else failure
            cells = (verdict.name, verdict.detail, verdict.layer or "", verdict.cure or "")
            lines.append(f"| {mark} | {' | '.join(_cell(cell) for cell in cells)} |")
    lines += [f"| - | {_cell(name)} | judged after a training | | |" for name in judgement.pending]
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text that stays in its cell and is no markup."""
    text = printable(text.replace("\n", " "))
    for mark in "\\`*_|<>[]":
        text = text.replace(mark, f"\\{mark}")
    return text
