"""The pages in docs/ can be read and followed: short lines, and links that lead somewhere."""

import re
from pathlib import Path

import pytest
from ledger import PROOFS
from mutations import MUTATIONS

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [*sorted(ROOT.glob("*.md")), *DOCS]
TARGET = re.compile(r"\]\(([^)\s]+)\)")


def lines(text):
    """Each line with its number, without those of code fences."""
    inside, found = False, []
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            inside = not inside
        elif not inside:
            found.append((number, line))
    return found


def anchors(text):
    """The anchors that GitHub gives the headings of a page; a repeated one is numbered."""
    found: set[str] = set()
    for _, line in lines(text):
        heading = re.fullmatch(r"#{1,6} +(.*?)[ #]*", line)
        if heading is None:
            continue
        words = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading[1])
        base = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        number = 0
        while (name := f"{base}-{number}" if number else base) in found:
            number += 1
        found.add(name)
    return found


def broken(page):
    """The links of a page that lead nowhere in this repository."""
    found = []
    for _, line in lines(page.read_text(encoding="utf-8")):
        for target in TARGET.findall(re.sub(r"`[^`]*`", "", line)):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            place = page.parent / path if path else page
            if not place.exists() or (anchor and anchor not in anchors(place.read_text(encoding="utf-8"))):
                found.append(target)
    return found


@pytest.mark.parametrize("page", [*DOCS, ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_no_line_is_too_long_to_read(page):
    text = page.read_text(encoding="utf-8")
    assert [number for number, line in lines(text) if len(line) > 120 and not line.startswith("|")] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading(page):
    assert broken(page) == []


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_every_table_has_as_many_cells_in_each_row(page):
    before = None
    for number, line in lines(page.read_text(encoding="utf-8")):
        cells = line.count("|") if line.startswith("|") else None
        assert before is None or cells in (None, before), f"line {number}"
        before = cells


def test_every_promise_of_security_names_a_test_that_there_is():
    tables = [line for line in (ROOT / "SECURITY.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    rows = [row for row in tables if not row.startswith(("| promise", "| ---"))]
    assert len(rows) > 15
    for row in rows:
        tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert tests, row
        for file, name in tests:
            assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{name}"


def test_every_finding_of_reliability_names_a_test_that_there_is():
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| (.*?) ?\|$", page.partition("## What an independent test found")[2], re.MULTILINE)
    found = [(what, test) for what, test in rows[2:] if not what.startswith("**")]
    assert len(found) > 40
    for what, test in found:
        named = re.fullmatch(r"`(tests/[\w/]+\.py)::(\w+)`", test)
        assert named, what
        assert f"def {named[2]}(" in (ROOT / named[1]).read_text(encoding="utf-8"), test


def test_every_proof_of_reliability_is_told():
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.*?) \|", page, re.MULTILINE))
    assert rows == PROOFS
    assert f"| {len(MUTATIONS)} edits of flyweight's own code" in page


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One, two: `three` of 85 %\n## Twice\n## Twice\n```sh\n# no heading, [no](link.md)\n```\n"
        "[here](#one-two-three-of-85-) [twice](#twice-1) [file](page.md#twice) [web](https://example.org/#a)\n"
        "[gone](gone.md) [no heading](#no-heading-nolinkmd) ![no image](gone.png) [![no plot](plot.png)](page.md)\n",
        encoding="utf-8",
    )
    assert broken(page) == ["gone.md", "#no-heading-nolinkmd", "gone.png", "plot.png"]
