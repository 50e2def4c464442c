"""Forms in which networks are written, and what each operator does to positions."""

import faulty_networks
import pytest
import torch
import torch.nn.functional as F
from analysis_networks import FORMS, Net, conv, field
from torch import nn

from flyweight import analysis
from flyweight.data.cifar10 import SPEC
from flyweight.networks import builtin
from flyweight.networks.build import build
from flyweight.recipes.sections import ModelConfig


def test_depthwise_dilation_moved_into_the_batch():
    def forward(net, x):
        batch, channels, height, width = x.shape
        x = x.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 3, 5, 1, 2, 4)
        x = net.spread(x.reshape(batch * 4, channels, height // 2, width // 2))
        x = x.view(batch, 2, 2, channels, height // 2, width // 2).permute(0, 3, 4, 1, 5, 2)
        return net.point(x.reshape(batch, channels, height, width))

    network = Net(forward, spread=conv(3, 3, groups=3), point=nn.Conv2d(3, 8, 1))
    facts = analysis.analyze(network, (3, 32, 32))
    assert (facts.receptive_field.value, facts.receptive_field.status) == (5, "proved")
    assert facts.convolutions[0].dilation == (2, 2)
    assert facts.convolutions[0].dilated


@pytest.mark.parametrize("name", builtin.NETWORKS)
def test_channels_last_changes_no_fact(name):
    network = build(ModelConfig(network=name), SPEC)
    plain = analysis.analyze(network, (3, 32, 32))
    last = analysis.analyze(network.to(memory_format=torch.channels_last), (3, 32, 32))
    assert last.receptive_field.status == "proved"
    assert last == plain


def test_normalisation_of_channels_between_two_permutes():
    # the second permute leaves a map in channels-last behind, as the pooling finds it in a ConvNeXt
    class Normed(faulty_networks.Sound):
        def forward(self, x):
            y = self.features(x).permute(0, 2, 3, 1)
            return self.fc(self.pool(F.layer_norm(y, (64,)).permute(0, 3, 1, 2)).flatten(1))

    facts = analysis.analyze(Normed(), (3, 32, 32))
    assert (facts.receptive_field.value, facts.receptive_field.status) == (75, "proved")
    assert facts.head.pooling == ("pool",)
    assert not facts.unknown
    assert facts.macs == analysis.analyze(faulty_networks.Sound(), (3, 32, 32)).macs


def test_strides_of_ones_own_are_not_understood():
    # a map of one pixel that lies in a larger one: other strides read its neighbours
    facts = analysis.analyze(
        Net(lambda net, x: net.a(x)[:, :, :1, :1].as_strided((1, 8, 1, 1), (8, 1, 8, 8)), a=conv(3, 8)), (3, 16, 16)
    )
    assert [unknown.operator for unknown in facts.unknown] == ["as_strided"]


def test_channels_last_and_linear_layers_as_in_convnext():
    def forward(net, x):
        y = net.spread(x).permute(0, 2, 3, 1)
        return x + net.down(F.gelu(net.up(net.norm(y)))).permute(0, 3, 1, 2)

    modules = {
        "spread": conv(8, 8, 7, groups=8),
        "norm": nn.LayerNorm(8),
        "up": nn.Linear(8, 32),
        "down": nn.Linear(32, 8),
    }
    network = Net(lambda net, x: forward(net, net.stem(x)), stem=nn.Conv2d(3, 8, 4, 4), **modules)
    facts = analysis.analyze(network, (3, 32, 32))
    assert (facts.receptive_field.value, facts.receptive_field.status) == (4 + 6 * 4, "proved")
    assert facts.receptive_field.gathered == ()
    assert facts.macs == 8 * 8 * (48 * 8 + 49 * 8 + 2 * 8 * 32) + 80


@pytest.mark.parametrize(("function", "modules", "expected"), FORMS)
def test_forms(function, modules, expected):
    found = field(function, **modules)
    assert (found.value, found.status) == (expected, "proved")
