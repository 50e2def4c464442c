"""Image files to the arrays that a network takes: what a person sees, in the network's size."""

from __future__ import annotations

import io
import logging
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from flyweight.errors import DataError
from flyweight.images import levels
from flyweight.images.sizing import resized
from flyweight.images.spec import Resize
from flyweight.text import one_line, printable

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
)
"""Files that are taken for images in a folder to predict from. What a file is, its content decides."""

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF")
"""Formats that are read: those that hold pixels, and none that is a program or starts one. A phone's MPO is a JPEG."""

MOST_PIXELS = 50_000_000
"""Of an image in memory, for some formats half of them. A JPEG of more is decoded at a fraction of its size."""

# what Pillow logs of a damaged file would go to standard error; it comes with its error
logging.getLogger("PIL").addHandler(logging.NullHandler())

_MEGAPIXELS = MOST_PIXELS // 10**6
# Pillow decodes these with several copies of the whole image
_HEAVY = ("WEBP", "AVIF")

Source = Path | bytes | Image.Image | np.ndarray
"""An image: a file, its bytes, one that Pillow has opened, or its pixels."""

_ORIENTATION = 0x0112
# what EXIF's orientations 2 to 8 ask for
_TURNS = (
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.ROTATE_180,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
)


@dataclass(frozen=True)
class Header:
    """What an image file says of itself before it is decoded.

    Attributes:
        width: in pixels, as a person sees it.
        height: in pixels, as a person sees it.
        grey: whether it has no colours.
        format: such as PNG, whatever its name ends in.
    """

    width: int
    height: int
    grey: bool
    format: str


def read(source: Source, shape: tuple[int, int, int], resize: Resize = "crop", name: str | None = None) -> np.ndarray:
    """One image as a network takes it.

    Args:
        source: a file, its bytes, an image of Pillow's, or (H, W) or (H, W, C) uint8.
        shape: (channels, height, width); one channel is grey, three are RGB.
        resize: what becomes of other proportions.
        name: of the image, for the message; by default the file's.

    Returns:
        (height, width, channels) uint8.

    Raises:
        DataError: it cannot be read to its end as an image, or the network takes neither 1 nor 3 channels.
    """
    if isinstance(source, np.ndarray) and source.dtype == np.uint8 and source.shape == (*shape[1:], shape[0]):
        return source
    if shape[0] not in (1, 3):
        raise DataError(f"the network takes {shape[0]} channels: an image file has 1 or 3")
    try:
        if isinstance(source, np.ndarray):
            return fitted(_pixels(source), shape, resize)
        return decode(source, shape, resize)
    except ValueError as error:
        shown = name or (str(source) if isinstance(source, Path) else "the image")
        raise DataError(f"{printable(shown)} cannot be read as an image: {error}") from None


def _pixels(array: np.ndarray) -> np.ndarray:
    """The array where it holds an image's pixels.

    Raises:
        ValueError: it does not.
    """
    if array.dtype != np.uint8:
        raise ValueError(f"its numbers are {array.dtype} and not uint8, 0 to 255")
    if array.ndim not in (2, 3) or not array.size or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ValueError(f"its shape is {array.shape} and not (height, width) or (height, width, 1, 3 or 4 channels)")
    if array.shape[0] * array.shape[1] > MOST_PIXELS:
        raise ValueError(f"it has {array.shape[1]}x{array.shape[0]} pixels: shrink it below {_MEGAPIXELS} megapixels")
    return np.ascontiguousarray(array)


def header(source: Path | bytes) -> Header:
    """Look at an image without decoding it.

    Raises:
        ValueError: why it cannot be read, in a few words.
    """
    with _opened(source) as image:
        # of a TIFF Pillow gives the size that it has once it is turned, and a PNG it would decode to look at its end
        upright = image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info)
        width, height = image.size if upright or _orientation(image) < 5 else image.size[::-1]
        grey = image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;16")
        return Header(width, height, grey, image.format or "")


def decode(source: Path | bytes | Image.Image, shape: tuple[int, int, int], resize: Resize) -> np.ndarray:
    """One image as a network takes it: `flyweight.images.spec.Preprocessing` says how. Of an animation the first frame.

    An image of the right size comes out as it is. A JPEG is decoded at a fraction of its size where that has twice the
    network's at least, which costs nothing to see and saves most of the time.

    Args:
        source: a file, its bytes, or an image that Pillow has opened, which stays as it is.
        shape: (channels, height, width); one channel is grey, three are RGB.
        resize: what becomes of other proportions.

    Returns:
        (height, width, channels) uint8.

    Raises:
        ValueError: why it cannot be read, in a few words.
    """
    channels, height, width = shape
    image = resized(upright(source, 2 * max(width, height)), (width, height), resize)
    pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(height, width, channels)


