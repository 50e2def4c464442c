"""Layers with plain arguments. None of them knows a recipe or a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from flyweight.machine.together import Share
from flyweight.networks.convolutions import Geometry, convolution


def dense(inputs: int, outputs: int, geometry: Geometry) -> nn.Conv2d:
    """A convolution over all channels: ``kernel^2 * inputs * outputs`` weights."""
    return convolution(inputs, outputs, geometry)


class DepthwiseSeparable(nn.Sequential):
    """A depthwise convolution and a pointwise 1x1 one with nothing between them: one layer in two steps.

    A dense 3x3 layer has ``9 * inputs * outputs`` weights, this one ``9 * inputs + inputs * outputs``
    (Howard et al. 2017, "MobileNets", section 3.1). (N, inputs, H, W) -> (N, outputs, H', W').
    """

    def __init__(self, inputs: int, outputs: int, geometry: Geometry) -> None:
        super().__init__()
        self.depthwise = convolution(inputs, inputs, geometry, groups=inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)


KINDS: dict[str, Callable[[int, int, Geometry], nn.Module]] = {
    "dense": dense,
    "separable": DepthwiseSeparable,
}
"""What a row of a network's table may be: (inputs, outputs, geometry) to a module (N, inputs, H, W) -> (N, outputs, \
H', W') that counts as one convolution layer. It is followed by batch norm and ReLU."""


class Dropout(nn.Dropout):
    """Dropout whose masks are drawn fast on a CPU.

    There torch draws one Bernoulli number a value, one after the other: 40 % of a training step of the course network.
    Here 64 random bits from SFC64 decide about four values at once. Everything still follows from torch's generator,
    which seeds each mask. The probability is rounded to 1/32768.

    Attributes:
        share: which images of the batch the layer is given, where several processes share it; each draws the mask of
            the whole batch and takes its part. None: all.
    """

    share: Share | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape; each value is zero with probability p, the others are divided by 1 - p."""
        if not (self.training and self.p and x.device.type == "cpu" and x.dtype in _BITS and _dense(x)):
            return super().forward(x)
        return x * _dropout_mask(x, self.p, self.share)


# the integer type as wide as a floating one, to build numbers from their bits
_BITS = {
    torch.float64: torch.int64,
    torch.float32: torch.int32,
    torch.bfloat16: torch.int16,
    torch.float16: torch.int16,
}


def _dense(x: Tensor) -> bool:
    return x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)


def _dropout_mask(x: Tensor, p: float, share: Share | None = None) -> Tensor:
    """Zeros with probability p and 1 / (1 - p) elsewhere, in the shape, layout and type of x.

    Args:
        x: (N, ...), dense.
        p: the probability.
        share: the places of the N images in a larger batch, whose mask is drawn; none: there is no larger one.
    """
    steps = round((1 - p) * 2**15)
    if steps == 0:
        return torch.zeros_like(x)
    seed = int(torch.randint(2**63 - 1, ()).item())
    images = len(x) if share is None else share.size
    count = x.numel() // len(x) * images
    words = np.random.Generator(np.random.SFC64(seed)).integers(2**64, size=-(-count // 4), dtype=np.uint64)
    lanes = torch.from_numpy(words.view(np.int16))[:count]
    if share is not None:
        # in both layouts an image's values lie together
        lanes = lanes.view(images, -1)[torch.from_numpy(share.places)].flatten()
    # 15 bits, -2^14 to 2^14 - 1: after the subtraction the sign says whether the value stays, and fills the lane
    lanes.bitwise_right_shift_(1).sub_(steps - 2**14).bitwise_right_shift_(15)
    scale = torch.tensor(2**15 / steps, dtype=x.dtype).view(_BITS[x.dtype])
    bits = lanes.to(_BITS[x.dtype]).bitwise_and_(scale)
    return bits.view(x.dtype).as_strided(x.size(), x.stride())


class GlobalAvgPool2d(nn.AdaptiveAvgPool2d):
    """The mean of each channel over the whole map, whose gradient leaves the map's layout alone.

    Torch's own mean hands back a gradient that is no longer channels-last, so that the ReLU before it reads it
    crosswise: the way back through pooling, ReLU and batch norm takes four times as long on a CPU as with a sum,
    divided afterwards, whose gradient is one number a channel and lies in no order.
    """

    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, 1, 1)."""
        if not self.training:
            return super().forward(x)
        return x.sum((2, 3), keepdim=True) / (x.shape[2] * x.shape[3])


class Residual(nn.Module):
    """A layer and a way around it: ``x + layer(x)``, both of one shape (He et al. 2016)."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return x + self.layer(x)


def convolution_layer(
    kind: str,
    inputs: int,
    outputs: int,
    geometry: Geometry,
    *,
    order: Literal["norm-relu", "relu-norm"] = "norm-relu",
    dropout: float | None = None,
) -> nn.Sequential:
    """A layer without bias, normalised and rectified. (N, inputs, H, W) -> (N, outputs, H', W').

    Args:
        kind: a key of :data:`KINDS`.
        inputs: channels that come in.
        outputs: channels that go out.
        geometry: where it reads.
        order: batch norm before or after the ReLU.
        dropout: probability of the Dropout at the end; none: there is no such layer.
    """
    norm, relu = nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    steps: list[nn.Module] = [KINDS[kind](inputs, outputs, geometry)]
    steps += [norm, relu] if order == "norm-relu" else [relu, norm]
    if dropout is not None:
        steps.append(Dropout(dropout))
    return nn.Sequential(*steps)
