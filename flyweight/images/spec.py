"""What a data set's images are, for everything that comes after them: nobody below assumes classes or sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Resize = Literal["squash", "crop", "pad"]
"""How an image of other proportions than the network's becomes one of its size:

squash  stretched, each axis by itself: nothing is lost, shapes are distorted
crop    cut to the network's proportions about its centre: shapes are kept, the borders are lost
pad     made to fit inside, on mid-grey: nothing is lost or distorted, the image becomes smaller
"""


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes a network's input; whoever asks a network goes by it.

    The image is turned as its EXIF orientation says, put on white where it is transparent, brought to the network's
    size with a bicubic filter and antialiasing, and made grey or RGB (`flyweight.images.decode`). Then a pixel is a
    share of white, less the mean, divided by the standard deviation (`flyweight.images.preprocess`).

    Attributes:
        mean: of each channel, in 0 to 1.
        std: of each channel, in 0 to 1.
        resize: what becomes of other proportions than the network's.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: Resize = "crop"


@dataclass(frozen=True)
class Spec:
    """Classes and images of a data set, or of the one that a network was trained on.

    Attributes:
        classes: names, in the order of the logits.
        channels: of an image; 1 is grey, 3 are RGB.
        height: in pixels.
        width: in pixels.
        preprocessing: of the images.
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
