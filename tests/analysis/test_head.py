"""The way from the last map to the output."""

import pytest
from analysis_networks import AVERAGED_PARTS, Net, conv, one_of
from torch import nn

from flyweight import analysis


def test_mean_in_two_steps_is_global_average_pooling():
    class TwoSteps(Net):
        def forward(self, x):
            return self.fc(self.a(x).mean(3).mean(2))

    head = analysis.analyze(TwoSteps(None, a=conv(3, 8)), (3, 16, 16)).head
    assert not head.faults
    assert len(head.pooling) == 2


def test_second_way_around_the_pooling_is_a_fault():
    class TwoWays(Net):
        def forward(self, x):
            y = self.a(x)
            return self.fc(y.mean((2, 3))) + self.side(y.flatten(1))

    facts = analysis.analyze(TwoWays(None, a=conv(3, 8), side=nn.Linear(8 * 256, 10)), (3, 16, 16))
    assert [fault.layer for fault in facts.head.faults] == ["side"]
    assert facts.head.pooling == ("mean",)


@pytest.mark.parametrize(("function", "fault"), AVERAGED_PARTS)
def test_an_average_of_a_part_of_the_map_is_a_fault(function, fault):
    head = analysis.analyze(one_of("AVERAGED_PARTS", function), (3, 16, 16)).head
    faults = [f"{found.layer} {found.detail}" for found in head.faults]
    assert (not faults) if fault is None else (len(faults) == 1 and faults[0].startswith(fault))


@pytest.mark.parametrize(("last", "fault"), [(slice(None), None), (slice(3, 5), "leaves 2 of a map of 8x16")])
def test_an_average_in_two_steps_is_one_of_the_whole_map(last, fault):
    class TwoSteps(Net):
        def forward(self, x):
            return self.fc(self.a(x).mean(3)[:, :, last].mean(2))

    head = analysis.analyze(TwoSteps(None, a=conv(3, 8)), (3, 16, 16)).head
    assert [found.detail[: len(fault or "")] for found in head.faults] == ([fault] if fault else [])


def test_a_map_of_one_row_is_a_map():
    class OneRow(Net):
        def forward(self, x):
            return self.fc(self.a(x).mean(3).mean(2))

    assert not analysis.analyze(OneRow(None, a=conv(3, 8, (16, 3))), (3, 16, 16)).head.faults


def test_a_image_of_one_place_is_averaged_as_far_as_it_can_be():
    assert not analysis.analyze(Net(lambda net, x: net.a(x), a=conv(3, 8)), (3, 1, 1)).head.faults


def test_map_as_output_is_a_fault():
    facts = analysis.analyze(nn.Sequential(conv(3, 8)), (3, 16, 16))
    assert facts.head.faults[0].layer == "the output"
    assert facts.receptive_field.value == 3
