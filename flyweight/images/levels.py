"""The numbers of an image, of any kind that Pillow reads, as levels of 8 bits: what a person sees.

Pillow forgets with the decoding what a file says of its numbers, and some of it it never looks at: `stated` reads it
before. A large image is worked on in bands of lines, so that nothing is there twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFile

BAND = 2**20
"""Pixels that are worked on at once, about."""

_BITS, _PHOTOMETRIC, _PLANES, _SIGN = 258, 262, 284, 339
"""Tags of a TIFF."""


@dataclass(frozen=True)
class Stated:
    """What a file says of its numbers.

    Attributes:
        white: the number that is white; none: the end of the narrowest scale that holds them all.
        inverted: whether 0 is white in truth.
        unsigned: whether they have 32 bits and no sign, which Pillow takes for one.
        clear: the level, or the three, of what is transparent; none: there is no such colour.
    """

    white: float | None = None
    inverted: bool = False
    unsigned: bool = False
    clear: tuple[int, ...] | None = None


def stated(image: Image.Image) -> Stated:
    """What the file of an image that has not been decoded yet says; of one that has, what Pillow still knows."""
    clear = image.info.get("transparency")
    colours = _colours(image, clear) if image.mode in ("1", "L", "RGB") else None
    if image.format == "PPM" and image.mode == "I":
        return Stated(white=2.0**16 - 1)
    if image.mode.startswith("I;16") and isinstance(clear, int):
        return Stated(clear=(clear,))
    tags: dict[int, Any] = getattr(image, "tag_v2", {})
    if image.format != "TIFF" or image.mode[0] not in "IF":
        return Stated(clear=colours)
    bits, sign = (tags.get(tag, (1,))[0] for tag in (_BITS, _SIGN))
    return Stated(
        white=2.0**bits - 1 if image.mode.startswith("I;16") else None,
        inverted=tags.get(_PHOTOMETRIC) == 0,
        unsigned=image.mode == "I" and (bits, sign) == (32, 1),
    )


def _colours(image: Image.Image, clear: object) -> tuple[int, ...] | None:
    """The transparent colour in levels of 8 bits; a PNG tells it in as many bits as its numbers have."""
    values = (clear,) if isinstance(clear, int) else clear
    if not (isinstance(values, tuple) and len(values) == (3 if image.mode == "RGB" else 1)):
        return None
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) and image.format == "PNG" else []
    told = str(tiles[0].args) if tiles else ""
    scale = {"1": 255.0, "L;2": 85.0, "L;4": 17.0, "RGB;16B": 1 / 256}.get(told, 1.0)
    return tuple(int(value * scale) for value in values)


def mend(image: Image.Image) -> None:
    """Let Pillow decode two kinds of TIFF that it would decode wrongly: call it before the decoding.

    libtiff gives the numbers in the machine's order, and some of them Pillow would turn about once more; and it takes
    numbers of 16 bits for ones of 8 where each colour has a plane of its own.
    """
    if image.format != "TIFF" or not isinstance(image, ImageFile.ImageFile):
        return
    tags: dict[int, Any] = getattr(image, "tag_v2", {})
    turned = {"F;32BF": "F;32F", "I;32BS": "I;32S", "I;16BS": "I;16S"}
    deep = tags.get(_PLANES) == 2 and tags.get(_BITS, (1,))[0] == 16
    order = "L" if getattr(tags, "prefix", b"II") == b"II" else "B"
    tiles = []
    for tile in image.tile:
        args = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        if tile.codec_name == "libtiff" and args[0] in turned:
            tile = tile._replace(args=(turned[args[0]], *args[1:]))
        elif tile.codec_name == "raw" and deep:
            tile = tile._replace(args=(f"{args[0]};16{order}", *args[1:]))
        tiles.append(tile)
    image.tile = tiles


def eight_bit(image: Image.Image, said: Stated) -> Image.Image:
    """RGB or grey in 8 bits a channel; the image itself where it is that.

    Args:
        image: decoded.
        said: of its file.
    """
    if image.mode[0] in "IF":
        levels = np.empty((image.height, image.width), np.uint8)
        scale = _scale(image, said)
        for top, band in _bands(image):
            levels[top : top + band.height] = scale(_numbers(band, said))
        return Image.fromarray(levels)
    clear = said.clear
    if image.mode in ("1", "L", "RGB"):
        if clear is None:
            return image.convert("L") if image.mode == "1" else image
        return _joined(image, "RGB" if image.mode == "RGB" else "L", lambda band: _without(band, clear))
    if image.has_transparency_data:
        return _joined(image, "RGB", _on_white)
    return image.convert("RGB")


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """First lines, and so many lines from there."""
    step = max(1, BAND // image.width)
    for top in range(0, image.height, step):
        yield top, image.crop((0, top, image.width, min(top + step, image.height)))


def _joined(image: Image.Image, mode: str, change: Callable[[Image.Image], Image.Image]) -> Image.Image:
    whole = Image.new(mode, image.size)
    for top, band in _bands(image):
        band.info = image.info  # which a part of an image does not have of itself
        whole.paste(change(band), (0, top))
    return whole


def _without(band: Image.Image, clear: tuple[int, ...]) -> Image.Image:
    """With white in place of a colour."""
    pixels = np.array(band.convert("L") if band.mode == "1" else band)
    pixels[(pixels.reshape(*pixels.shape[:2], -1) == clear).all(2)] = 255
    return Image.fromarray(pixels)


def _on_white(band: Image.Image) -> Image.Image:
    seen = band.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")


def _numbers(band: Image.Image, said: Stated) -> np.ndarray:
    """(H, W) float64."""
    numbers = np.array(band)
    return (numbers.astype(np.int32).view(np.uint32) if said.unsigned else numbers).astype(np.float64)


def _scale(image: Image.Image, said: Stated) -> Callable[[np.ndarray], np.ndarray]:
    """From an image's numbers to levels. What is no number is black, and the infinite white."""
    deep = image.mode.startswith("I;16")
    white = said.white or (2.0**16 - 1 if deep else _white(image, said))
    clear = said.clear[0] if said.clear and deep else None

    def levels(values: np.ndarray) -> np.ndarray:
        # of whole numbers the upper eight bits
        share = values * (256 / (white + 1)) if deep else values * (255 / white)
        whole = np.nan_to_num(np.clip(share, 0, 255), nan=0.0).astype(np.uint8)
        whole = 255 - whole if said.inverted else whole
        return whole if clear is None else np.where(values == clear, np.uint8(255), whole)

    return levels


def _white(image: Image.Image, said: Stated) -> float:
    """Which number of an image is white: the end of the narrowest scale that holds them all.

    Args:
        image: its mode is ``I``, whose numbers have up to 32 bits, or ``F``, as scientific images have them: mostly
            shares of white.
        said: of its file.
    """
    last = 2.0**32 - 1 if said.unsigned else 2.0**31 - 1
    scales = (255.0, 2.0**16 - 1, last) if image.mode == "I" else (1.0, 255.0, 2.0**16 - 1)
    brightest = 0.0
    for _, band in _bands(image):
        # those that are not finite do not count
        values = _numbers(band, said)
        brightest = float(values.max(initial=brightest, where=np.isfinite(values)))
    return next((scale for scale in scales if brightest <= scale), brightest)
