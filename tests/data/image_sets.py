"""Small sets of images in the layouts that readers take."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, height: int = 20, width: int = 24, grey: bool = False) -> np.ndarray:
    """Coarse noise: no two seeds look alike, and it survives a JPEG."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6) if grey else (5, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    """Write an image, with the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def image_folder(
    folder: Path, classes: Sequence[str] = ("cat", "dog"), each: int = 10, splits: Sequence[str] = ("",)
) -> Path:
    """Folders of so many PNG files a class, in so many splits."""
    for place, split in enumerate(splits):
        for number, name in enumerate(classes):
            for image in range(each):
                save(folder / split / name / f"{image}.png", picture(1000 * (10 * place + number) + image))
    return folder
