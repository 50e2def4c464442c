"""Image files to the arrays that a network takes: what a person sees, in the network's size."""

from __future__ import annotations

import io
import stat
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from flyweight.errors import DataError
from flyweight.images.spec import Resize
from flyweight.text import one_line, printable

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
)
"""Files that are taken for images in a folder to predict from. What a file is, its content decides."""

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF")
"""Formats that are read: those that hold pixels, and none that is a program or starts one. A phone's MPO is a JPEG."""

MOST_PIXELS = 50_000_000
"""Of an image in memory. A JPEG of more is decoded at a fraction of its size."""

_MEGAPIXELS = MOST_PIXELS // 10**6

GREY = 128
"""Around an image that is padded."""

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


def read(path: Path, shape: tuple[int, int, int], resize: Resize = "crop") -> np.ndarray:
    """One image file as a network takes it.

    Args:
        path: of the file.
        shape: (channels, height, width); one channel is grey, three are RGB.
        resize: what becomes of other proportions.

    Returns:
        (height, width, channels) uint8.

    Raises:
        DataError: the file cannot be read to its end as an image, or the network takes neither 1 nor 3 channels.
    """
    if shape[0] not in (1, 3):
        raise DataError(f"the network takes {shape[0]} channels: an image file has 1 or 3")
    try:
        return decode(path, shape, resize)
    except ValueError as error:
        raise DataError(f"{printable(str(path))} cannot be read as an image: {error}") from None


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


def decode(source: Path | bytes, shape: tuple[int, int, int], resize: Resize) -> np.ndarray:
    """One image as a network takes it: `flyweight.images.spec.Preprocessing` says how. Of an animation the first frame.

    An image of the right size comes out as it is. A JPEG is decoded at a fraction of its size where that has twice the
    network's at least, which costs nothing to see and saves most of the time.

    Args:
        source: a file, or its bytes.
        shape: (channels, height, width); one channel is grey, three are RGB.
        resize: what becomes of other proportions.

    Returns:
        (height, width, channels) uint8.

    Raises:
        ValueError: why it cannot be read, in a few words.
    """
    channels, height, width = shape
    with _opened(source) as opened:
        opened.draft(None, (2 * max(width, height),) * 2)
        if opened.width * opened.height > MOST_PIXELS:
            raise ValueError(f"it has {opened.width}x{opened.height} pixels: shrink it below {_MEGAPIXELS} megapixels")
        opened.load()  # to the end: `verify` would pass a file that was cut off
        orientation = _orientation(opened)
        image = _eight_bit(opened)
    if orientation > 1:
        image = image.transpose(_TURNS[orientation - 2])
    image = _resized(image, (width, height), resize)
    pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(height, width, channels)


def fitted(pixels: np.ndarray, shape: tuple[int, int, int], resize: Resize) -> np.ndarray:
    """An image that is an array already, (H, W) or (H, W, C) uint8, as a network takes it: see :func:`decode`."""
    channels, height, width = shape
    grey = pixels.ndim == 2 or pixels.shape[2] == 1
    image = Image.fromarray(pixels.reshape(pixels.shape[:2]) if grey else pixels)
    image = _resized(_eight_bit(image), (width, height), resize).convert("L" if channels == 1 else "RGB")
    return np.array(image).reshape(height, width, channels)


@contextmanager
def _opened(source: Path | bytes) -> Iterator[Image.Image]:
    """An image whose header has been read; whatever goes wrong with it becomes a ValueError of a few words."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow's, on odd metadata and large images
            if isinstance(source, Path) and not stat.S_ISREG(source.stat().st_mode):
                raise ValueError("it is not a regular file")  # a pipe would be waited for without end
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


def _size(source: Path | bytes) -> int:
    return len(source) if isinstance(source, bytes) else source.stat().st_size


def _orientation(image: Image.Image) -> int:
    """EXIF's, 1 to 8; 1 where it says nothing that can be read. The other tags may be damaged and matter not."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF raises anything; the pixels are sound all the same
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _resized(image: Image.Image, size: tuple[int, int], resize: Resize) -> Image.Image:
    if image.size == size:
        return image
    if resize == "crop":
        return ImageOps.fit(image, size, Image.Resampling.BICUBIC)
    if resize == "pad":
        return _padded(image, size)
    return image.resize(size, Image.Resampling.BICUBIC)


def _padded(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """As `ImageOps.pad`, but that a line of pixels stays a line where that would make nothing of it."""
    scale = min(size[0] / image.width, size[1] / image.height)
    width, height = (max(1, round(side * scale)) for side in image.size)
    whole = Image.new(image.mode, size, GREY if image.mode == "L" else (GREY,) * 3)
    inner = image.resize((width, height), Image.Resampling.BICUBIC)
    whole.paste(inner, (round((size[0] - width) / 2), round((size[1] - height) / 2)))
    return whole


def _eight_bit(image: Image.Image) -> Image.Image:
    """RGB or grey in 8 bits a channel."""
    if image.mode.startswith("I;16"):
        # `convert` would clip everything above 255 to white, and forget which grey is transparent
        values = np.array(image).astype(np.uint16)
        eight = (values >> 8).astype(np.uint8)
        clear = image.info.get("transparency")
        return Image.fromarray(np.where(values == clear, np.uint8(255), eight) if isinstance(clear, int) else eight)
    if image.mode in ("I", "F"):
        values = np.array(image).astype(np.float64)
        # what is no number is black, and the infinite white
        levels = np.clip(values * (255 / _white(values, image.mode)), 0, 255)
        return Image.fromarray(np.nan_to_num(levels, nan=0.0).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.copy() if image.mode in ("L", "RGB") else image.convert("RGB")


def _white(values: np.ndarray, mode: str) -> float:
    """Which of an image's numbers is white: the end of the narrowest scale that holds them all.

    Args:
        values: float64; those that are not finite do not count.
        mode: ``I``, whose numbers have up to 32 bits, or ``F``, as scientific images have them: mostly shares of white.
    """
    scales = (255.0, 2.0**16 - 1, 2.0**31 - 1) if mode == "I" else (1.0, 255.0, 2.0**16 - 1)
    brightest = float(values.max(initial=0, where=np.isfinite(values)))
    return next((scale for scale in scales if brightest <= scale), brightest)
