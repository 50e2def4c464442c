"""Which convolutions make one layer, which are dilated, which of their taps are dead."""

import pytest
import torch.nn.functional as F
from analysis_networks import SEPARABLE, Net, conv, one_of
from torch import nn

from flyweight import analysis


@pytest.mark.parametrize(("function", "separable"), SEPARABLE)
def test_depthwise_separable(function, separable):
    facts = analysis.analyze(one_of("SEPARABLE", function), (3, 16, 16))
    assert any(layer.separable for layer in facts.convolution_layers) is separable


def test_grouped_convolution_is_not_depthwise():
    facts = analysis.analyze(Net(lambda net, x: net.a(x), channels=4, a=conv(4, 4, groups=2)), (4, 16, 16))
    assert not facts.convolutions[0].depthwise
    assert facts.layers[0].details == "3x3 in 2 groups"
    assert facts.layers[0].parameters == 3 * 3 * 2 * 4 + 4


def test_a_kernel_of_one_pixel_is_not_the_depthwise_half():
    modules = {"scale": nn.Conv2d(3, 3, 1, groups=3), "point": nn.Conv2d(3, 8, 1)}
    facts = analysis.analyze(Net(lambda net, x: net.point(net.scale(x)), **modules), (3, 16, 16))
    assert [layer.separable for layer in facts.convolution_layers] == [False, False]


def test_dilation_of_a_single_tap_is_no_dilation():
    facts = analysis.analyze(Net(lambda net, x: net.a(x), a=nn.Conv2d(3, 8, 1, dilation=4)), (3, 16, 16))
    assert not facts.convolutions[0].dilated


def test_dilation_larger_than_the_map_is_dead():
    facts = analysis.analyze(Net(lambda net, x: net.a(x), a=conv(3, 8, padding=8, dilation=8)), (3, 8, 8))
    # only the centre of nine taps ever sees the 8x8 map
    [dead] = facts.dead_taps
    assert (dead.layer, dead.taps, dead.of, dead.parameters) == ("a", 8, 9, 8 * 3 * 8)
    assert (facts.receptive_field.value, facts.receptive_field.live) == (17, (1, 1))
    assert not facts.convolutions[0].dilated


def test_one_dead_axis_and_padding_before_the_convolution():
    def forward(net, x):
        return net.a(F.pad(x, (1, 1, 6, 6)))

    facts = analysis.analyze(Net(forward, a=nn.Conv2d(3, 8, 3, dilation=(6, 1))), (3, 6, 6))
    [dead] = facts.dead_taps
    assert (dead.taps, dead.parameters) == (6, 6 * 3 * 8)
    assert facts.receptive_field.value == (13, 3)
    assert facts.receptive_field.live == (1, 3)


def test_a_single_tap_is_followed_where_it_stands():
    # the first of two taps sees the map, the second only padding; the sum also reads the pixel itself, 5 to the right
    def forward(net, x):
        return net.a(F.pad(x, (0, 9)))[..., :4] + net.b(x)[..., 5:9]

    network = Net(forward, a=nn.Conv2d(3, 8, (1, 2), dilation=9), b=nn.Conv2d(3, 8, 1))
    found = analysis.analyze(network, (3, 9, 9)).receptive_field
    assert (found.value, found.live) == ((1, 10), (1, 6))


def test_seven_of_eight_is_alive():
    assert not analysis.analyze(Net(lambda net, x: net.a(x), a=conv(3, 8, padding=7, dilation=7)), (3, 8, 8)).dead_taps
