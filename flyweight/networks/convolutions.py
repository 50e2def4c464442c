"""Convolutions without bias, and how a training computes them in less time: by the phases of a dilated map.

Where a map is read at every k-th place alone, it falls apart into k * k phases that never meet: of rows and of columns
those that leave the same remainder when divided by k.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


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
        return _convolve(x, self.weight, stride, padding, dilation, self.groups)

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


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution with a stride or a dilation, which a CPU trains in a fraction of the time.

    oneDNN has fast gradients of those with neither. 128 channels, kernel 3x3, a batch of 256, forwards and backwards on
    two cores, torch 2.13.0: with dilation 2 on 16x16 in float32 325 ms, by phases 57 (AMD EPYC without AVX-512); with
    stride 2 on 18x18 in bfloat16 208 ms, and 30 with stride 1 and every second place of the result (AMD EPYC with
    AVX-512), while in float32 the stride is the faster one: 16 ms, and 45.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H', W')."""
        if not self.training:
            return super().forward(x)
        return _convolve(x, self.weight, self.stride[0], int(self.padding[0]), self.dilation[0], self.groups)

    def whole(self) -> nn.Conv2d:
        """A plain convolution with these weights."""
        return _plain(self)


def _convolve(x: Tensor, weight: Tensor, stride: int, padding: int, dilation: int, groups: int) -> Tensor:
    """What ``torch.nn.functional.conv2d`` says, of a depthwise one on a CPU by the kernels that learn fast."""
    low = x.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")
    if groups == x.shape[1] > 1 and x.device.type == "cpu":
        if stride == 1 < dilation and weight.shape[2] > 1:
            return _by_phases(x, weight, padding, dilation)
        if stride > 1 and low:
            return nn.functional.conv2d(x, weight, None, 1, padding, dilation, groups)[:, :, ::stride, ::stride]
    return nn.functional.conv2d(x, weight, None, stride, padding, dilation, groups)


def _by_phases(x: Tensor, weight: Tensor, padding: int, dilation: int) -> Tensor:
    """A dilated depthwise convolution: a plain one of the phases of the map, as images of a larger batch."""
    count, channels, height, width = x.shape
    reach = 2 * padding - dilation * (weight.shape[2] - 1)
    whole, rest = divmod(padding, dilation)
    bottom, right = (-(side + 2 * rest) % dilation for side in (height, width))
    if rest or bottom or right:
        # all phases get the same size; what lies beyond the map is zero, as its padding is
        x = nn.functional.pad(x, (rest, rest + right, rest, rest + bottom))
    x = x.unflatten(2, (-1, dilation)).unflatten(4, (-1, dilation)).permute(3, 5, 0, 2, 4, 1)
    rows, columns = x.shape[3:5]
    x = x.reshape(-1, rows, columns, channels).permute(0, 3, 1, 2)  # channels-last
    y = nn.functional.conv2d(x, weight, None, 1, whole, 1, channels).permute(0, 2, 3, 1)
    y = y.unflatten(0, (dilation, dilation, count)).permute(2, 3, 0, 4, 1, 5)
    y = y.flatten(1, 2).flatten(2, 3).permute(0, 3, 1, 2)
    return y[:, :, : height + reach, : width + reach]


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


def convolution(inputs: int, outputs: int, geometry: Geometry, groups: int = 1) -> nn.Conv2d:
    """A convolution without bias that trains as fast as it can. (N, inputs, H, W) -> (N, outputs, H', W').

    Raises:
        ValueError: it has a stride, and is to compute one phase of a map.
    """
    kernel, stride, padding, dilation = geometry.kernel, geometry.stride, geometry.padding, geometry.dilation
    if geometry.phase == Phase():
        depthwise = groups == inputs == outputs > 1
        kind = DepthwiseConv2d if depthwise and max(stride, dilation) > 1 else nn.Conv2d
        return kind(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False)
    if stride > 1:
        raise ValueError(f"a layer with stride {stride} has no phases: they are those of a map that nothing thins out")
    return PhaseConv2d(
        inputs, outputs, kernel=kernel, padding=padding, dilation=dilation, groups=groups, phase=geometry.phase
    )
