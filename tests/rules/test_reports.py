"""Verdicts for machines and for people beside a change; the check as a test."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import faulty_networks as faulty
import pytest
from torch import nn

from flyweight import analysis, rules
from flyweight.cli import app
from flyweight.errors import FlyweightError
from flyweight.rules import reports, summary
from flyweight.testing import assert_rules

SHAPE = (3, 32, 32)


def judged(network, source="brief"):
    facts = analysis.analyze(network, SHAPE)
    return summary.as_json(facts, rules.check(facts, rules.load_ruleset(source), cures=False))


def test_junit_has_a_case_for_each_rule():
    found = [("net\x1b.py:Net", judged(faulty.MaxPooling()), ""), ("other", judged(faulty.Sound()), "")]
    root = ET.fromstring(reports.as_junit([*found, ("gone", None, "there is no file")]).encode())
    first, second, third = root.findall("testsuite")
    assert third.attrib == {"name": "gone", "tests": "1", "failures": "0", "skipped": "0", "errors": "1"}
    assert third.find("testcase/error").attrib["message"] == "there is no file"
    assert first.attrib | {"name": ""} == {"name": "", "tests": "11", "failures": "1", "skipped": "3", "errors": "0"}
    assert second.attrib["failures"] == "0"
    cases = first.findall("testcase")
    assert len(cases) == 11
    [failure] = [case for case in cases if case.find("failure") is not None]
    assert failure.attrib == {"classname": "net\ufffd.py:Net", "name": "R1 no max pooling"}
    assert failure.find("failure").text == "1 found, 0 allowed: pool3; layer: pool3"
    skipped = [case.attrib["name"] for case in cases if case.find("skipped") is not None]
    assert skipped[0] == "bonus no stride, no pooling"
    assert skipped[1].startswith("R6")


def test_markdown_is_a_table_that_no_name_can_break():
    class Named(faulty.MaxPooling):
        def __init__(self):
            super().__init__()
            self.add_module("a|b<i>", nn.Identity())

    text = reports.as_markdown("a|b_<i>", judged(Named()))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.split(r"(?<!\\)\|", row)) for row in rows} == {7}
    assert "| **FAIL** | R1 no max pooling | 1 found, 0 allowed: pool3 | pool3 |" in text
    assert text.startswith(
        "### a\\|b\\_\\<i\\> breaks the brief\n\n"
        "3x32x32: 69,048 parameters, 4,434,560 MACs, receptive field 103 (proved)"
    )


def test_the_command_writes_both(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert app.run_command(["check", "nano", "--junit", "out.xml", "--markdown"]) == 0
    assert capsys.readouterr().out.startswith("### nano obeys the brief")
    assert ET.parse(tmp_path / "out.xml").getroot()[0].attrib["failures"] == "0"
    assert app.run_command(["check", "nano", "--blocks", "c1,c2", "--json"]) == 2
    assert "speaks of block 3" in capsys.readouterr().err


class Signal(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.fc = nn.Conv1d(3, 8, 5, padding=2), nn.Linear(8, 10)

    def forward(self, x):
        return self.fc(self.a(x).mean(-1))


def test_a_signal_is_judged_by_its_length_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "wide.yaml"
    path.write_text(
        "title: wide\ninput: 3,64\nclasses: 10\nrules: [{name: w, kind: receptive_field_above, minimum: 4}]\n"
    )
    assert assert_rules(Signal(), path).verdicts[0].detail == "5, must be more than 4: 1 more"
    (tmp_path / "net.py").write_text(
        "from torch import nn\nclass Net(nn.Sequential):\n    def __init__(self):\n"
        "        super().__init__(nn.Conv1d(3, 10, 5), nn.AdaptiveAvgPool1d(1), nn.Flatten())\n"
    )
    for arguments in ([], ["--input", "3,48"]):
        assert app.run_command(["check", "net.py:Net", "--rules", "wide.yaml", *arguments]) == 0
    assert "receptive field  5 before 1, proved" in capsys.readouterr().out


def test_assert_rules_tells_what_to_do():
    assert assert_rules(faulty.Sound(), "brief").passed
    with pytest.raises(AssertionError) as caught:
        assert_rules(faulty.SmallField(), "brief", SHAPE)
    first, *lines = str(caught.value).splitlines()
    assert first == "SmallField breaks the brief:"
    assert lines == [
        "  R2 receptive field more than 44: 43x43, must be more than 44: 2 too few; layer: c1.0.0; cure: give c1.0.0"
        " dilation 2 and padding 2: receptive field 43x43 becomes 45x45, no more parameters"
    ]
    with pytest.raises(AssertionError, match="the last convolution of c3"):
        assert_rules(faulty.MissingBlock(), "brief-strict", SHAPE, blocks=["stem", "c2", "c3", "c4"])
    with pytest.raises(FlyweightError, match="did you mean 'brief'"):
        assert_rules(faulty.Sound(), "breif")


def test_pytest_shows_the_line_of_the_test(tmp_path):
    (tmp_path / "test_mine.py").write_text(
        "from flyweight.testing import assert_rules\nfrom torch import nn\n\ndef test_mine():\n"
        "    assert_rules(nn.Sequential(nn.Flatten(), nn.Linear(48, 10)), 'mcu-64k', (3, 4, 4))\n"
        "    assert_rules(nn.Sequential(nn.Flatten(), nn.Linear(48, 10)), 'brief', (3, 4, 4))\n"
    )
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
                          capture_output=True, text=True, check=False, cwd=tmp_path)  # fmt: skip
    assert done.returncode == 1
    assert "test_mine.py:6: AssertionError" in done.stdout
    assert "Sequential breaks the brief:" in done.stdout
