"""The brief's augmentations (R6), through albumentations. The only module that imports it.

An augmented image depends on ``(seed, epoch, index)`` and on nothing else: neither on the number of workers, nor on
the order of the images, nor on where a run was resumed. One that comes again in an epoch depends on its number, too.
"""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import numpy as np

from flyweight.errors import FlyweightError
from flyweight.recipes.sections import AugmentConfig


def import_albumentations() -> Any:
    """Albumentations, kept from calling home and from starting threads of its own.

    The import takes seconds, so it happens on first use and not with this module.

    Raises:
        FlyweightError: albumentationsx (AGPL) is installed; it takes the same import name.
    """
    try:
        installed = version("albumentationsx")
    except PackageNotFoundError:
        pass
    else:
        raise FlyweightError(
            f"albumentationsx {installed} is installed: its licence is the AGPL and it hides albumentations;"
            " run: pip uninstall -y albumentationsx && pip install --force-reinstall albumentations==2.0.8"
        )
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import albumentations
    import cv2

    cv2.setNumThreads(0)
    return albumentations


def transforms(config: AugmentConfig, mean: Sequence[float], hole: int) -> dict[str, Any]:
    """The transforms that a recipe does not turn off, by name, in the order in which they are applied.

    Args:
        config: probabilities and strengths.
        mean: the data set's mean of each channel in 0 to 1; it fills the hole.
        hole: its side in pixels.
    """
    A = import_albumentations()  # noqa: N806 (the library's own way to be called)
    import cv2

    with warnings.catch_warnings():
        # the brief names this transform; albumentations would rather have its parent class, Affine, named
        warnings.filterwarnings("ignore", message="ShiftScaleRotate is a special case")
        shift_scale_rotate = A.ShiftScaleRotate(
            shift_limit=config.shift,
            scale_limit=config.scale,
            rotate_limit=config.rotate,
            border_mode=cv2.BORDER_REFLECT_101,
            p=config.shift_scale_rotate,
        )
    built = {
        "HorizontalFlip": A.HorizontalFlip(p=config.flip),
        "ShiftScaleRotate": shift_scale_rotate,
        "CoarseDropout": A.CoarseDropout(
            num_holes_range=(1, 1),
            hole_height_range=(hole, hole),
            hole_width_range=(hole, hole),
            # the images are uint8, so a mean in 0 to 1 would be a black hole
            fill=tuple(255 * channel for channel in mean),
            fill_mask=None,
            p=config.cutout,
        ),
    }
    return {name: transform for name, transform in built.items() if transform.p}


class Draw(NamedTuple):
    """What becomes of one image.

    Attributes:
        flip: whether left and right change places.
        warp: the numbers of the affine map, see :func:`affine_matrices`; None where it stays in its place.
        hole: top, left, height and width in pixels; None where there is none.
    """

    flip: bool
    warp: tuple[float, ...] | None
    hole: tuple[int, int, int, int] | None


