"""What the images of a set become: their size, their channels, and what happens to other proportions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flyweight.data.decoding import Looked
from flyweight.images.spec import Resize, Spec
from flyweight.recipes.sections import DataConfig

LARGEST, SMALLEST, MULTIPLE = 64, 32, 8
"""Sides in pixels, where the user names none. The built-in networks are made for the smaller one: below it their maps
would be smaller than their kernels, so that smaller images are enlarged."""

ALIKE = 1.25
"""Proportions that differ by no more than this factor from their median are alike: stretched, all shapes are distorted
in the same way, and a network learns them so."""


@dataclass(frozen=True)
class Target:
    """What each image is brought to.

    Attributes:
        shape: (channels, height, width).
        resize: what becomes of other proportions.
        notes: how it was chosen, for a person.
    """

    shape: tuple[int, int, int]
    resize: Resize
    notes: tuple[str, ...] = ()


def choose(looked: Sequence[Looked], config: DataConfig, like: Spec | None) -> Target:
    """Choose by the images themselves what the user, or the network that they are for, leaves open.

    Args:
        looked: headers of all images that could be read; at least one.
        config: of the data.
        like: of a network that they are for; none: of one that is yet to be trained.
    """
    widths = np.array([look.width for look in looked])
    heights = np.array([look.height for look in looked])
    side = config.size or side_of(widths, heights)
    channels = 1 if all(look.grey for look in looked) else 3
    resize = config.resize or _resize(widths / heights)
    shape = (channels, side, side)
    if like is not None:
        shape, resize = like.shape, like.preprocessing.resize
    square = bool((widths == heights).all())
    how = "" if square else f", {_WORDS[resize]}"
    note = (
        f"Images become {shape[2]}x{shape[1]} {'grey' if shape[0] == 1 else 'RGB'}{how};"
        " data.size and data.resize change it."
    )
    return Target(shape, resize, (note,))


_WORDS = {
    "squash": "stretched where they are not square (their proportions are alike)",
    "pad": "padded where they are not square (their proportions differ)",
    "crop": "cut about their centre where they are not square",
}


def side_of(widths: np.ndarray, heights: np.ndarray) -> int:
    """The side that images of such sizes get, in pixels, where nobody names one."""
    median = float(np.median(np.minimum(widths, heights)))
    return int(min(LARGEST, max(SMALLEST, MULTIPLE * round(median / MULTIPLE))))


def _resize(proportions: np.ndarray) -> Resize:
    """Stretch where nine in ten have nearly the same proportions and are not long and narrow; pad elsewhere."""
    median = float(np.median(proportions))
    factors = np.maximum(proportions / median, median / proportions)
    alike = float(np.mean(factors <= ALIKE)) >= 0.9
    return "squash" if alike and 1 / 2 <= median <= 2 else "pad"
