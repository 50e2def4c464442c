"""Parameters: whose they are, which are counted, which lead nowhere."""

import faulty_networks
import torch
import torch.nn.functional as F
from analysis_networks import Net, PlainlyHeld, conv
from torch import nn

from flyweight import analysis


def test_unreached_layers():
    def forward(net, x):
        net.lost(x)
        return net.a(x)

    facts = analysis.analyze(Net(forward, a=conv(3, 8), lost=conv(3, 4, bias=False), never=conv(3, 2)), (3, 16, 16))
    assert [(u.layer, u.parameters) for u in facts.unreached] == [("lost", 108), ("never", 56)]
    assert "never ran" in facts.unreached[1].reason
    assert "does not reach" in facts.unreached[0].reason


# --- parameters, sharing, state


def test_reused_module_is_counted_once_and_runs_twice():
    facts = analysis.analyze(Net(lambda net, x: net.b(net.b(net.a(x))), a=conv(3, 8), b=conv(8, 8)), (3, 16, 16))
    rows = [layer for layer in facts.layers if layer.name == "b"]
    assert [row.parameters for row in rows] == [584, 0]
    assert [row.macs for row in rows] == [147_456, 147_456]
    assert facts.parameters == sum(layer.parameters for layer in facts.layers) == 224 + 584 + 90
    assert facts.receptive_field.value == 7


def test_parameters_of_functional_layers():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 3, 3, 3))
            self.scale = nn.Parameter(torch.ones(1, 8, 1, 1))

        def forward(self, x):
            centred = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            return (F.relu(F.conv2d(x, centred)) * self.scale).mean((2, 3))

    facts = analysis.analyze(Functional(), (3, 16, 16))
    assert [(layer.name, layer.parameters) for layer in facts.layers] == [
        ("conv", 216),
        ("relu", 0),
        ("mul", 8),
        ("mean", 0),
    ]
    assert facts.macs == 14 * 14 * 216


def test_frozen_parameters_count_too():
    network = faulty_networks.Sound()
    network.c1.requires_grad_(False)
    facts = analysis.analyze(network, (3, 32, 32))
    assert facts.parameters - facts.trainable_parameters == 216 + 576 + 1152 + 2 * (8 + 8 + 16)


def test_weights_that_are_not_registered_are_told_apart():
    network = PlainlyHeld()
    facts = analysis.analyze(network, (3, 16, 16))
    assert facts.parameters == 224
    assert [(held.layer, held.parameters) for held in facts.unregistered] == [
        ("inner.layers", 600),
        ("frozen", 576),
        ("scale", 8),
        ("made", 64),
        ("mul_3", 8),
    ]
    assert not facts.unknown
    norm = network.inner.layers["wide"][1]
    assert norm.training
    assert not norm.running_mean.any()


def test_weights_that_are_made_from_registered_ones_are_registered():
    def parametrized(net, x):
        return net.b(net.a(x) * net.scale)

    normed = nn.utils.parametrizations.weight_norm(conv(8, 8))
    network = Net(parametrized, a=conv(3, 8), b=normed)
    network.scale = nn.Parameter(torch.ones(8, 1, 1))
    network.list = [network.a]
    assert analysis.analyze(network, (3, 16, 16)).unregistered == ()
