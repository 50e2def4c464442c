"""Layers with plain arguments. None of them knows a recipe or a network."""

from __future__ import annotations

from typing import Literal

import numpy as np
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


class Dropout(nn.Dropout):
    """Dropout whose masks are drawn fast on a CPU.

    There torch draws one Bernoulli number a value, one after the other: 40 % of a training step of the course network.
    Here 64 random bits from SFC64 decide about four values at once. Everything still follows from torch's generator,
    which seeds each mask. The probability is rounded to 1/32768.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape; each value is zero with probability p, the others are divided by 1 - p."""
        if not (self.training and self.p and x.device.type == "cpu" and x.dtype in _BITS and _dense(x)):
            return super().forward(x)
        return x * _dropout_mask(x, self.p)


# the integer type as wide as a floating one, to build numbers from their bits
_BITS = {torch.float32: torch.int32, torch.bfloat16: torch.int16, torch.float16: torch.int16}


def _dense(x: Tensor) -> bool:
    return x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)


def _dropout_mask(x: Tensor, p: float) -> Tensor:
    """Zeros with probability p and 1 / (1 - p) elsewhere, in the shape, layout and type of x."""
    steps = round((1 - p) * 2**15)
    if steps == 0:
        return torch.zeros_like(x)
    seed = int(torch.randint(2**63 - 1, ()).item())
    words = np.random.Generator(np.random.SFC64(seed)).integers(2**64, size=-(-x.numel() // 4), dtype=np.uint64)
    lanes = torch.from_numpy(words.view(np.int16))[: x.numel()]
    # 15 bits, -2^14 to 2^14 - 1: after the subtraction the sign says whether the value stays, and fills the lane
    lanes.bitwise_right_shift_(1).sub_(steps - 2**14).bitwise_right_shift_(15)
    scale = torch.tensor(2**15 / steps, dtype=x.dtype).view(_BITS[x.dtype])
    bits = lanes.to(_BITS[x.dtype]).bitwise_and_(scale)
    return bits.view(x.dtype).as_strided(x.size(), x.stride())


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
    norm, relu = nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    steps: list[nn.Module] = [convolution, norm, relu] if order == "norm-relu" else [convolution, relu, norm]
    if dropout is not None:
        steps.append(Dropout(dropout))
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
