"""Cures hold: carried out anew on a copy they make the rule pass and break no other."""

import sys
from pathlib import Path

import faulty_networks as faulty
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from flyweight import analysis, rules
from flyweight.rules.cures.operators import run_instead
from flyweight.rules.cures.widths import Widths, counted, narrow
from flyweight.rules.rule import Evidence
from flyweight.rules.ruleset import RuleSet, cure_of

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import cures

SHAPE = (3, 32, 32)


def cured(model, *entries, shape=SHAPE):
    """The cure of the first of some rules."""
    made = [rules.KINDS[kind].model_validate({"name": kind, "kind": kind, **rest}) for kind, rest in entries]
    ruleset = RuleSet("mine", "auto", tuple(made), ())
    return cure_of(ruleset, Evidence(analysis.analyze(model, shape)), 0)


def test_a_stride_in_front_of_a_sum_takes_the_1x1_with_it():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
            self.short = nn.Conv2d(3, 8, 1)
            self.fc = nn.Linear(8, 10)

        def forward(self, x):
            return self.fc((self.b(F.relu(self.a(x))) + self.short(x)).mean((2, 3)))

    class Net(nn.Sequential):
        def __init__(self):
            super().__init__(Block())

    cure = cured(Net(), ("layer_count", {"of": "strided", "at_least": 1}))
    assert cure.text.startswith("give 0.b, 0.short stride 2: ")


def test_an_edit_that_breaks_another_rule_is_not_told():
    # the plain cure, a stride, would leave too small a field; a dilation of 2 does not
    network = faulty.BlockEndsPlain()
    ends = ("blocks_end_strided_or_dilated", {"blocks": ["c1", "c2", "c3"]})
    assert cured(network, ends).text.startswith("give c2.2.0 stride 2: ")
    within = ("receptive_field_within", {"minimum": 40, "maximum": 60})
    assert cured(network, ends, within).text.startswith("give c2.2.0 dilation 2 and padding 2: ")
    # where both break something, another edit of the same network makes up for it
    both = cured(network, ends, ("receptive_field_within", {"minimum": 40, "maximum": 47}))
    assert len(both.edits) > 1


def test_where_one_edit_is_not_enough_the_list_is_the_cure():
    cure = cured(faulty.DeadDilation(), ("dilated", {"at_least": 3}))
    assert cure.text.startswith("give c1.2.0, c2.2.0, c3.2.0 dilation 2 and padding 2: ")


def test_edits_that_later_ones_made_needless_are_left_out():
    cure = cured(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
                 ("receptive_field_above", {"minimum": 40}))  # fmt: skip
    assert [edit.text for edit in cure.edits] == ["give 0 dilation 20 and padding 20"]


def test_no_cure_is_told_where_none_holds():
    # nothing is left to take away
    assert (
        cured(nn.Sequential(nn.Flatten(), nn.Linear(12, 10)), ("parameters_below", {"limit": 3}), shape=(3, 2, 2))
        is None
    )


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        ("convolutions_per_block", {"blocks": ["c1"], "count": 65536}),
        ("layer_count", {"of": "convolution", "at_least": 65536}),
        ("depth", {"at_least": 65536}),
        ("layer_count", {"of": "ReLU", "exactly": 65536}),
        ("receptive_field_above", {"minimum": 65536}),
    ],
)
def test_what_would_be_another_network_is_not_tried(kind, asked):
    assert cured(faulty.TooManyParameters(), (kind, asked), shape=(3, 16, 16)) is None


def test_nothing_of_the_network_changes():
    network = faulty.TooManyParameters()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state, text = torch.get_rng_state(), str(network)
    judged = rules.check(analysis.analyze(network, SHAPE), rules.load_ruleset("brief"))
    assert not judged.passed
    assert str(network) == text
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert "forward" not in vars(network)


def test_two_operators_are_exchanged_one_after_the_other():
    class Cropping(nn.Module):
        def forward(self, x):
            return torch.relu(x[:, :, 1:3, 2:5]).mean((2, 3))

    model = Cropping()
    for left in (1, 0):
        graph = analysis.analyze(model, SHAPE).graph
        node = next(node for node in graph.trace.nodes if graph.ops[node].kind == "slice")
        run_instead(model, graph, node, lambda func, x, *rest: x.view(x.shape))
        graph = analysis.analyze(model, SHAPE).graph
        assert sum(graph.ops[node].kind == "slice" for node in graph.trace.nodes) == left
    x = torch.rand(1, *SHAPE)
    assert torch.equal(model(x), x.mean((2, 3)))


@pytest.mark.parametrize("name", ["MobileNetV3", "ResNet, bottlenecks", "LeNet-5", "RepVGG"])
def test_a_width_is_narrowed_with_all_that_hangs_on_it(name):
    model = cures.published_shapes.NETWORKS[name]()
    graph = analysis.analyze(model, SHAPE, prove_field=False).graph
    for width in Widths(graph).free():
        left = max(1, width.size - 2)
        expected = counted(model, {width: left})
        other = cures.copy.deepcopy(model)
        narrow(other, width, left)
        assert analysis.analyze(other, SHAPE, prove_field=False).parameters == expected


FEW = ("ResNet, bottlenecks", "MobileNetV1")


@pytest.mark.parametrize("name", FEW)
def test_cures_of_some_planted_faults_hold(name):
    model = dict(cures.networks())[name]
    for fault in list(cures.faults(name, model))[1::7]:
        outcome = cures.tried(fault)
        assert outcome.holds, (fault.ruleset.rules[fault.number], outcome.text)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_cures_hold_in_95_of_100_failing_verdicts():
    found = [fault for name, model in cures.networks() for fault in cures.faults(name, model)][::4]
    held = [cures.tried(fault).holds for fault in found]
    assert len(held) >= 100
    assert sum(held) >= 0.95 * len(held)
