"""Images made worse: JPEG, blur, noise, shift."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from flyweight.images.augment import import_albumentations

SEED = 0


@dataclass(frozen=True)
class Damage:
    """One way to make images worse, and how much.

    Attributes:
        kind: "jpeg", "blur", "noise" or "shift".
        strength: quality of a JPEG; sigma of the blur in pixels, of the noise in grey levels; pixels of the shift.
    """

    kind: str
    strength: float

    @property
    def label(self) -> str:
        """For people: ``JPEG, quality 75``."""
        return _LABELS[self.kind].format(self.strength).replace(" 1 pixels", " 1 pixel")


_LABELS = {
    "jpeg": "JPEG, quality {}",
    "blur": "blur, sigma {} pixels",
    "noise": "noise, sigma {} of 255",
    "shift": "shift by {} pixels",
}
_QUALITIES = (75, 50)  # a camera's and a messenger's
_BLURS, _NOISES, _SHIFTS = (0.5, 1.0, 1.5), (5, 10, 20), (2, 4, 8)  # mild, clear and strong for a side of 32 pixels


def damages(height: int, width: int) -> tuple[Damage, ...]:
    """All damages for images of this size: what is measured in pixels grows with their smaller side."""
    scale = min(height, width) / 32
    strengths: dict[str, tuple[float, ...]] = {
        "jpeg": _QUALITIES,
        "blur": tuple(round(sigma * scale, 2) for sigma in _BLURS),
        "noise": _NOISES,
        "shift": tuple(max(1, round(pixels * scale)) for pixels in _SHIFTS),
    }
    return tuple(Damage(kind, strength) for kind in strengths for strength in strengths[kind])


def damaged(images: np.ndarray, damage: Damage, *, go_on: bool = False) -> np.ndarray:
    """The images made worse by albumentations, the same ones for the same images in the same order.

    Args:
        images: (N, H, W, C) uint8.
        damage: what to do to each of them.
        go_on: whether they follow those of the call before, as one part of many.

    Returns:
        (N, H, W, C) uint8, a new array.
    """
    pipeline = _pipeline(damage)
    if not go_on:
        pipeline.set_random_seed(SEED)
    return np.stack([pipeline(image=image)["image"] for image in np.asarray(images)])


@cache
def _pipeline(damage: Damage) -> Any:
    A = import_albumentations()  # noqa: N806 (the library's own way to be called)
    import cv2

    s = damage.strength
    if damage.kind == "jpeg":
        step = A.ImageCompression(compression_type="jpeg", quality_range=(int(s), int(s)), p=1)
    elif damage.kind == "blur":
        step = A.GaussianBlur(sigma_limit=(s, s), blur_limit=0, p=1)
    elif damage.kind == "noise":
        step = A.GaussNoise(std_range=(s / 255, s / 255), mean_range=(0, 0), p=1)
    else:
        # left, right, up or down; what comes in at the border is mirrored, as in the training
        ways = [{"x": int(s * x), "y": int(s * y)} for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1))]
        step = A.OneOf([A.Affine(translate_px=way, border_mode=cv2.BORDER_REFLECT_101, p=1) for way in ways], p=1)
    return A.Compose([step], strict=True)
