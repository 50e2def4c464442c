from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from flyweight import explain, model
from flyweight.blocks import Residual
from flyweight.checkpoint import Card, Trained
from flyweight.config import ModelConfig


class Colours(nn.Module):
    """Its map is the picture; class 0 is the mean of red less that of blue, class 1 is the mean of blue."""

    def __init__(self):
        super().__init__()
        self.map = nn.Conv2d(3, 3, 1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.head = nn.Linear(3, 2, bias=False)
        with torch.no_grad():
            self.map.weight.copy_(torch.eye(3)[..., None, None])
            self.head.weight.copy_(torch.tensor([[1.0, 0.0, -1.0], [0.0, 0.0, 1.0]]))

    def forward(self, x):
        return self.head(self.norm(self.map(x)).mean((2, 3)))


def trained(network):
    card = Card("net", None, ("a", "b"), (3, 8, 8), (0.0,) * 3, (1.0,) * 3, "digits", "", 1)
    return Trained(network, card, Path())


def test_the_map_is_where_the_class_comes_from():
    # dY/dA is the head's weight over the number of places, the same everywhere: class 0's map is max(0, red - blue)
    images = np.zeros((2, 8, 8, 3), np.uint8)
    images[0, :4, :4, 0], images[0, 4:, 4:, 2] = 255, 255
    images[1, 2, 3, 2] = 200
    red, blue = explain.gradcam(trained(Colours()), images, [0, 1])
    assert red == pytest.approx(images[0, :, :, 0] / 255, abs=1e-5)
    assert blue == pytest.approx(images[1, :, :, 2] / 200, abs=1e-5)
    # nothing in the second picture speaks for class 0
    assert not explain.gradcam(trained(Colours()), images[1:], [0]).any()


def test_the_network_is_given_back_as_it_was():
    network = model.build(ModelConfig(network="course"))
    network.c2.eval()
    modes = [module.training for module in network.modules()]
    state = {key: value.clone() for key, value in network.state_dict().items()}
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    maps = explain.gradcam(trained(network), images, [3, 4])
    assert maps.shape == (2, 32, 32)
    assert maps.min() >= 0
    assert maps.max() <= 1
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert not any(module._backward_hooks for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_hooks_go_when_the_network_fails():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(7, 2))
    with pytest.raises(RuntimeError):
        explain.gradcam(trained(network), np.zeros((1, 8, 8, 3), np.uint8), [0])
    assert not any(module._forward_hooks for module in network.modules())
    assert network.training


@pytest.mark.parametrize("name", model.NETWORKS)
def test_in_a_table_network_it_is_the_last_block(name):
    network = model.build(ModelConfig(network=name))
    assert explain.last_map(network, torch.zeros(2, 3, 32, 32)) is network.c4


def test_of_a_residual_layer_the_sum_is_taken():
    network = nn.Sequential(Residual(nn.Conv2d(3, 3, 3, padding=1)), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert explain.last_map(network, torch.zeros(1, 3, 8, 8)) is network[0]


def test_a_network_without_a_map_has_nothing_to_show():
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    assert explain.gradcam(trained(network), np.zeros((1, 8, 8, 3), np.uint8), [0]) is None
