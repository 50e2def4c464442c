"""The transforms of the training images as `images.augment` builds them: their names, strengths and probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flyweight.data.dataset import Dataset
from flyweight.images import augment
from flyweight.recipes.sections import AugmentConfig

HOLES = ("num_holes_range", "hole_height_range", "hole_width_range")
SETTINGS = {
    "shift_limit_x": ("shift", 100, " %"),
    "shift_limit_y": ("shift", 100, " %"),
    "scale_limit": ("scale", 100, " %"),
    "rotate_limit": ("rotate", 1, "\N{DEGREE SIGN}"),
}
"""Settings of albumentations as a reader calls them: name, factor and unit. Others are told by their own names."""


@dataclass(frozen=True)
class Augmentation:
    """A transform.

    Attributes:
        name: as its library calls it.
        strength: its ranges in words, such as ``rotate ±15°``; empty where it has none.
        probability: with which an image gets it.
        transform: itself; called with an image of its own, it draws anew.
    """

    name: str
    strength: str
    probability: float
    transform: Any

    def always(self, images: np.ndarray, seed: int) -> np.ndarray:
        """(N, H, W, C) uint8 images, each after this transform alone; the same for the same seed."""
        self.transform.p = 1.0
        self.transform.set_random_seed(seed)
        return np.stack([self.transform(image=image)["image"] for image in images])


def listed(config: AugmentConfig, dataset: Dataset) -> list[Augmentation]:
    """The transforms of a recipe for the images of a data set, in the order in which they are applied."""
    built = augment.transforms(config, dataset.mean, config.hole(*dataset.spec.shape[1:]))
    return [Augmentation(name, _strength(transform), transform.p, transform) for name, transform in built.items()]


def _strength(transform: Any) -> str:
    """The settings that are numbers: ranges, sizes, the colour that fills a hole."""
    settings = {
        name: value
        for name, value in transform.get_transform_init_args().items()
        if isinstance(value, tuple) and value and all(isinstance(part, int | float) for part in value)
    }
    words = [_holes(settings)] if settings.keys() >= set(HOLES) else []
    for name, value in settings.items():
        if name == "fill":
            words.append(f"filled with {'/'.join(f'{part:.0f}' for part in value)}")
        elif name not in HOLES:
            called, factor, unit = SETTINGS.get(name, (_plain(name), 1, ""))
            words.append(f"{called} {_range([factor * part for part in value])}{unit}")
    # the shift is one setting for each axis, of equal words where both are equal
    return ", ".join(dict.fromkeys(words))


def _holes(settings: Mapping[str, Sequence[float]]) -> str:
    number, height, width = (_range(settings[name]) for name in HOLES)
    return f"{'one hole' if number == '1' else f'{number} holes'} of {height}x{width}"


def _plain(name: str) -> str:
    return " ".join(part for part in name.split("_") if part not in {"limit", "range"})


def _range(values: Sequence[float]) -> str:
    low, high = values[0], values[-1]
    if len(set(values)) == 1:
        return f"{low:.4g}"
    if len(values) == 2:
        return f"\N{PLUS-MINUS SIGN}{high:.4g}" if abs(low + high) < 1e-9 else f"{low:.4g} to {high:.4g}"
    return "/".join(f"{value:.4g}" for value in values)
