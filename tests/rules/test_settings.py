"""Rules whose settings mean nothing are refused, and weights that a network does not know of count everywhere."""

import pydantic
import pytest
import torch
from torch import nn

from flyweight import analysis, rules
from flyweight.errors import FlyweightError
from flyweight.rules.ruleset import KINDS
from flyweight.testing import assert_rules

SHAPE = (3, 16, 16)


def rule(kind, **settings):
    return KINDS[kind](name=kind, kind=kind, **settings)


def judged(network, kind, **settings):
    return rule(kind, **settings).check(analysis.analyze(network, SHAPE), ())


class Hiding(nn.Module):
    """Computes with layers in a plain list."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Linear(8, 10)
        self.big = [nn.Conv2d(8, 400, 3, 1, 1), nn.Conv2d(400, 8, 3, 1, 1)]

    def forward(self, x):
        x = self.big[1](self.big[0](self.first(x)))
        return self.last(x.mean((2, 3)))


@pytest.mark.parametrize(("kind", "limit"), [("flash_bytes", 10**6), ("file_size_below", 10**6)])
def test_no_size_is_known_of_a_network_with_hidden_weights(kind, limit):
    verdict = judged(Hiding(), kind, limit=limit)
    assert (verdict.passed, verdict.layer) == (False, "big")
    assert "neither registered, trained nor saved" in verdict.detail
    cured = rules.RuleSet("sizes", (), (rule(kind, limit=limit),), ())
    cure = rules.check(analysis.analyze(Hiding(), SHAPE), cured).verdicts[0].cure
    assert cure.startswith("hold layers of big in nn.ModuleList, tensors in nn.Parameter")


class Normed(nn.Module):
    """Its norm is folded only where nobody else reads the convolution."""

    def __init__(self, beside):
        super().__init__()
        self.conv, self.norm, self.last, self.beside = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 10), beside

    def forward(self, x):
        x = self.conv(x)
        x = self.norm(x) + x if self.beside else self.norm(x)
        return self.last(x.mean((2, 3)))


def test_a_norm_that_cannot_be_folded_takes_flash():
    used = [int(judged(Normed(beside), "flash_bytes", limit=10**6).detail.split()[0]) for beside in (False, True)]
    assert used[1] - used[0] == 16


class Mine(nn.Linear):
    """A class of somebody's own."""


class Bare(nn.Module):
    """A layer by the function."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(8, 8))

    def forward(self, x):
        return nn.functional.linear(x, self.weight)


class Connected(nn.Module):
    """Three linear layers, each written in a way of its own."""

    def __init__(self):
        super().__init__()
        self.mine, self.bare, self.w = Mine(3, 8), Bare(), nn.Parameter(torch.zeros(8, 10))

    def forward(self, x):
        return self.bare(self.mine(x.mean((2, 3)))) @ self.w


def test_linear_layers_count_however_they_are_written():
    assert judged(Connected(), "layer_count", of="linear", exactly=3).passed
    assert not judged(Connected(), "layer_count", of="linear", exactly=0).passed


def test_a_list_of_operators_may_name_classes():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    named = ("Conv2d", "ReLU", "AdaptiveAvgPool2d", "Linear")
    assert judged(network, "operators_among", operators=named).passed
    assert not judged(network, "operators_among", operators=named[1:]).passed


@pytest.mark.parametrize(("kind", "settings", "words"), [
    ("layer_count", {"of": "stridedd", "exactly": 0}, "no sort 'stridedd' .did you mean 'strided'"),
    ("layer_count", {"of": "max_pool", "exactly": 0}, "no sort 'max_pool'"),
    ("receptive_field_within", {"minimum": 20, "maximum": 10}, "no network has both"),
    ("blocks_end_strided", {"blocks": (0,)}, "greater than or equal to 1"),
    ("blocks_end_strided", {"blocks": (-2,)}, "greater than or equal to 1"),
])  # fmt: skip
def test_settings_that_mean_nothing_are_refused(kind, settings, words):
    with pytest.raises(pydantic.ValidationError, match=words):
        rule(kind, **settings)


@pytest.mark.parametrize(("first", "second", "words"), [
    ("size", "size", "two rules are named 'size'"),
    ("size", "''", "at least 1 character"),
])  # fmt: skip
def test_each_rule_has_a_name_of_its_own(tmp_path, first, second, words):
    file = tmp_path / "rules.yaml"
    kind = "kind: parameters_below, limit: 10"
    file.write_text(f"title: t\nrules:\n  - {{name: {first}, {kind}}}\n  - {{name: {second}, {kind}}}\n")
    with pytest.raises(FlyweightError, match=words) as caught:
        rules.load_ruleset(file)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("names", "words"), [(",", "no blocks are named"), ([], "no blocks"), ("a,b,a", "twice")])
def test_blocks_that_name_nothing_or_one_twice_are_refused(names, words):
    with pytest.raises(FlyweightError, match=words):
        rules.named_blocks(names)


def test_assert_rules_takes_auto():
    network = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3, 2)), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    ruleset = rules.RuleSet("t", ("c1",), (rule("blocks_end_strided"),), ())
    assert assert_rules(network, ruleset, SHAPE, blocks="auto").passed