@dataclass
class Augmenter:
    """The pipeline, called on whole batches.

    Calling it gives what :meth:`by_albumentations` gives, to the grey level, at a fraction of the cost: it draws the
    same numbers in the same order from the pipeline's own settings, and leaves out what albumentations does around
    them. The tests hold the two against each other.

    Attributes:
        config: probabilities and strengths.
        mean: the data set's mean of each channel in 0 to 1.
        seed: of the run.
    """

    config: AugmentConfig
    mean: Sequence[float]
    seed: int = 0

    def __post_init__(self) -> None:
        self._pipeline: Any = None
        self._hole = 0

    def __getstate__(self) -> dict[str, Any]:
        # a worker process builds its own pipeline: cheaper than pickling one, and it needs no state
        return {"config": self.config, "mean": self.mean, "seed": self.seed, "_pipeline": None, "_hole": 0}

    def __call__(
        self, images: np.ndarray, indices: Sequence[int], epoch: int, before: Sequence[int] | None = None
    ) -> np.ndarray:
        """Augment a batch.

        Args:
            images: (N, H, W, C) uint8.
            indices: of each image in the data set.
            epoch: counted from 0.
            before: how often each of them came earlier in the epoch, so that it looks otherwise each time; none: never.

        Returns:
            (N, H, W, C) uint8, a new array.

        Raises:
            FlyweightError: the hole is larger than the images.
        """
        height, width = images.shape[1:3]
        self._build(height, width)
        draws = []
        for index, times in zip(indices, before or [0] * len(indices), strict=True):
            self._reseed(epoch, int(index), int(times))
            draws.append(self._draw(height, width))
        result = np.array(images)  # no memmap: its views are slow
        flips = [draw.flip for draw in draws]
        result[flips] = result[flips, :, ::-1]
        warps = {position: draw.warp for position, draw in enumerate(draws) if draw.warp is not None}
        if warps:
            matrices = affine_matrices(np.array(list(warps.values())), height, width)
            for position, matrix in zip(warps, matrices, strict=True):
                self._warp(result[position], matrix)
        for position, draw in enumerate(draws):
            if draw.hole is not None:
                top, left, tall, wide = draw.hole
                result[position, top : top + tall, left : left + wide] = self._fill
        return result

    def _warp(self, image: np.ndarray, matrix: np.ndarray) -> None:
        """Move an image (H, W, C) in place."""
        height, width, channels = image.shape
        affine = self._transforms["ShiftScaleRotate"]
        flags = {"flags": affine.interpolation, "borderMode": affine.border_mode}
        for first in range(0, channels, 4):  # OpenCV takes four channels at most, and gives one back without its axis
            part = image[..., first : first + 4]
            part[:] = self._cv2.warpAffine(part, matrix, (width, height), **flags).reshape(part.shape)

    def by_albumentations(
        self, images: np.ndarray, indices: Sequence[int], epoch: int, before: Sequence[int] | None = None
    ) -> np.ndarray:
        """The same batch through ``albumentations.Compose``, image by image: the definition of the result."""
        self._build(*images.shape[1:3])
        result = np.empty_like(images)
        for position, (index, times) in enumerate(zip(indices, before or [0] * len(indices), strict=True)):
            self._reseed(epoch, int(index), int(times))
            # the batched way draws from the second generator only where there is a hole, and resets it there
            self._reset_bits()
            result[position] = self._pipeline(image=images[position])["image"]
        return result

    def _build(self, height: int, width: int) -> None:
        """Make the pipeline for images of this size, unless it is there."""
        hole = self.config.hole(height, width)
        if self.config.cutout and hole > min(height, width):
            raise FlyweightError(
                f"augment.cutout_size: {hole} is more than the side of the images, {width}x{height} pixels; lower it"
            )
        if self._pipeline is not None and hole == self._hole:
            return
        self._hole = hole
        A = import_albumentations()  # noqa: N806
        import cv2

        self._transforms = transforms(self.config, self.mean, hole)
        # strict: an argument that the library does not know is an error and not a warning
        self._pipeline = A.Compose(list(self._transforms.values()), strict=True)
        # Compose(seed=...) would give all transforms equal streams, which then fire together or not at all;
        # one pair of generators shared by all makes their coin flips independent
        self._bits = np.random.Philox(key=self.seed)
        self._state = self._bits.state
        self._generator = np.random.Generator(self._bits)
        self._python = random.Random(0)
        self._pipeline.set_random_state(self._generator, self._python)
        if "CoarseDropout" in self._transforms:
            self._fill = np.array(self._transforms["CoarseDropout"].fill, dtype=np.uint8)
        self._cv2 = cv2

    def _reseed(self, epoch: int, index: int, before: int = 0) -> None:
        # a seed has 32 bits
        self._python.seed(before << 96 | self.seed << 64 | epoch << 32 | index)
        # Philox is counter-based (Salmon et al. 2011): its state *is* (key, counter)
        self._state["state"]["counter"][:] = (0, before, index, epoch)

    def _reset_bits(self) -> None:
        self._bits.state = self._state

    def _applied(self, name: str) -> Any:
        """The transform where the next draw says that it is applied; None where it is not, or turned off."""
        transform = self._transforms.get(name)
        return transform if transform is not None and transform.should_apply() else None

    def _draw(self, height: int, width: int) -> Draw:
        """What becomes of one image.

        The draws follow albumentations 2.0.8 one for one: ``Compose``, ``HorizontalFlip``, ``Affine`` (shift, shear of
        nothing, scale, rotation), ``CoarseDropout`` (number, sizes, place).
        """
        uniform = self._python.uniform
        self._python.random()  # Compose asks whether to run at all
        flip = self._applied("HorizontalFlip") is not None
        warp = hole = None
        if affine := self._applied("ShiftScaleRotate"):
            shift = affine.translate_percent
            warp = (
                int(uniform(*shift["x"]) * width),
                int(uniform(*shift["y"]) * height),
                -uniform(*affine.shear["x"]),
                -uniform(*affine.shear["y"]),
                uniform(*affine.scale["x"]),
                uniform(*affine.scale["y"]),
                uniform(*affine.rotate),
            )
        if dropout := self._applied("CoarseDropout"):
            self._reset_bits()
            draw = self._generator.integers
            self._python.randint(*dropout.num_holes_range)
            (low_height, high_height), (low_width, high_width) = dropout.hole_height_range, dropout.hole_width_range
            tall = int(draw(low_height, min(high_height, height) + 1))
            wide = int(draw(low_width, min(high_width, width) + 1))
            top = int(draw(0, height - tall + 1))
            left = int(draw(0, width - wide + 1))
            hole = (top, left, tall, wide)
        return Draw(flip, warp, hole)


def affine_matrices(draws: np.ndarray, height: int, width: int) -> np.ndarray:
    """Affine maps about the image's centre: scaled, then rotated, sheared, shifted.

    Args:
        draws: (N, 7): shift x, shift y in pixels, shear x, shear y in degrees, scale x, scale y, rotation in degrees.
        height: of the image in pixels.
        width: of the image in pixels.

    Returns:
        (N, 2, 3) float64, as ``cv2.warpAffine`` takes it.
    """
    shift_x, shift_y, shear_x, shear_y, scale_x, scale_y, rotation = draws.T
    angle = np.deg2rad(rotation % 360)
    cos, sin = np.cos(angle), np.sin(angle)
    count = len(draws)
    linear = np.empty((count, 2, 2))
    rotated = np.array([[cos * scale_x, sin * scale_y], [-sin * scale_x, cos * scale_y]])
    tan_x, tan_y = np.tan(np.deg2rad(shear_x)), np.tan(np.deg2rad(shear_y))
    linear[:, 0] = (rotated[0] + tan_x * rotated[1]).T
    linear[:, 1] = (tan_y * rotated[0] + rotated[1]).T
    centre = np.array([width / 2 - 0.5, height / 2 - 0.5])
    matrices = np.empty((count, 2, 3))
    matrices[:, :, :2] = linear
    matrices[:, :, 2] = centre + np.stack([shift_x, shift_y], axis=1) - linear @ centre
    return matrices
