import json

import faulty_networks as faulty
import pytest
import torch
from torch import nn

from flyweight import analysis, rules
from flyweight.data.cifar10 import SPEC
from flyweight.networks.build import build
from flyweight.recipes.sections import ModelConfig
from flyweight.rules import summary


def judged(network, shape=(3, 32, 32), cures=False):
    facts = analysis.analyze(network, shape)
    return facts, rules.check(facts, rules.load_ruleset("brief"), cures=cures)


@pytest.fixture(scope="module")
def course():
    return judged(build(ModelConfig(network="course"), SPEC))


def test_course_text(course, capsys):
    text = summary.render(*course)
    lines = text.splitlines()
    columns = ["layer", "kind", "details", "output", "parameters", "MACs", "field"]
    assert lines[0].split() == columns
    assert lines[2].split() == ["c1.conv1.0", "Conv2d", "3x3", "16x32x32", "432", "442,368", "3"]
    assert "  3x3, dilation 2, padding 1  16x30x30  " in lines[10]
    assert lines[52].split() == ["classifier", "Conv2d", "1x1", "10x1x1", "640", "640", "whole", "map"]
    assert set(lines[1]) == set(lines[53]) == {"-"}
    assert "parameters       174,352\n" in text
    assert "MACs             32,282,272 (multiply-accumulates" in text
    # it reads 32x30x30 and makes as much: 57,600 numbers
    assert (
        "memory           56.2 KiB in 8 bits, 225.0 in float32 (maps held at once, one image), at c2.conv2.0\n" in text
    )
    assert "receptive field  51x51 before pool, proved" in text
    assert not any(line.endswith(" ") for line in lines)
    assert capsys.readouterr() == ("", "")


def test_columns_are_aligned(course):
    lines = summary.render_layers(course[0]).splitlines()
    start = lines[0].index("output")
    rows = [line for line in lines if set(line) != {"-"}]
    assert all(row[start - 1] == " " and row[start] != " " for row in rows)


def test_failure_says_where_and_how():
    text = summary.render(*judged(faulty.TooManyParameters(), cures=True))
    assert "FAIL  R7 fewer than 200,000 parameters" in text
    assert "layer: c4.1.0" in text
    assert "cure: narrow c4.1.0 from 60 to 58 channels" in text
    assert text.endswith("FAIL: breaks the brief: R7 fewer than 200,000 parameters")


def test_missed_bonus_is_no_failure():
    text = summary.render(*judged(faulty.Sound()))
    assert "no    bonus no stride, no pooling" in text
    assert text.endswith("PASS: obeys the brief")


class Odd(faulty.Sound):
    """Everything that a summary can have to say."""

    def __init__(self):
        super().__init__()
        self.never = nn.Conv2d(3, 2, 1, bias=False)
        self.c1.requires_grad_(False)
        self.c4[0] = faulty.conv(32, 32, dilation=8)
        self.scale = torch.ones(64, 1, 1, requires_grad=True)

    def features(self, x):
        x = self.c4(self.c3(self.c2(self.c1(x))))
        return x * torch.sigmoid(x.mean((2, 3), keepdim=True)) * self.scale


def test_findings():
    facts, report = judged(Odd())
    text = summary.render(facts, report)
    assert "parameters       69,054 (1,992 of them frozen)" not in text  # 216 + 576 + 1152 and three norms: 2,008
    assert "parameters       69,054 (2,008 of them frozen)" in text
    assert "dead weight      c4.0.0: 8 of 9 taps see only padding, 8,192 weights" in text
    assert "unreached        never: it never ran, 6 parameters" in text
    assert "every position also sees the whole map through mean" in text
    assert "unregistered     scale: 64 weights that nobody counts, trains or saves" in text
    assert summary.as_json(facts, report)["unregistered"] == [{"layer": "scale", "parameters": 64}]


def test_json(course):
    content = json.loads(json.dumps(summary.as_json(*course)))
    assert (content["parameters"], content["macs"], content["receptive_field"]) == (174_352, 32_282_272, 51)
    assert content["peak_activations"] == {"numbers": 57_600, "layer": "c2.conv2.0"}
    assert content["passed"] is True
    assert content["receptive_field_status"] == "proved"
    assert [set(rule) for rule in content["rules"]] == [{"name", "passed", "detail", "layer", "cure"}] * 8
    assert len(content["layers"]) == 51
    assert content["layers"][8]["output_shape"] == [16, 30, 30]
    assert content["layers"][8]["receptive_field"] == [9, 9]


def test_json_of_two_axes_and_of_the_unknown():
    class Net(faulty.Sound):
        def __init__(self, spectral):
            super().__init__()
            self.spectral = spectral
            self.c4[0] = nn.Conv2d(32, 32, (1, 3), padding=(0, 1))

        def features(self, x):
            return super().features(torch.fft.fft2(x).real if self.spectral else x)

    two = summary.as_json(*judged(Net(False)))
    assert two["receptive_field"] == [67, 75]
    unknown = summary.as_json(*judged(Net(True)))
    assert unknown["receptive_field"] is None
    assert unknown["macs"] is None
    assert unknown["peak_activations"] is None
    assert unknown["passed"] is False
    assert unknown["unknown"][0] == {"layer": "fft_c2c", "operator": "_fft_c2c", "opaque": True}
    text = summary.render(*judged(Net(True)))
    assert "MACs             unknown" in text
    assert "memory           unknown" in text
    assert "not understood   _fft_c2c in fft_c2c" in text
