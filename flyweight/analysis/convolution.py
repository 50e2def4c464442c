"""Convolutions as facts: one that ran, and what a person counts as one."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from flyweight.analysis.trace.trace import Node


@dataclass(frozen=True)
class Convolution:
    """One executed convolution. Sizes are (height, width), or one number for each spatial dimension it has.

    Attributes:
        name: of its layer.
        path: of the module it ran in.
        node: the operator.
        dilation: in pixels of its map, also where the dilation was moved into the batch.
        live: taps on each axis that somewhere see more than padding; less than the kernel where others never do.
        parameters: weights and biases, whoever owns them.
    """

    name: str
    path: str
    node: Node = field(repr=False, compare=False)
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    live: tuple[int, ...]
    groups: int
    inputs: int
    outputs: int
    input_size: tuple[int, ...]
    output_size: tuple[int, ...]
    bias: bool
    transposed: bool
    parameters: int
    macs: int

    @property
    def depthwise(self) -> bool:
        """One filter, or several, for each single channel."""
        return self.groups == self.inputs > 1

    @property
    def pointwise(self) -> bool:
        """1x1 over all channels."""
        return self.groups == 1 and all(side == 1 for side in self.kernel)

    @property
    def dilated(self) -> bool:
        """Taps further apart than one pixel on some axis on which more than one sees the map."""
        return any(step > 1 and taps > 1 for step, taps in zip(self.dilation, self.live, strict=True))

    @property
    def strided(self) -> bool:
        """Steps of more than one pixel on some axis."""
        return not self.transposed and any(step > 1 for step in self.stride)


@dataclass(frozen=True)
class ConvolutionLayer:
    """What a person counts as one convolution: a single one, or a depthwise one with the 1x1 that ends it.

    Attributes:
        projection: a 1x1 beside other convolutions, to whose sum it fits what they were made of.
    """

    parts: tuple[Convolution, ...]
    projection: bool = False

    @property
    def name(self) -> str:
        """Name of its first part."""
        return self.parts[0].name

    @property
    def separable(self) -> bool:
        """A depthwise separable layer, of whose depthwise part more than one tap sees the map."""
        return len(self.parts) == 2 and prod(self.parts[0].live) > 1

    @property
    def connected(self) -> bool:
        """It works on a map of one place: a fully connected layer, however it is written."""
        return all(prod(part.input_size) == 1 == prod(part.output_size) for part in self.parts)

    @property
    def strided(self) -> bool:
        """Some part is."""
        return any(part.strided for part in self.parts)

    @property
    def dilated(self) -> bool:
        """Some part is."""
        return any(part.dilated for part in self.parts)
