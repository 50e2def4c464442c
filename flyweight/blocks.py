"""Layers with plain arguments. None of them knows a recipe or a network."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Order = Literal["norm-relu", "relu-norm"]


class DepthwiseSeparable(nn.Sequential):
    """A depthwise 3x3 convolution and a pointwise 1x1 one with nothing between them: one layer in two steps.

    A dense 3x3 layer has ``9 * inputs * outputs`` weights, this one ``9 * inputs + inputs * outputs``
    (Howard et al. 2017, "MobileNets", section 3.1). (N, inputs, H, W) -> (N, outputs, H', W').
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, dilation: int = 1, padding: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, padding, dilation, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)


class Residual(nn.Module):
    """A layer and a way around it: ``x + layer(x)``, both of one shape (He et al. 2016)."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return x + self.layer(x)


def convolution_layer(
    inputs: int,
    outputs: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    padding: int | None = None,
    separable: bool = False,
    order: Order = "norm-relu",
    dropout: float | None = None,
) -> nn.Sequential:
    """A 3x3 convolution without bias, normalised and rectified. (N, inputs, H, W) -> (N, outputs, H', W').

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        stride: step between two positions of the kernel, in pixels.
        dilation: distance between two taps of the kernel, in pixels.
        padding: zeros on each side; none: as many as keep the size at stride 1.
        separable: depthwise separable instead of dense.
        order: batch norm before or after the ReLU.
        dropout: probability of the Dropout at the end; none: there is no such layer.
    """
    padding = dilation if padding is None else padding
    convolution = (
        DepthwiseSeparable(inputs, outputs, stride, dilation, padding)
        if separable
        else nn.Conv2d(inputs, outputs, 3, stride, padding, dilation, bias=False)
    )
    norm, relu = nn.BatchNorm2d(outputs), nn.ReLU()
    steps: list[nn.Module] = [convolution, norm, relu] if order == "norm-relu" else [convolution, relu, norm]
    if dropout is not None:
        steps.append(nn.Dropout(dropout))
    return nn.Sequential(*steps)


def normalize(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Pixels as a network wants them; training, evaluation and prediction all come through here.

    Args:
        images: (N, H, W, C) uint8.
        mean: of each channel, in 0 to 1.
        std: of each channel, in 0 to 1.

    Returns:
        (N, C, H, W) float32 in the channels-last memory format, which the layout of `images` gives for free.
    """
    scale = torch.tensor([1 / (255 * s) for s in std], device=images.device)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=images.device)
    return torch.addcmul(shift, images.float(), scale).permute(0, 3, 1, 2)
