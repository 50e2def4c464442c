"""Images on a disk that are addressed one by one: what a data set of any size is read through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True, eq=False)
class Stored:
    """Some images of a memory-mapped array, in an order of their own. To choose among them copies no image.

    It is indexed as an array of (N, H, W, C) uint8 is, and each answer is an array in memory.

    Attributes:
        array: (M, H, W, C) uint8, all images of the set, memory-mapped.
        digests: (M, 16) uint8, BLAKE2b of each image's pixels.
        sums: (M, C) int64, of each image's pixels.
        squares: (M, C) int64, of each image's squared pixels.
        rows: (N,) int64, which of the M they are.
    """

    array: np.ndarray
    digests: np.ndarray
    sums: np.ndarray
    squares: np.ndarray
    rows: np.ndarray

    dtype = np.dtype(np.uint8)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""
        return len(self.rows), *self.array.shape[1:]

    @property
    def size(self) -> int:
        """How many numbers they are."""
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> np.ndarray:
        return self.array[self.rows[key]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.array[self.rows].astype(dtype or self.dtype, copy=False)

    def take(self, indices: Sequence[int] | np.ndarray) -> Stored:
        """Those at these places."""
        return replace(self, rows=self.rows[indices])

    def moments(self) -> tuple[int, np.ndarray, np.ndarray]:
        """(pixels, their sum a channel, the sum of their squares a channel), whole numbers."""
        pixels = len(self.rows) * self.array.shape[1] * self.array.shape[2]
        return pixels, self.sums[self.rows].sum(0), self.squares[self.rows].sum(0)


Images = np.ndarray | Stored
"""(N, H, W, C) uint8."""


class Parts(Protocol):
    """Images that are read part by part, as `Images` can be: (N, H, W, C) uint8."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: slice, /) -> Any: ...
