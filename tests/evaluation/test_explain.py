from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from flyweight import analysis
from flyweight.data.cifar10 import SPEC
from flyweight.evaluation import explain
from flyweight.networks import builtin
from flyweight.networks.build import build
from flyweight.networks.layers import Residual
from flyweight.recipes.sections import ModelConfig
from flyweight.runs.card import Card, Trained


class Colours(nn.Module):
    """Its map is the image; class 0 is the mean of red less that of blue, class 1 is the mean of blue."""

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
    # nothing in the second image speaks for class 0
    assert not explain.gradcam(trained(Colours()), images[1:], [0]).any()


class Found(nn.Module):
    """One class, which the places of a map speak for as strongly as they are red."""

    def __init__(self, *convolutions):
        super().__init__()
        self.map = nn.Sequential(*convolutions)
        for layer in convolutions:
            # only the middle tap reads: the map is the image, seen every few pixels or without its border
            with torch.no_grad():
                layer.weight.zero_()[:, :, 1, 1] = torch.eye(3)
        self.head = nn.Linear(3, 1, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[1.0, 0.0, 0.0]]))

    def forward(self, x):
        return self.head(self.map(x).mean((2, 3)))


@pytest.mark.parametrize(
    "options",
    [
        [{"padding": 1}],
        # the map is the inner 16 of 24 pixels: stretched over all of them it would lie up to 3 pixels off
        [{"dilation": 4}],
        # and here only what lies below and right of the middle is cut off
        [{"stride": 2, "padding": 1}],
        [{"stride": 2, "padding": 1}, {"dilation": 2}],
    ],
)
def test_the_map_lies_where_its_pixels_are(options):
    network = Found(*(nn.Conv2d(3, 3, 3, bias=False, **each) for each in options))
    images = np.zeros((1, 24, 24, 3), np.uint8)
    images[0, 8, 12, 0] = 255
    [seen] = explain.gradcam(trained(network), images, [0])
    assert np.unravel_index(seen.argmax(), seen.shape) == (8, 12)
    rows, columns = np.indices(seen.shape)
    assert (seen * rows).sum() / seen.sum() == pytest.approx(8, abs=1e-4)
    assert (seen * columns).sum() / seen.sum() == pytest.approx(12, abs=1e-4)


def test_beyond_the_outermost_places_the_map_goes_on():
    network = Found(nn.Conv2d(3, 3, 3, bias=False, dilation=4))
    images = np.zeros((1, 24, 24, 3), np.uint8)
    images[0, 4, :, 0] = 255
    [seen] = explain.gradcam(trained(network), images, [0])
    assert seen[:5] == pytest.approx(1, abs=1e-5)
    assert seen[5:] == pytest.approx(0, abs=1e-5)


class Strange(nn.Module):
    """A map whose pixels the analysis cannot follow: its columns are moved by a table."""

    def __init__(self):
        super().__init__()
        self.map = nn.Conv2d(3, 3, 3, stride=2, padding=1)
        self.last = nn.Conv2d(3, 3, 1)
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        return self.head(self.last(self.map(x)[:, :, :, torch.tensor([3, 0, 1, 2])]).mean((2, 3)))


def test_a_map_whose_pixels_are_not_known_is_stretched():
    network = Strange()
    assert analysis.centres(network, (3, 8, 8), network.last) is None
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    maps = explain.gradcam(trained(network), images, [0, 1])
    assert maps.shape == (2, 8, 8)
    assert maps.max() <= 1


def test_the_network_is_given_back_as_it_was():
    network = build(ModelConfig(network="course"), SPEC)
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


@pytest.mark.parametrize("name", builtin.NETWORKS)
def test_in_a_table_network_it_is_the_last_block(name):
    network = build(ModelConfig(network=name), SPEC)
    assert explain.last_map(network, torch.zeros(2, 3, 32, 32)) is network.c4


def test_of_a_residual_layer_the_sum_is_taken():
    network = nn.Sequential(Residual(nn.Conv2d(3, 3, 3, padding=1)), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert explain.last_map(network, torch.zeros(1, 3, 8, 8)) is network[0]


def test_a_network_without_a_map_has_nothing_to_show():
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    assert explain.gradcam(trained(network), np.zeros((1, 8, 8, 3), np.uint8), [0]) is None
