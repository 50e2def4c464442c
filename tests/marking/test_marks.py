"""Marks as a table, as CSV, as a page, and claims beside what was proved."""

import csv
import io
import re

import pytest

from flyweight.errors import FlyweightError
from flyweight.marking import marks, page
from flyweight.marking.marks import Mark, parse_claim

RULES = ["R1 no max pooling", "R1 blocks", "R2 field more than 44", "=1+1"]


def facts(passed=True, field=83, status="proved", network="Net"):
    judged = [{"name": name, "passed": True, "detail": "fine", "layer": None, "cure": None} for name in RULES]
    if not passed:
        judged[2] = {
            "name": RULES[2], "passed": False, "detail": "31 <script>", "layer": "c1 & c2", "cure": "no <b>cure</b>",
        }  # fmt: skip
    return {
        "network": network, "parameters": 170720, "macs": 17970752, "receptive_field": field, "passed": passed,
        "receptive_field_status": status, "rules": judged, "bonuses": [], "pending": [],
    }  # fmt: skip


MARKS = [
    Mark("a.py", facts()),
    Mark("李明 <i>.py", facts(False, [31, 63]), notes=("李明 <i>.py: line 3 was not run",)),
    Mark("=cmd().py", facts(field=None, status="unknown")),
    Mark("d.py", error="d.py:Net: it needs <more> \x1b[31m"),
]


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("receptive_field=83", [True, False, None, None]),
        ("receptive-field = 31x63", [False, True, None, None]),
        ("parameters=170,720", [True, True, True, None]),
        ("macs=17_970_752", [True, True, True, None]),
    ],
)
def test_a_claim_beside_the_proof(text, holds):
    claim = parse_claim(text)
    assert [mark.holds(claim) for mark in MARKS] == holds


def test_a_claim_in_words():
    claim = parse_claim("receptive_field=109")
    assert marks.claim_line(MARKS[0], claim) == "claim  receptive field 109: wrong, it is 83"
    assert marks.claim_line(MARKS[1], claim) == "claim  receptive field 109: wrong, it is 31x63"
    assert marks.claim_line(MARKS[2], claim) == "claim  receptive field 109: nothing is proved"
    assert marks.claim_line(MARKS[0], parse_claim("parameters=170720")) == "claim  parameters 170,720: right"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("receptive_fild=3", "did you mean 'receptive_field'"),
        ("109", "write one of"),
        ("parameters=many", "'many' is no number"),
        ("macs=3x4", "'3x4' is no number"),
        ("receptive_field=1x2x3", "is no number"),
    ],
)
def test_a_wrong_claim_is_one_line(text, words):
    with pytest.raises(FlyweightError, match=words):
        parse_claim(text)


def test_the_table_has_a_row_each():
    lines = marks.table(MARKS, [parse_claim("receptive_field=83")]).splitlines()
    assert len(lines) == 5
    assert lines[0].split() == ["name", "outcome", "parameters", "MACs", "field", "field", "83?"]
    assert lines[1].split() == ["a.py", "pass", "170,720", "17,970,752", "83", "right"]
    assert lines[2].endswith("31x63      wrong  R2 field more than 44")
    assert lines[4].endswith("it needs <more> \ufffd[31m")


def test_the_csv_has_a_column_a_rule_and_no_formula():
    text = marks.as_csv(MARKS, RULES, [parse_claim("receptive_field=83")])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["name"] for row in rows] == ["a.py", "李明 <i>.py", "'=cmd().py", "d.py"]
    assert [row["R2 field more than 44"] for row in rows] == ["pass", "fail", "pass", ""]
    assert [row["'=1+1"] for row in rows] == ["pass", "pass", "pass", ""]
    assert [row["outcome"] for row in rows] == ["pass", "fail", "pass", "not checked"]
    assert [row["receptive_field"] for row in rows] == ["83", "31x63", "", ""]
    assert [row["claim receptive_field 83"] for row in rows] == ["right", "wrong", "", ""]
    assert rows[1]["why"] == "R2 field more than 44: 31 <script>"
    assert all(cell[:1] not in ("=", "+", "-", "@") for row in rows for cell in row.values())


def test_the_page_is_offline_and_escapes_what_others_wrote(tmp_path):
    file = tmp_path / "marks.html"
    page.write(MARKS, "the <brief>", RULES, [parse_claim("parameters=3")], file, "On 3x32x32.")
    text = file.read_text(encoding="utf-8")
    assert re.findall(r"(?:src|href)=\"(?!#|data:)", text) == []
    assert re.findall(r"<(?:script|i>|b>cure|more|brief)", text) == []
    for words in (
        "4 networks by the &lt;brief&gt;",
        "李明 &lt;i&gt;.py",
        "31 &lt;script&gt;",
        "no &lt;b&gt;cure",
    ):
        assert words in text
    # two rules of one number are told apart
    assert re.findall(r'<th class="tick" title="(.*?)">(.*?)</th>', text) == [
        ("R1 no max pooling", "R1a"),
        ("R1 blocks", "R1b"),
        ("R2 field more than 44", "R2"),
        ("=1+1", "=1+1"),
    ]
    assert text.count('aria-label="pass"') == 11
    assert text.count('aria-label="fail"') == 1
