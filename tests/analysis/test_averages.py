"""An average counts as one however it is written, and a sum that is scaled by anything else does not."""

import pytest
import torch
from analysis_networks import Net, conv
from torch import nn

from flyweight import analysis

# the map is 8x16x16: an area of 256
AVERAGES = [
    lambda x: x.sum((2, 3)) / 256,
    lambda x: x.sum((2, 3)) / (x.shape[2] * x.shape[3]),
    lambda x: x.sum((2, 3)) * (1 / 256),
    lambda x: (1 / 256) * x.sum((2, 3)),
    lambda x: x.sum((2, 3), keepdim=True).flatten(1) / 256,
    lambda x: (x.sum((2, 3), keepdim=True) / 256).flatten(1),
    lambda x: x.sum((-1, -2)).div(16).div_(16),
    lambda x: x.sum(3).sum(2) / 256,
    lambda x: (x.sum(3) / 16).sum(2) / 16,
    lambda x: x.sum(3, keepdim=True).sum(2, keepdim=True).squeeze(3).squeeze(2).mul(1 / 256),
    lambda x: x.mean(3).sum(2) / 16,
    lambda x: x.sum(3).mean(2) / 16,
    lambda x: x.flatten(2).sum(2) / 256,
    lambda x: x.permute(0, 2, 3, 1).sum((1, 2)) / 256,
    lambda x: (x / 256).sum((2, 3)),
    lambda x: torch.einsum("nchw->nc", x) / 256,
    lambda x: (lambda y: y / 256 + (y * 2) / 512)(x.sum((2, 3))),
]
OTHERS = [
    lambda x: x.sum((2, 3)),
    lambda x: x.sum((2, 3)) / 255,
    lambda x: x.sum((2, 3)) / 256.01,
    lambda x: x.sum((2, 3)) / 16,
    lambda x: x.sum((2, 3)) * 256,
    lambda x: 256 / x.sum((2, 3)),
    lambda x: x.sum(3).sum(2) / 16,
    lambda x: torch.relu(x.sum((2, 3))) / 256,
    lambda x: torch.div(x.sum((2, 3)), 256, rounding_mode="floor"),
    lambda x: (lambda y: y / 256 + y)(x.sum((2, 3))),
    lambda x: x.sum((2, 3)) / x.sum((2, 3)),
]


def head(function):
    class Ends(Net):
        def forward(self, x):
            return self.fc(function(self.a(x)))

    return analysis.analyze(Ends(None, a=conv(3, 8)), (3, 16, 16))


@pytest.mark.parametrize("function", AVERAGES)
def test_an_average_however_it_is_written(function):
    facts = head(function)
    assert not facts.head.faults
    assert facts.head.pooling
    assert {(pooling.kind, pooling.whole) for pooling in facts.poolings} == {("average", True)}
    assert (facts.receptive_field.value, facts.receptive_field.status) == (3, "proved")
    assert facts.receptive_field.before == ", ".join(facts.head.pooling)


@pytest.mark.parametrize("function", OTHERS)
def test_a_sum_that_is_no_average(function):
    facts = head(function)
    assert {fault.layer for fault in facts.head.faults} >= {"sum"}
    assert all("without averaging it" in fault.detail for fault in facts.head.faults)
    assert not facts.head.pooling


def test_a_sum_as_the_output_itself():
    class Sums(nn.Module):
        def __init__(self, divisor):
            super().__init__()
            self.a, self.divisor = conv(3, 8), divisor

        def forward(self, x):
            return self.a(x).sum((2, 3)) / self.divisor

    assert not analysis.analyze(Sums(256), (3, 16, 16)).head.faults
    assert analysis.analyze(Sums(64), (3, 16, 16)).head.faults
