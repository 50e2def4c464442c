"""What worker processes do with images: look at their headers; decode them into the rows of an array's file.

No torch and little else is imported here, so that a worker starts in a tenth of a second.
"""

from __future__ import annotations

import hashlib
import stat
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from flyweight.data.listing import Content
from flyweight.errors import DataError
from flyweight.images import decode
from flyweight.images.spec import Resize
from flyweight.text import one_line, printable

LARGEST_FILE = 256 * 2**20
"""In bytes; a larger one is no image that anybody would classify, and it is not read."""


class Looked(NamedTuple):
    """What is known of an image before it is decoded.

    Attributes:
        content: SHA-256 of the file's bytes; empty where it could not be read.
        width: in pixels.
        height: in pixels.
        grey: whether it has no colours.
        format: such as PNG.
        error: why it cannot be used; none: it can.
        passing: whether that is the file system's error, which another try may not meet.
    """

    content: bytes = b""
    width: int = 0
    height: int = 0
    grey: bool = True
    format: str = ""
    error: str | None = None
    passing: bool = False


class Decoded(NamedTuple):
    """What is known of an image once it is decoded.

    Attributes:
        digest: BLAKE2b of its pixels, 16 bytes.
        sums: of its pixels, a channel.
        squares: of its squared pixels, a channel.
        hash: 64 bits that near duplicates nearly share, see :func:`perceptual_hashes`.
        error: why it cannot be used; none: it can.
    """

    digest: bytes = bytes(16)
    sums: tuple[int, ...] = ()
    squares: tuple[int, ...] = ()
    hash: int = 0
    error: str | None = None


def look(contents: list[Content]) -> list[Looked]:
    """Hash each image and read its header."""
    return [_look(content) for content in contents]


def _look(content: Content) -> Looked:
    if isinstance(content, np.ndarray):
        grey = content.ndim == 2 or content.shape[2] == 1
        digest = hashlib.sha256(f"{content.shape}".encode() + content.tobytes()).digest()
        return Looked(digest, content.shape[1], content.shape[0], grey, "array")
    try:
        raw = _bytes(content) if isinstance(content, Path) else content
        header = decode.header(raw)
    except OSError as error:
        return Looked(error=error.strerror or one_line(error), passing=True)
    except ValueError as error:
        return Looked(error=str(error))
    return Looked(hashlib.sha256(raw).digest(), header.width, header.height, header.grey, header.format)


def _bytes(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        OSError: it cannot be read now.
        ValueError: it is nothing that is read.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is not a regular file")
    if status.st_size > LARGEST_FILE:
        raise ValueError(f"it has {status.st_size / 2**20:,.0f} MiB, more than an image has")
    return path.read_bytes()


def decode_rows(
    contents: list[Content], rows: list[int], file: Path, offset: int, shape: tuple[int, int, int], resize: Resize
) -> list[Decoded]:
    """Decode images and write each into its row of a file.

    Args:
        contents: the images.
        rows: where each goes.
        file: of an array of (N, H, W, C) uint8.
        offset: of its first row in the file, in bytes.
        shape: (channels, height, width).
        resize: what becomes of other proportions.

    Raises:
        OSError: the file cannot be written.
        DataError: an image's file could be read a moment ago, and no longer. To take it for a broken image would keep
            that in the cache for good.
    """
    channels, height, width = shape
    size = channels * height * width
    pixels = np.zeros((len(contents), height, width, channels), np.uint8)
    errors: list[str | None] = []
    for place, content in enumerate(contents):
        raw = _again(content) if isinstance(content, Path) else content
        try:
            if isinstance(raw, np.ndarray):
                pixels[place] = decode.fitted(raw, shape, resize)
            else:
                pixels[place] = decode.decode(raw, shape, resize)
            errors.append(None)
        except ValueError as error:
            errors.append(str(error))
    # written and not mapped: what a map has changed counts as this process's memory
    with file.open("r+b") as array:
        for image, row in zip(pixels, rows, strict=True):
            array.seek(offset + row * size)
            array.write(image.data)
    found = described(pixels)
    return [record if error is None else Decoded(error=error) for record, error in zip(found, errors, strict=True)]


def described(pixels: np.ndarray) -> list[Decoded]:
    """What is known of images by their (N, H, W, C) uint8 pixels."""
    return [_described(image, code) for image, code in zip(pixels, perceptual_hashes(pixels).tolist(), strict=True)]


def _described(image: np.ndarray, code: int) -> Decoded:
    # image by image: all of a job at once would fill the memory where they are large. Whole numbers below 2**53 are
    # exact in float64, whose products are many times faster than sums of bytes
    wide = image.reshape(-1, image.shape[2]).astype(np.float64)
    sums, squares = np.ones(len(wide)) @ wide, np.diagonal(wide.T @ wide)
    digest = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
    return Decoded(digest, tuple(map(int, sums)), tuple(map(int, squares)), code)


def _again(path: Path) -> bytes:
    try:
        return _bytes(path)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(f"{printable(str(path))} changed while it was read ({why}): start again") from None


def perceptual_hashes(images: np.ndarray) -> np.ndarray:
    """64 bits of each image that a re-encoded, resized or slightly brighter copy nearly shares.

    Signs of the 64 lowest frequencies of the grey image's cosine transform about their median (the "pHash" of Zauner
    2010, "Implementation and benchmarking of perceptual image hash functions", section 3.2.1).

    Args:
        images: (N, H, W, C) uint8.

    Returns:
        (N,) uint64.
    """
    _, height, width, _ = images.shape
    grey = images.mean(3, dtype=np.float32)
    low = _cosines(height) @ grey @ _cosines(width).T
    low = low.reshape(len(images), 64)
    # the first one is the brightness: it says nothing of what is seen, and is far from the others
    bits = low > np.median(low[:, 1:], axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


@cache
def _cosines(size: int) -> np.ndarray:
    """(8, size): the 8 lowest frequencies of the DCT-II."""
    places = (2 * np.arange(size) + 1) * np.pi / (2 * size)
    return np.cos(np.arange(8)[:, None] * places).astype(np.float32)
