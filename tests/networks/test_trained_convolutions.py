"""Convolutions say in training what torch's own say, whichever way they are computed."""

import pytest
import torch
from torch import nn

from flyweight.networks.convolutions import DepthwiseConv2d, Geometry, Phase, PhaseConv2d, convolution
from flyweight.networks.layers import KINDS, convolution_layer


# (kernel, stride, padding, dilation): phases of one size and of several, paddings that are and are no multiple
@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("size", "geometry"),
    [
        ((9, 12), (3, 2, 1, 1)),
        ((8, 8), (3, 2, 2, 2)),
        ((8, 8), (3, 1, 2, 2)),
        ((9, 12), (3, 1, 2, 2)),
        ((9, 12), (3, 1, 0, 2)),
        ((7, 8), (3, 1, 3, 2)),
        ((10, 9), (5, 1, 4, 2)),
        ((4, 4), (3, 1, 4, 4)),
        ((13, 6), (3, 1, 3, 3)),
        ((6, 6), (1, 1, 0, 2)),
    ],
)
def test_a_depthwise_convolution_answers_and_learns_as_torchs_own(size, geometry, layout, low):
    torch.manual_seed(0)
    kernel, stride, padding, dilation = geometry
    layer = convolution(6, 6, Geometry(kernel, stride, dilation, padding), groups=6)
    assert type(layer) is DepthwiseConv2d
    plain = layer.whole()
    assert type(plain) is nn.Conv2d
    x = torch.randn(2, 6, *size).to(memory_format=layout).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        for mode in (True, False):
            layer.train(mode)
            assert layer(x).dtype == (torch.bfloat16 if low else torch.float32)
            torch.testing.assert_close(layer(x), plain(x))
        learnt = layer.train()(x).float().square().sum(), plain(x).float().square().sum()
    ours = torch.autograd.grad(learnt[0], (layer.weight, x))
    of_torch = torch.autograd.grad(learnt[1], (plain.weight, x))
    for one, other in zip(ours, of_torch, strict=True):
        scale = other.abs().max().item()
        torch.testing.assert_close(one, other, **({"atol": 0.02 * scale, "rtol": 0} if low else {}))


def test_a_dilation_that_reaches_over_the_whole_map_is_an_error_as_of_torchs_own():
    layer = convolution(6, 6, Geometry(dilation=4, padding=1), groups=6)
    for one in (layer, layer.whole()):
        with pytest.raises(RuntimeError, match="Kernel size can't be greater than actual input size"):
            one(torch.randn(2, 6, 6, 6))


@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize(
    ("geometry", "asked"),
    [
        (Geometry(stride=2), {False: (2, 1), True: (1, 1)}),
        (Geometry(dilation=2, padding=2), {False: (1, 1), True: (1, 1)}),
    ],
)
def test_no_kernel_is_asked_that_learns_slowly(monkeypatch, geometry, asked, low):
    told = []
    plain = nn.functional.conv2d
    monkeypatch.setattr(nn.functional, "conv2d", lambda *a: told.append((a[3], a[5])) or plain(*a))
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        convolution(6, 6, geometry, groups=6)(torch.randn(2, 6, 8, 8))
    assert told == [asked[low]]


@pytest.mark.parametrize(("padding", "side"), [(2, 16), (0, 14)])
@pytest.mark.parametrize("kind", list(KINDS))
def test_in_training_a_convolution_computes_one_phase_of_what_it_says_in_eval_mode(padding, side, kind):
    torch.manual_seed(0)
    first = convolution_layer("dense", 3, 8, Geometry(phase=Phase(1, 2)))
    second = convolution_layer(kind, 8, 8, Geometry(dilation=2, padding=padding, phase=Phase(2, 1)))
    network = nn.Sequential(first, second).eval()
    x = torch.randn(2, 3, 32, 32)
    whole = network(x)
    phases = {(top, left): whole[:, :, top::2, left::2] for top in range(2) for left in range(2)}
    for module in network.modules():
        if isinstance(module, PhaseConv2d):
            module.train()
    seen = set()
    for _ in range(40):
        part = network(x)
        assert part.shape == (2, 8, side, side)
        seen |= {place for place, phase in phases.items() if torch.allclose(part, phase, atol=1e-5)}
    assert seen == set(phases)
