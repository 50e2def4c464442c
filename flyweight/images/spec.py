"""What a data set's images are, for everything that comes after them: nobody below assumes classes or sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become a network's input: a share of white, less the mean, divided by the standard deviation.

    Attributes:
        mean: of each channel, in 0 to 1.
        std: of each channel, in 0 to 1.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Spec:
    """Classes and images of a data set, or of the one that a network was trained on.

    Attributes:
        classes: names, in the order of the logits.
        channels: of an image; 1 is grey, 3 are RGB.
        height: in pixels.
        width: in pixels.
        preprocessing: of the pixels.
    """

    classes: tuple[str, ...]
    channels: int
    height: int
    width: int
    preprocessing: Preprocessing

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width), as a network sees an image."""
        return self.channels, self.height, self.width

    @classmethod
    def unnamed(cls, classes: int, shape: Sequence[int]) -> Spec:
        """So many classes that are called by their numbers, for a network without a data set."""
        channels, height, width = shape
        neutral = Preprocessing((0.5,) * channels, (0.5,) * channels)
        return cls(tuple(map(str, range(classes))), channels, height, width, neutral)