def upright(source: Path | bytes | Image.Image, enough: int | None = None) -> Image.Image:
    """An image as a person sees it: of 8 bits, on white where it was transparent, turned as its camera was held.

    Args:
        source: a file, its bytes, or an image that Pillow has opened, which stays as it is.
        enough: pixels a side; a JPEG may come at a fraction of its size that has as many. None: at its own size.

    Returns:
        RGB or grey.

    Raises:
        ValueError: why it cannot be read, in a few words.
    """
    with _opened(source) as opened:
        small = opened.width * opened.height <= MOST_PIXELS
        if opened is not source and enough is not None and (small or _by_lines(opened)):
            opened.draft(None, (enough, enough))
        _small_or_raise(opened)
        said = levels.stated(opened)
        if opened is not source:
            levels.mend(opened)
        if opened.format == "TIFF":
            _silence_libtiff()
        opened.load()  # to the end: `verify` would pass a file that was cut off
        orientation = _orientation(opened)
        image = levels.eight_bit(opened, said)
    image = image.copy() if image is source else image
    return image.transpose(_TURNS[orientation - 2]) if orientation > 1 else image


def _small_or_raise(image: Image.Image) -> None:
    most = MOST_PIXELS // 2 if image.format in _HEAVY else MOST_PIXELS
    if image.width * image.height > most:
        of = f" as {image.format}, which takes more memory" if image.format in _HEAVY else ""
        raise ValueError(f"it has {image.width}x{image.height} pixels: shrink it below {most // 10**6} megapixels{of}")


@cache
def _silence_libtiff() -> None:
    """Keep libtiff from writing to standard error, past Python: what it says of a damaged file comes with its error."""
    import ctypes

    # of another build of Pillow the library's functions may be out of reach
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(Image.core.__file__)
        for function in (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler):
            function.restype = ctypes.c_void_p
            function(None)


def _by_lines(image: Image.Image) -> bool:
    """Whether a JPEG is decoded line by line. One of several scans is in memory as a whole, whatever is taken of it."""
    if image.info.get("progressive"):
        return False
    file, count = getattr(image, "fp", None), getattr(image, "layers", 1)
    if file is None:
        return True
    place = file.tell()
    held = _colours_of_first_scan(file)
    file.seek(place)
    return held == count


def _colours_of_first_scan(file: IO[bytes]) -> int:
    """How many colours the first scan of a JPEG holds; 0 where there is none. A phone's file begins with one, too."""
    file.seek(2)
    while len(head := file.read(4)) == 4 and head[0] == 0xFF:
        if head[1] == 0xDA:
            return (file.read(1) or b"\0")[0]
        file.seek(int.from_bytes(head[2:], "big") - 2, os.SEEK_CUR)
    return 0


def fitted(pixels: np.ndarray, shape: tuple[int, int, int], resize: Resize) -> np.ndarray:
    """An image that is an array already, (H, W) or (H, W, C) uint8, as a network takes it: see :func:`decode`."""
    channels, height, width = shape
    grey = pixels.ndim == 2 or pixels.shape[2] == 1
    image = Image.fromarray(pixels.reshape(pixels.shape[:2]) if grey else pixels)
    image = resized(levels.eight_bit(image, levels.Stated()), (width, height), resize).convert(
        "L" if channels == 1 else "RGB"
    )
    return np.array(image).reshape(height, width, channels)


@contextmanager
def _opened(source: Path | bytes | Image.Image) -> Iterator[Image.Image]:
    """An image whose header has been read; whatever goes wrong with it becomes a ValueError of a few words."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow's, on odd metadata and large images
            if isinstance(source, Path) and not stat.S_ISREG(source.stat().st_mode):
                raise ValueError("it is not a regular file")  # a pipe would be waited for without end
            if isinstance(source, Image.Image):
                yield source
                return
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
                yield image
    except Image.UnidentifiedImageError:
        raise ValueError("it is no image" if _size(source) else "it is empty") from None
    except OSError as error:
        raise ValueError(error.strerror or one_line(error)) from None
    except Image.DecompressionBombError:
        raise ValueError(f"it has far too many pixels: shrink it below {_MEGAPIXELS} megapixels") from None
    except MemoryError:
        raise  # it says nothing of the image
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise ValueError(one_line(error)) from None


def _size(source: Path | bytes | Image.Image) -> int:
    return len(source) if isinstance(source, bytes) else source.stat().st_size if isinstance(source, Path) else 1


def _orientation(image: Image.Image) -> int:
    """EXIF's, 1 to 8; 1 where it says nothing that can be read. The other tags may be damaged and matter not."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF raises anything; the pixels are sound all the same
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
