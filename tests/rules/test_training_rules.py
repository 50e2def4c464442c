"""Rules about a training: pending before it, judged by what it did and reached, and never a silent pass."""

import pytest
from torch import nn

from flyweight import analysis, recipes, rules
from flyweight.errors import FlyweightError
from flyweight.rules import Score, summary
from flyweight.rules.training import AccuracyAtLeast, Augmentations

TEXT = """
title: mine
rules:
  - {name: few, kind: parameters_below, limit: 100}
  - {name: cut, kind: augmentations, transforms: [flip, cutout], cutout_size: 16}
  - {name: good, kind: accuracy_at_least, minimum: 85, data: cifar10}
bonuses:
  - {name: better, kind: accuracy_at_least, minimum: 99}
"""


@pytest.fixture(scope="module")
def facts():
    return analysis.analyze(nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), (1, 32, 48))


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT)
    return rules.load_ruleset(path)


def augment(**settings):
    return recipes.load("sprint", [f"augment.{key}={value}" for key, value in settings.items()]).augment


def test_before_a_training_they_are_pending(facts, mine):
    judgement = rules.check(facts, mine)
    assert [verdict.name for verdict in judgement.verdicts] == ["few"]
    assert judgement.bonuses == ()
    assert judgement.pending == ("cut", "good", "better")
    assert judgement.passed
    text = summary.render_verdicts(judgement)
    assert text.endswith("judged after a training: cut; good; better\nPASS: obeys mine")
    content = summary.as_json(facts, judgement)
    assert content["pending"] == ["cut", "good", "better"]
    assert [rule["name"] for rule in content["rules"]] == ["few"]


def test_after_a_training_they_stand_in_their_order(facts, mine):
    judgement = rules.check(facts, mine, augment(), Score(85.0, "cifar10"))
    assert [(verdict.name, verdict.passed) for verdict in judgement.verdicts] == [
        ("few", True),
        ("cut", True),
        ("good", True),
    ]
    assert [verdict.passed for verdict in judgement.bonuses] == [False]
    assert judgement.pending == ()
    assert summary.render_verdicts(judgement).endswith("\n\nPASS: obeys mine")
    assert judgement.verdicts[2].detail == "85.00 % at the last epoch: 0.00 points to spare"


def test_a_training_that_misses_fails(facts, mine):
    judgement = rules.check(facts, mine, augment(flip=0), Score(84.99, "cifar10"))
    assert not judgement.passed
    assert summary.render_verdicts(judgement).endswith("FAIL: breaks mine: cut, good")
    assert judgement.verdicts[2].detail == "84.99 % at the last epoch: 0.01 points too few"


def test_on_other_data_it_does_not_count_and_is_no_silent_pass(facts, mine):
    for accuracy in (10.0, 99.0):
        judgement = rules.check(facts, mine, augment(), Score(accuracy, "digits"))
        verdict = judgement.verdicts[2]
        assert verdict.passed is None
        assert verdict.detail == f"{accuracy:.2f} % at the last epoch, of digits: only cifar10 counts"
        assert judgement.passed
        text = summary.render_verdicts(judgement)
        assert "\n-     good" in text
        assert text.endswith("PASS: obeys mine, of which this does not count: good")
        assert summary.as_json(facts, judgement)["rules"][2]["passed"] is None


def test_a_rule_set_of_training_rules_alone_judges_nothing_of_a_network(facts, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("title: mine\nrules:\n  - {name: good, kind: accuracy_at_least, minimum: 85}\n")
    text = summary.render_verdicts(rules.check(facts, rules.load_ruleset(path)))
    assert "PASS" not in text
    assert text.endswith("no rule of mine is judged yet")


@pytest.mark.parametrize(
    ("settings", "passed", "words"),
    [
        ({}, True, "flip 0.5, shift_scale_rotate 0.1"),
        ({"flip": 0}, False, "off in the recipe: flip"),
        # drawn as often as it likes, it would change nothing
        ({"shift": 0, "scale": 0, "rotate": 0}, False, "off in the recipe: shift, scale, rotate"),
        ({"cutout_size": 8}, False, "the hole is 8x8 pixels, must be 16x16"),
    ],
)
def test_the_augmentations_count_where_they_do_something(facts, settings, passed, words):
    judgement = rules.check(facts, rules.load_ruleset("brief"), augment(**settings))
    [verdict] = [verdict for verdict in judgement.verdicts if verdict.name.startswith("R6")]
    assert verdict.passed is passed
    assert words in verdict.detail
    assert judgement.pending == ("R7 at least 85 % test accuracy",)


def test_a_hole_of_half_the_side_is_measured_on_the_image(facts):
    rule = Augmentations(name="cut", kind="augmentations", transforms=("cutout",), cutout_size=16)
    half = augment().model_copy(update={"cutout_size": None})
    assert rule.judge(rules.Evidence(facts, half), ()).passed
    other = Augmentations(name="cut", kind="augmentations", transforms=("cutout",), cutout_size=24)
    assert not other.judge(rules.Evidence(facts, half), ()).passed


def test_the_brief_says_its_accuracy_once():
    brief = rules.load_ruleset("brief")
    assert brief.accuracy == 85
    assert (brief.input, brief.classes) == ("3,32,32", 10)


def test_a_rule_set_need_not_ask_for_an_accuracy(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("title: mine\nrules:\n  - {name: few, kind: parameters_below, limit: 100}\n")
    mine = rules.load_ruleset(path)
    assert (mine.accuracy, mine.input, mine.classes) == (None, None, None)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("kind: augmentations, transforms: [flop]", r"transforms: .* no 'flop' \(did you mean 'flip'\?\)"),
        ("kind: augmentations, transforms: []", "transforms"),
        ("kind: augmentations, transforms: [flip], cutout_size: 0", "cutout_size"),
        ("kind: accuracy_at_least, minimum: 101", "minimum"),
        ("kind: accuracy_at_least", "minimum: this key is needed"),
        ("kind: accuracy_at_most, minimum: 1", "did you mean 'accuracy_at_least'"),
    ],
)
def test_a_wrong_entry_is_one_line(tmp_path, entry, message):
    path = tmp_path / "mine.yaml"
    path.write_text(f"title: mine\nrules:\n  - {{name: a, {entry}}}\n")
    with pytest.raises(FlyweightError, match=message) as caught:
        rules.load_ruleset(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["input: 3x32x32", "input: 32", "input: 0,32,32", "classes: 0", "input: 5"])
def test_a_wrong_size_is_one_line(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(f"title: mine\n{text}\nrules:\n  - {{name: few, kind: parameters_below, limit: 100}}\n")
    with pytest.raises(FlyweightError, match=r"mine\.yaml: (input|classes): ") as caught:
        rules.load_ruleset(path)
    assert "\n" not in str(caught.value)


def test_kinds_are_judged_by_what_they_are(facts):
    assert rules.KINDS["augmentations"] is Augmentations
    assert AccuracyAtLeast(name="a", kind="accuracy_at_least", minimum=1).judge(rules.Evidence(facts), ()) is None
