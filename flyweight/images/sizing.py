"""From the size of an image to that of a network, and back."""

from __future__ import annotations

from PIL import Image, ImageOps

from flyweight.images.spec import Resize

GREY = 128
"""Around an image that is padded."""


def resized(image: Image.Image, size: tuple[int, int], resize: Resize) -> Image.Image:
    """An image, grey or RGB, in another (width, height); of that size it comes back as it is."""
    if image.size == size:
        return image
    if resize == "crop":
        return ImageOps.fit(image, size, Image.Resampling.BICUBIC)
    if resize == "pad":
        return _padded(image, size)
    return image.resize(size, Image.Resampling.BICUBIC)


def _padded(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """As `ImageOps.pad`, but that a line of pixels stays a line where that would make nothing of it."""
    inner, place = _inner(image.size, size)
    whole = Image.new(image.mode, size, GREY if image.mode == "L" else (GREY,) * 3)
    whole.paste(image.resize(inner, Image.Resampling.BICUBIC), place)
    return whole


def _inner(own: tuple[int, int], size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The size to which an image is shrunk that is padded, and where it is put."""
    scale = min(size[0] / own[0], size[1] / own[1])
    width, height = (max(1, round(side * scale)) for side in own)
    return (width, height), (round((size[0] - width) / 2), round((size[1] - height) / 2))


def view(size: tuple[int, int], taken: tuple[int, int], resize: Resize) -> tuple[float, float, float, float]:
    """Where on an image what a network takes of it lies: left, top, right, bottom; beyond its border where padded.

    Args:
        size: (width, height) of the image.
        taken: (width, height) of what the network takes.
        resize: what becomes of other proportions.
    """
    (width, height), (wide, high) = size, taken
    if size == taken or resize == "squash":
        return 0, 0, width, height
    if resize == "crop":  # as ImageOps.fit does
        kept = min(width, height * wide / high), min(height, width * high / wide)
        left, top = (width - kept[0]) / 2, (height - kept[1]) / 2
        return left, top, left + kept[0], top + kept[1]
    (inner_wide, inner_high), (left, top) = _inner(size, taken)
    across, down = width / inner_wide, height / inner_high
    return -left * across, -top * down, (wide - left) * across, (high - top) * down
