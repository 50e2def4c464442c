"""Which positions of an operator's input one position of its output reads, along one axis.

The formulas are those of Araujo, Norris and Sim 2019, "Computing Receptive Fields of Convolutional Neural Networks"
(Distill), section "Derivation", on integer coordinates that may lie outside the map: the field on an infinite plane.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
# marks a tap that reads nothing (between the steps of a transposed convolution)
NOTHING = np.iinfo(np.int64).min

# an input axis that the output no longer has: every position is read
WHOLE: Literal["whole"] = "whole"


class Link(Protocol):
    """A relation between output and input positions that keeps or reverses their order.

    Attributes:
        period: how many neighbouring outputs must be asked until one surely reads the extreme input.
    """

    @property
    def period(self) -> int:
        """See above."""
        ...

    def reads(self, outputs: Indices) -> Indices:
        """Input positions (n, taps) that the output positions (n,) read; :data:`NOTHING` where a tap reads none."""
        ...


@dataclass(frozen=True)
class Window:
    """Convolution or pooling; with the defaults, the position itself. `unit` is the scale of the axis' atom."""

    kernel: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    unit: int = 1
    period: int = 1

    def reads(self, outputs: Indices) -> Indices:
        """See :class:`Link`."""
        taps = np.arange(self.kernel, dtype=np.int64) * self.dilation
        return outputs[:, None] * self.stride + (taps - self.padding)[None, :] * self.unit

    def tap(self, index: int) -> Window:
        """The window of one of its taps."""
        return replace(self, kernel=1, padding=self.padding - index * self.dilation, dilation=1)

    def dilated(self, extra: int) -> Window:
        """The window with a larger dilation and as much more padding as keeps its middle where it is."""
        padding = self.padding + extra * (self.kernel - 1) // 2
        return replace(self, dilation=self.dilation + extra, padding=padding)


SAME = Window()
# by axis, how positions of an output read those of an input; an axis that the input does not have is missing
Links = dict[int, "Link | Literal['whole']"]


@dataclass(frozen=True)
class TransposedWindow:
    """Transposed convolution: output o reads i where ``o = i * stride - padding + dilation * tap``."""

    kernel: int
    stride: int
    padding: int
    dilation: int

    @property
    def period(self) -> int:
        """After `stride` outputs every phase was asked."""
        return self.stride

    def reads(self, outputs: Indices) -> Indices:
        """See :class:`Link`."""
        taps = np.arange(self.kernel, dtype=np.int64) * self.dilation
        scaled = outputs[:, None] + self.padding - taps[None, :]
        return np.where(scaled % self.stride == 0, scaled // self.stride, NOTHING)


@dataclass(frozen=True)
class Coarse:
    """A map whose position stands for `step` neighbours of the map before it, seen through a window."""

    window: Window
    step: int
    period: int = 1

    def reads(self, outputs: Indices) -> Indices:
        """See :class:`Link`."""
        coarse = self.window.reads(outputs)
        fine = coarse[:, :, None] * self.step + np.arange(self.step, dtype=np.int64)
        return fine.reshape(len(outputs), -1)


def of_window(
    link: Link | Literal["whole"], change: Callable[[Window, int], Window], by: int
) -> Link | Literal["whole"]:
    """A link whose window, if it has one, was changed."""
    if isinstance(link, Window):
        return change(link, by)
    return replace(link, window=change(link.window, by)) if isinstance(link, Coarse) else link


@dataclass(frozen=True)
class Always:
    """Every output reads one and the same position: a broadcast."""

    position: int = 0
    period: int = 1

    def reads(self, outputs: Indices) -> Indices:
        """See :class:`Link`."""
        return np.full((len(outputs), 1), self.position, dtype=np.int64)


@dataclass(frozen=True)
class Flip:
    """The axis reversed."""

    size: int
    period: int = 1

    def reads(self, outputs: Indices) -> Indices:
        """See :class:`Link`."""
        return self.size - 1 - outputs[:, None]


@dataclass(frozen=True)
class Nearest:
    """Enlarging or shrinking by repeating the nearest pixel: ``floor(o * before / after)``."""

    before: int
    after: int
    period: int = 1

    def reads(self, outputs: Indices) -> Indices:
        """See :class:`Link`."""
        return outputs[:, None] * self.before // self.after


@dataclass(frozen=True)
class Between:
    """Resizing by a weighted sum of the nearest pixels (PyTorch's ``UpSample.h``, area_pixel_compute_source_index).

    Attributes:
        taps: 2 of linear, 4 of cubic interpolation.
        corners: the outer pixels of both maps lie on each other.
    """

    before: int
    after: int
    taps: int
    corners: bool
    period: int = 1

    def reads(self, outputs: Indices) -> Indices:
        """See :class:`Link`."""
        if self.corners:
            left = outputs * (self.before - 1) // max(1, self.after - 1)
        else:
            left = ((2 * outputs + 1) * self.before - self.after) // (2 * self.after)
        return left[:, None] + np.arange(self.taps, dtype=np.int64) - (self.taps // 2 - 1)


@dataclass(frozen=True)
class Bins:
    """Adaptive pooling: bin o is ``floor(o * before / after)`` to ``ceil((o + 1) * before / after) - 1``."""

    before: int
    after: int
    period: int = 1

    def reads(self, outputs: Indices) -> Indices:
        """See :class:`Link`."""
        first = outputs * self.before // self.after
        last = -((outputs + 1) * -self.before // self.after) - 1
        longest = int((last - first).max()) + 1 if len(outputs) else 1
        return np.minimum(first[:, None] + np.arange(longest, dtype=np.int64), last[:, None])
