import numpy as np
import pytest
import torch
from torch import nn

from flyweight.blocks import DepthwiseSeparable, Residual, convolution_layer, normalize


@pytest.mark.parametrize(
    ("options", "side"),
    [
        ({}, 32),
        ({"stride": 2}, 16),
        ({"dilation": 2}, 32),
        ({"dilation": 4, "padding": 0}, 24),  # 32 - 2 * 4
        ({"separable": True}, 32),
        ({"separable": True, "stride": 2}, 16),
    ],
)
def test_size_of_a_layers_output(options, side):
    layer = convolution_layer(8, 12, **options)
    assert layer(torch.randn(2, 8, 32, 32)).shape == (2, 12, side, side)


def test_parameters_of_a_dense_and_of_a_separable_layer():
    def count(layer):
        return sum(parameter.numel() for parameter in layer.parameters())

    assert count(convolution_layer(32, 48)) == 9 * 32 * 48 + 2 * 48
    assert count(convolution_layer(32, 48, separable=True)) == 9 * 32 + 32 * 48 + 2 * 48


def test_the_order_and_the_dropout_are_as_asked():
    kinds = [type(step) for step in convolution_layer(3, 8, order="relu-norm", dropout=0.0)]
    assert kinds == [nn.Conv2d, nn.ReLU, nn.BatchNorm2d, nn.Dropout]
    assert [type(step) for step in convolution_layer(3, 8)] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]


def test_a_separable_layer_equals_its_dense_equivalent():
    layer = DepthwiseSeparable(4, 6)
    # the product of the two kernels is the dense kernel: w[o, i, y, x] = pointwise[o, i] * depthwise[i, y, x]
    dense = layer.pointwise.weight * layer.depthwise.weight[:, 0][None]
    x = torch.randn(2, 4, 9, 9)
    torch.testing.assert_close(layer(x), nn.functional.conv2d(x, dense, padding=1))


def test_a_residual_adds_its_input():
    x = torch.randn(2, 3, 5, 5)
    torch.testing.assert_close(Residual(nn.Identity())(x), 2 * x)


def test_normalize_gives_mean_zero_and_standard_deviation_one_in_channels_last():
    images = np.random.default_rng(0).integers(0, 256, (50, 8, 6, 3), dtype=np.uint8)
    scaled = images / 255
    mean, std = scaled.mean((0, 1, 2)), scaled.std((0, 1, 2))
    result = normalize(torch.from_numpy(images), tuple(mean), tuple(std))
    assert result.shape == (50, 3, 8, 6)
    assert result.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(
        result.double(), torch.from_numpy(((scaled - mean) / std).transpose(0, 3, 1, 2)), atol=1e-5, rtol=1e-5
    )
