"""What pools, by whatever operators a network writes it."""

import pytest
import torch.nn.functional as F
from analysis_networks import FEATURE_MAXIMA, MAXIMA, UNSURE_MAXIMA, Net, conv, one_of

from flyweight import analysis


def test_pooling_kinds():
    def forward(net, x):
        return net.a(F.avg_pool2d(F.max_pool2d(x, 2), 2)[:, :, ::2])

    facts = analysis.analyze(Net(forward, a=conv(3, 8)), (3, 32, 32))
    found = [(pooling.kind, pooling.whole) for pooling in facts.poolings]
    assert found == [("max", False), ("average", False), ("subsampling", False), ("average", True)]


@pytest.mark.parametrize("function", MAXIMA)
def test_a_maximum_over_space_is_found_however_it_is_written(function):
    facts = analysis.analyze(one_of("MAXIMA", function), (3, 32, 32))
    assert ("max", True) in [(pooling.kind, pooling.known) for pooling in facts.poolings]


@pytest.mark.parametrize("function", UNSURE_MAXIMA)
def test_a_maximum_over_what_is_not_known_is_not_sure(function):
    facts = analysis.analyze(one_of("UNSURE_MAXIMA", function), (3, 32, 32))
    assert ("max", False) in [(pooling.kind, pooling.known) for pooling in facts.poolings]


@pytest.mark.parametrize("function", FEATURE_MAXIMA)
def test_a_maximum_over_features_is_no_pooling(function):
    facts = analysis.analyze(one_of("FEATURE_MAXIMA", function), (3, 32, 32))
    assert [(pooling.kind, pooling.whole) for pooling in facts.poolings] == [("average", True)]
