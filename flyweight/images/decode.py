"""Image files to the arrays that a network takes: what a person sees, in the network's size."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from flyweight.errors import DataError
from flyweight.text import one_line, printable

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})


def find(places: Iterable[Path]) -> list[Path]:
    """Image files, in the order of the places; those of a folder and its subfolders sorted by name.

    Raises:
        DataError: a place does not exist, or a folder holds no image.
    """
    found = []
    for place in places:
        if place.is_dir():
            inside = sorted(path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
            if not inside:
                raise DataError(f"{place} holds no images ({', '.join(sorted(SUFFIXES))})")
            found += inside
        elif place.exists():
            found.append(place)
        else:
            raise DataError(f"{place} does not exist: name image files or folders of them")
    return found


def read(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """One image as a network takes it.

    It is turned as its EXIF orientation says, put on white where it is transparent, cut to the network's proportions
    about its centre and resized with antialiasing; an image of the right size comes out as it is. Of an animation
    the first frame is taken.

    Args:
        path: of the file.
        shape: (channels, height, width); one channel is grey, three are RGB.

    Returns:
        (height, width, channels) uint8.

    Raises:
        DataError: the file cannot be read to its end as an image, or the network takes neither 1 nor 3 channels.
    """
    channels, height, width = shape
    if channels not in (1, 3):
        raise DataError(f"the network takes {channels} channels: an image file has 1 or 3")
    try:
        with Image.open(path) as opened:
            opened.load()  # to the end: `verify` would pass a file that was cut off
            image = ImageOps.exif_transpose(opened)
        image = _eight_bit(image)
    except Image.DecompressionBombError:
        raise DataError(f"{printable(str(path))}: the image is too large; shrink it") from None
    except Exception as error:
        # decoders raise whatever a damaged file leads them to
        raise DataError(f"{printable(str(path))} cannot be read as an image: {one_line(error)}") from None
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(height, width, channels)


def _eight_bit(image: Image.Image) -> Image.Image:
    """RGB or grey in 8 bits a channel."""
    if image.mode.startswith("I;16"):
        # `convert` would clip everything above 255 to white
        return Image.fromarray((np.array(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        values = np.array(image).astype(np.float64)
        # 16-bit greys in a wider type, shares of white, as scientific images have them, or a scale of their own
        high = 65535.0 if values.max() > 255 else 1.0 if image.mode == "F" and values.max() <= 1 else 255.0
        return Image.fromarray(np.clip(values * (255 / high), 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")
