"""A network in integers: maps of signed bytes, and the steps from one to the next.

A level q of a map stands for the number `scale * (q - zero)`. A step sums products of levels in 32 bits, which is
exact, and brings the sum to the levels of its target: by a multiplier of 31 bits and a shift, `(sum * multiplier +
half) >> shift`, rounded to the nearest and halves up. No step computes with fractions, so that a program in any
language says the same to the last bit.

Source of the scheme: Jacob et al. 2018, "Quantization and training of neural networks for efficient integer-arithmetic-
only inference", section 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST_SHIFT = 46
"""What a shift may be: a smaller factor only loses bits that are below a 65,536th of a level."""
MOST_SUM = 2**30
"""What a sum of products may come to, and as much again its bias."""


@dataclass(frozen=True, eq=False)
class Map:
    """What lies between two steps, one byte a number, row by row, channels last.

    Attributes:
        name: of the graph's tensor.
        channels: how many.
        height: in positions.
        width: in positions.
        scale: what a level is worth.
        zero: the level that stands for 0.
        wide: of two bytes a number: the logits, of which two would often be equal among 256 levels.
    """

    name: str
    channels: int
    height: int
    width: int
    scale: float
    zero: int
    wide: bool = False

    @property
    def bytes(self) -> int:
        """How many it takes."""
        return self.channels * self.height * self.width * (2 if self.wide else 1)

    @property
    def lowest(self) -> int:
        """Level."""
        return -32768 if self.wide else -128

    @property
    def highest(self) -> int:
        """Level."""
        return 32767 if self.wide else 127

    def numbers(self, levels: np.ndarray) -> np.ndarray:
        """What levels stand for, float64."""
        return self.scale * (levels.astype(np.float64) - self.zero)


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution with a square kernel; a linear layer is one of a single position.

    Attributes:
        name: of the layer.
        source: what it reads; zeros around it.
        target: what it makes.
        weight: int8, (outputs, kernel, kernel, inputs); of a depthwise one (kernel, kernel, channels).
        bias: (outputs,) int32, added to the sum.
        multiplier: (outputs,) int32.
        shift: (outputs,) uint8, 1 to 46.
        after: (outputs,) int64, added between multiplier and shift; then the sum is rectified before. None: neither.
        stride: in positions.
        dilation: in positions.
        padding: positions above and to the left.
        depthwise: each channel by itself.
        low: the lowest level that it gives: its target's zero where it is rectified.
    """

    name: str
    source: Map
    target: Map
    weight: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray
    after: np.ndarray | None
    stride: int
    dilation: int
    padding: int
    depthwise: bool
    low: int

    @property
    def kernel(self) -> int:
        """Taps along one side."""
        return self.weight.shape[1] if not self.depthwise else self.weight.shape[0]

    @property
    def pointwise(self) -> bool:
        """Whether a position of the target depends on the same one of the source alone."""
        return not self.depthwise and self.kernel == self.stride == 1 and self.padding == 0

    @property
    def sources(self) -> tuple[Map, ...]:
        """What it reads."""
        return (self.source,)


@dataclass(frozen=True, eq=False)
class Addition:
    """The sum of two maps of one shape.

    Attributes:
        name: of the node.
        first: a map.
        second: a map.
        target: what it makes.
        multipliers: of both.
        shift: of the sum of both.
        low: as of a convolution.
    """

    name: str
    first: Map
    second: Map
    target: Map
    multipliers: tuple[int, int]
    shift: int
    low: int

    @property
    def sources(self) -> tuple[Map, ...]:
        """What it reads."""
        return self.first, self.second


@dataclass(frozen=True, eq=False)
class Average:
    """The mean over squares of positions, or over the whole map.

    Attributes:
        name: of the node.
        source: what it reads.
        target: what it makes.
        rows: of a part.
        columns: of a part.
        stride: from one part to the next, in positions.
        multiplier: holds the division by the positions of a part.
        shift: as above.
    """

    name: str
    source: Map
    target: Map
    rows: int
    columns: int
    stride: int
    multiplier: int
    shift: int

    @property
    def sources(self) -> tuple[Map, ...]:
        """What it reads."""
        return (self.source,)


Step = Convolution | Addition | Average


@dataclass(frozen=True)
class Integers:
    """A network that computes in integers alone.

    Attributes:
        entry: the map that an image becomes.
        table: (channels, 256) int8: the level of each pixel value. Normalised, and rounded, before there are borders.
        steps: in order; the target of the last one are the logits, one position of two bytes a class.
    """

    entry: Map
    table: np.ndarray
    steps: tuple[Step, ...]

    @property
    def logits(self) -> Map:
        """What comes out."""
        return self.steps[-1].target

    @property
    def constant_bytes(self) -> int:
        """Weights, biases, factors and the table of pixels."""
        arrays = [self.table]
        for step in self.steps:
            if isinstance(step, Convolution):
                arrays += [step.weight, step.bias, step.multiplier, step.shift]
                arrays += [] if step.after is None else [step.after]
        return sum(array.nbytes for array in arrays)


def levels(low: float, high: float) -> tuple[float, int]:
    """Scale and zero of the 256 levels of a range. Zero, which borders and ReLU need, is one of them."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255 or 1.0
    return scale, int(np.clip(np.rint(-128 - low / scale), -128, 127))


def fixed_point(factor: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Factors as multiplier and shift: `factor = multiplier / 2**shift`, with as many bits as there are.

    Returns:
        int32 and uint8, in the shape of the factors.
    """
    exact = np.asarray(factor, np.float64)
    shift = np.clip(31 - np.frexp(exact)[1], 1, MOST_SHIFT)
    most = 2**31 - 1
    return np.clip(np.rint(np.ldexp(exact, shift)), -most, most).astype(np.int32), shift.astype(np.uint8)
