"""Layers with plain arguments. None of them knows a recipe or a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from flyweight.machine.together import Share


@dataclass(frozen=True)
class Phase:
    """Which part of a dilated map a layer computes in a training step, see :class:`PhaseConv2d`.

    Attributes:
        spacing: distance in pixels of the whole map between the neighbours that the layer is given.
        stride: the layer's step from one of them to the next; the places between are left out.
    """

    spacing: int = 1
    stride: int = 1


class PhaseConv2d(nn.Conv2d):
    """A dilated network's convolution: in training one phase of its output, drawn at random; in eval mode all of it.

    Where all that follows is dilated by a multiple of k, two pixels meet again before the global pooling only if their
    rows and their columns differ by multiples of k. The map falls into k * k phases, and each of them is what a
    network with stride k makes of the image moved by some pixels. So one phase is enough to learn the weights, at
    1/k^2 of the cost, while the whole map answers with the mean of all phases. The convolution before the map falls
    apart takes steps of k from a random place, and those after it find their dilation divided by k. Zero padding
    commutes with this: what a phase is given is exactly its part of the whole map.

    (N, inputs, H, W) -> (N, outputs, H', W'); in training H and W are a phase's.

    Source: the decomposition is old (Holschneider et al. 1990, the algorithme à trous; Sermanet et al. 2013,
    "OverFeat", section 3.3; Long et al. 2015, "Fully convolutional networks", section 3.2). To learn from one phase,
    drawn anew in each step, is this project's.

    Attributes:
        phase: which part of the map it computes.
        offset: top and left of the phase that is computed; None: drawn in each forward pass.
    """

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int, padding: int, dilation: int, groups: int, phase: Phase
    ) -> None:
        super().__init__(inputs, outputs, kernel, 1, padding, dilation, groups, bias=False)
        self.phase = phase
        self.offset: tuple[int, int] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H', W')."""
        if not self.training:
            return super().forward(x)
        spacing, stride = self.phase.spacing, self.phase.stride
        # a kernel of one tap has a dilation that nothing depends on, and which need be no multiple of the spacing
        padding, dilation = int(self.padding[0]) // spacing, max(1, self.dilation[0] // spacing)
        if stride > 1:
            top, left = self.drawn_offset() if self.offset is None else self.offset
            x = nn.functional.pad(x, (padding - left, padding, padding - top, padding))
            padding = 0
        return _strided(x, self.weight, stride, padding, dilation, self.groups)

    def drawn_offset(self) -> tuple[int, int]:
        """Top and left of a phase, drawn by torch's generator."""
        top, left = torch.randint(self.phase.stride, (2,)).tolist()
        return top, left

    def whole(self) -> nn.Conv2d:
        """A plain convolution with these weights: all phases in either mode."""
        return _plain(self)

    def extra_repr(self) -> str:
        """What torch says, and the phase."""
        return f"{super().extra_repr()}, {self.phase}"


class StridedDepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution with a stride, which trains in a fraction of the time on a CPU in bfloat16.

    oneDNN takes 208 ms forwards and backwards for 128 channels of 18x18 with stride 2 and a batch of 256 in bfloat16,
    and 30 ms with stride 1 and every second place of the result: torch 2.13.0, two cores. In float32 it is the other
    way round: 16 ms, and 45.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H', W')."""
        if not self.training:
            return super().forward(x)
        return _strided(x, self.weight, self.stride[0], int(self.padding[0]), self.dilation[0], self.groups)

    def whole(self) -> nn.Conv2d:
        """A plain convolution with these weights."""
        return _plain(self)


def _strided(x: Tensor, weight: Tensor, stride: int, padding: int, dilation: int, groups: int) -> Tensor:
    """A convolution; of a depthwise one with a stride bfloat16 computes all places, and leaves out those between."""
    low = x.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")
    if low and stride > 1 and groups == x.shape[1] > 1 and x.device.type == "cpu":
        return nn.functional.conv2d(x, weight, None, 1, padding, dilation, groups)[:, :, ::stride, ::stride]
    return nn.functional.conv2d(x, weight, None, stride, padding, dilation, groups)


def _plain(convolution: nn.Conv2d) -> nn.Conv2d:
    """A plain convolution that shares the weights of a special one."""
    side, stride, dilation = convolution.kernel_size[0], convolution.stride[0], convolution.dilation[0]
    inputs, outputs, padding = convolution.in_channels, convolution.out_channels, int(convolution.padding[0])
    plain = nn.Conv2d(inputs, outputs, side, stride, padding, dilation, convolution.groups, bias=False)
    plain.weight = convolution.weight
    return plain.train(convolution.training)


@dataclass(frozen=True)
class Geometry:
    """Where a convolution reads. All sizes hold for both axes.

    Attributes:
        kernel: taps.
        stride: step between two positions of the kernel, in pixels.
        dilation: distance between two taps, in pixels.
        padding: zeros on each side.
        phase: which part of the map a training step computes; for layers with stride 1.
    """

    kernel: int = 3
    stride: int = 1
    dilation: int = 1
    padding: int = 1
    phase: Phase = Phase()


def _convolution(inputs: int, outputs: int, geometry: Geometry, groups: int = 1) -> nn.Conv2d:
    kernel, stride, padding, dilation = geometry.kernel, geometry.stride, geometry.padding, geometry.dilation
    if geometry.phase == Phase():
        kind = StridedDepthwiseConv2d if stride > 1 and groups == inputs == outputs > 1 else nn.Conv2d
        return kind(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False)
    if stride > 1:
        raise ValueError(f"a layer with stride {stride} has no phases: they are those of a map that nothing thins out")
    return PhaseConv2d(
        inputs, outputs, kernel=kernel, padding=padding, dilation=dilation, groups=groups, phase=geometry.phase
    )


def dense(inputs: int, outputs: int, geometry: Geometry) -> nn.Conv2d:
    """A convolution over all channels: ``kernel^2 * inputs * outputs`` weights."""
    return _convolution(inputs, outputs, geometry)


class DepthwiseSeparable(nn.Sequential):
    """A depthwise convolution and a pointwise 1x1 one with nothing between them: one layer in two steps.

    A dense 3x3 layer has ``9 * inputs * outputs`` weights, this one ``9 * inputs + inputs * outputs``
    (Howard et al. 2017, "MobileNets", section 3.1). (N, inputs, H, W) -> (N, outputs, H', W').
    """

    def __init__(self, inputs: int, outputs: int, geometry: Geometry = Geometry()) -> None:
        super().__init__()
        self.depthwise = _convolution(inputs, inputs, geometry, groups=inputs)
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
