"""Image files written by hand, where no library writes what is wanted, or where the library is what is tested."""

import struct
import zlib
from collections.abc import Callable, Sequence

import numpy as np

# EXIF's orientations: what must be done to the upright image so that a camera's orientation n brings it back
LYING: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
"""Kinds of colour of a PNG."""

_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""Adam7: first row, first column, and the steps between two."""


def with_orientation(value: int, kind: int = 3) -> bytes:
    """EXIF that holds an orientation alone, as bytes; kind 3 is what it must be, 2 is text."""
    content = struct.pack("<H", value) + b"\0\0" if kind == 3 else b"6\0\0\0"
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHI", 0x0112, kind, 1) + content + b"\0\0\0\0"


def chunk(name: bytes, content: bytes) -> bytes:
    """A part of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_file(width: int, height: int, bits: int, kind: int, *parts: bytes, interlaced: bool = False) -> bytes:
    """A PNG of parts that stand between its head and its end, whatever they say."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, interlaced))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(parts) + chunk(b"IEND", b"")


def png_head(width: int, height: int, kind: int = PALETTE) -> bytes:
    """A PNG that says it has so many pixels, and has none."""
    return png_file(width, height, 8, kind, chunk(b"PLTE", bytes(768)), chunk(b"IDAT", zlib.compress(bytes(100))))


def png(
    samples: np.ndarray, bits: int, kind: int, before: Sequence[bytes] = (), after: Sequence[bytes] = (),
    interlaced: bool = False, filters: Sequence[int] = (0,),
) -> bytes:  # fmt: skip
    """A PNG with such numbers in it.

    Args:
        samples: (H, W, channels) integers of so many bits.
        bits: of a number.
        kind: of colour.
        before: chunks that stand before the pixels.
        after: chunks that stand behind them.
        interlaced: by Adam7.
        filters: of the lines, in turn.
    """
    height, width = samples.shape[:2]
    raw = b""
    for row, column, down, across in _PASSES if interlaced else ((0, 0, 1, 1),):
        raw += _lines(samples[row::down, column::across], bits, filters)
    pixels = chunk(b"IDAT", zlib.compress(raw, 1))
    return png_file(width, height, bits, kind, *before, pixels, *after, interlaced=interlaced)


def _lines(samples: np.ndarray, bits: int, filters: Sequence[int]) -> bytes:
    if not samples.size:
        return b""
    numbers = samples.reshape(len(samples), -1)
    if bits == 16:
        packed = np.ascontiguousarray(numbers.astype(">u2")).view(np.uint8)
    else:
        places = np.unpackbits(numbers.astype(np.uint8)[:, :, None], axis=2)[:, :, 8 - bits :]
        packed = np.packbits(places.reshape(len(numbers), -1), axis=1)
    step, above, out = max(1, samples.shape[2] * bits // 8), np.zeros(packed.shape[1], int), b""
    for number, line in enumerate(packed.astype(int)):
        kind = filters[number % len(filters)]
        left, corner = (np.concatenate([np.zeros(step, int), of])[: len(line)] for of in (line, above))
        guess = (0, left, above, (left + above) // 2, _paeth(left, above, corner))[kind]
        out += bytes([kind]) + ((line - guess) % 256).astype(np.uint8).tobytes()
        above = line
    return out


def _paeth(left: np.ndarray, above: np.ndarray, corner: np.ndarray) -> np.ndarray:
    near = left + above - corner
    away = [np.abs(near - one) for one in (left, above, corner)]
    return np.where((away[0] <= away[1]) & (away[0] <= away[2]), left, np.where(away[1] <= away[2], above, corner))
