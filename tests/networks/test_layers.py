import numpy as np
import pytest
import torch
from torch import nn

from flyweight.images.preprocess import normalize
from flyweight.networks.convolutions import Geometry
from flyweight.networks.layers import (
    DepthwiseSeparable,
    Dropout,
    GlobalAvgPool2d,
    Residual,
    convolution_layer,
)


@pytest.mark.parametrize(
    ("kind", "options", "side"),
    [
        ("dense", {}, 32),
        ("dense", {"stride": 2}, 16),
        ("dense", {"dilation": 2, "padding": 2}, 32),
        ("dense", {"dilation": 4, "padding": 0}, 24),  # 32 - 2 * 4
        ("dense", {"kernel": 1, "padding": 0}, 32),
        ("separable", {}, 32),
        ("separable", {"stride": 2}, 16),
        ("separable", {"kernel": 7, "padding": 3}, 32),
        ("separable", {"kernel": 5, "dilation": 2, "padding": 0}, 24),  # 32 - 2 * 4
    ],
)
def test_size_of_a_layers_output(kind, options, side):
    layer = convolution_layer(kind, 8, 12, Geometry(**options))
    assert layer(torch.randn(2, 8, 32, 32)).shape == (2, 12, side, side)


def test_parameters_of_a_dense_and_of_a_separable_layer():
    def count(layer):
        return sum(parameter.numel() for parameter in layer.parameters())

    assert count(convolution_layer("dense", 32, 48, Geometry())) == 9 * 32 * 48 + 2 * 48
    assert count(convolution_layer("separable", 32, 48, Geometry())) == 9 * 32 + 32 * 48 + 2 * 48


def test_the_order_and_the_dropout_are_as_asked():
    kinds = [type(step) for step in convolution_layer("dense", 3, 8, Geometry(), order="relu-norm", dropout=0.0)]
    assert kinds == [nn.Conv2d, nn.ReLU, nn.BatchNorm2d, Dropout]
    assert [type(step) for step in convolution_layer("dense", 3, 8, Geometry())] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]


def test_a_separable_layer_equals_its_dense_equivalent():
    layer = DepthwiseSeparable(4, 6, Geometry())
    # the product of the two kernels is the dense kernel: w[o, i, y, x] = pointwise[o, i] * depthwise[i, y, x]
    dense = layer.pointwise.weight * layer.depthwise.weight[:, 0][None]
    x = torch.randn(2, 4, 9, 9)
    torch.testing.assert_close(layer(x), nn.functional.conv2d(x, dense, padding=1))


def test_a_residual_adds_its_input():
    x = torch.randn(2, 3, 5, 5)
    torch.testing.assert_close(Residual(nn.Identity())(x), 2 * x)


def test_global_average_pooling_is_the_mean_in_training_and_in_eval_mode():
    x = torch.randn(3, 5, 7, 4)
    for pool in (GlobalAvgPool2d(), GlobalAvgPool2d().eval()):
        torch.testing.assert_close(pool(x), x.mean((2, 3), keepdim=True))
    torch.testing.assert_close(GlobalAvgPool2d()(torch.ones(2, 3, 8, 8)), torch.ones(2, 3, 1, 1))


def test_the_gradient_of_global_average_pooling_lies_channels_last_and_is_that_of_the_mean():
    x = torch.randn(4, 6, 8, 8).to(memory_format=torch.channels_last).requires_grad_()
    (ours,) = torch.autograd.grad(GlobalAvgPool2d()(x).square().sum(), x)
    (of_torch,) = torch.autograd.grad(nn.AdaptiveAvgPool2d(1)(x).square().sum(), x)
    # channels are neighbours; of torch's mean they lie 64 numbers apart
    assert ours.stride(1) == 1
    torch.testing.assert_close(ours, of_torch)


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.999, 1.0])
def test_dropout_drops_with_its_probability_and_keeps_the_mean(dtype, p):
    torch.manual_seed(0)
    x = torch.ones(64, 16, 31, 33, dtype=dtype)
    result = Dropout(p)(x)
    count = x.numel()
    dropped = (result == 0).sum().item()
    # five standard deviations of a binomial, and half a step of the rounding
    assert abs(dropped - p * count) <= 5 * (count * p * (1 - p)) ** 0.5 + count / 2**16
    assert set(result.unique().tolist()) <= {
        0.0,
        torch.tensor(2**15 / max(1, round((1 - p) * 2**15)), dtype=dtype).item(),
    }


def test_dropout_decides_about_each_value_by_itself():
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(4096, 64)) != 0).double()
    # correlations between the 64 columns, 4,096 rows: standard deviation 1/64
    correlation = torch.corrcoef(kept.T) - torch.eye(64)
    assert correlation.abs().max() < 6 / 64


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_dropout_keeps_the_layout_and_the_gradient_goes_where_the_value_went(layout):
    torch.manual_seed(0)
    x = torch.rand(4, 8, 6, 5).add(1).to(memory_format=layout).requires_grad_()
    result = Dropout(0.3)(x)
    assert result.is_contiguous(memory_format=layout)
    result.sum().backward()
    torch.testing.assert_close(x.grad * x.detach(), result.detach())


def test_dropout_follows_torchs_generator():
    x = torch.ones(1000)
    torch.manual_seed(1)
    first, second = Dropout(0.5)(x), Dropout(0.5)(x)
    torch.manual_seed(1)
    assert torch.equal(Dropout(0.5)(x), first)
    assert not torch.equal(first, second)


def test_dropout_does_nothing_in_eval_mode_and_takes_any_layout():
    x = torch.rand(6, 8)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.5)(x.T[::2]).shape == (4, 6)
