"""A map of what spoke for a class, laid over the image as it was: at its own resolution, nothing cut off."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from flyweight.images.sizing import view
from flyweight.images.spec import Resize

STRONGEST = 0.65
"""How much of the colour covers the image where the map is 1."""

UNSEEN = 0.35
"""What is left of the brightness where the network saw nothing."""

COLOURS = "inferno"

_NARROWEST = 320
_TEXT, _SMALL, _EDGE = 15, 12, 8


def laid_over(image: Image.Image, heat: np.ndarray, resize: Resize) -> Image.Image:
    """Colour an image where a map is high, and darken what was cropped away.

    Args:
        image: as a person sees it, of any size.
        heat: (height, width) float32 in 0 to 1, over what the network took of it.
        resize: how it was brought to that size.

    Returns:
        RGB of the image's own size.
    """
    pixels = np.asarray(image.convert("RGB"), np.float32)
    left, top, right, bottom = view(image.size, (heat.shape[1], heat.shape[0]), resize)
    across, down = heat.shape[1] / (right - left), heat.shape[0] / (bottom - top)
    affine = (across, 0, -left * across, 0, down, -top * down)
    strength = np.asarray(
        Image.fromarray(heat.astype(np.float32)).transform(
            image.size, Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR
        )
    ).clip(0, 1)
    colours = 255 * matplotlib.colormaps[COLOURS](strength)[..., :3].astype(np.float32)
    share = (STRONGEST * strength)[..., None]
    mixed = pixels * (1 - share) + colours * share
    columns, rows = np.arange(image.width) + 0.5, np.arange(image.height) + 0.5
    seen = ((left <= columns) & (columns <= right))[None] & ((top <= rows) & (rows <= bottom))[:, None]
    return Image.fromarray(np.where(seen[..., None], mixed, UNSEEN * pixels).round().astype(np.uint8))


def captioned(image: Image.Image, title: str, about: str) -> Image.Image:
    """An image over a strip of words: what was said of it, and what its colours mean.

    Args:
        image: RGB; a narrow one gets room beside it, and stays as it is.
        title: the first line.
        about: the second line, before a scale of the colours.
    """
    title_font, small_font = (_font(size) for size in (_TEXT, _SMALL))
    scale = 90
    needed = max(title_font.getlength(title), small_font.getlength(about) + _EDGE + scale) + 2 * _EDGE
    width = max(image.width, _NARROWEST, int(needed) + 1)
    strip = _TEXT + _SMALL + 4 * _EDGE
    whole = Image.new("RGB", (width, image.height + strip), "white")
    whole.paste(image, ((width - image.width) // 2, 0))
    draw = ImageDraw.Draw(whole)
    line = image.height + _EDGE
    draw.text((_EDGE, line), title, "black", title_font)
    line += _TEXT + _EDGE
    draw.text((_EDGE, line), about, "#444444", small_font)
    start = int(_EDGE + small_font.getlength(about) + _EDGE)
    ramp = 255 * matplotlib.colormaps[COLOURS](np.linspace(0, 1, scale))[:, :3]
    bar = np.broadcast_to(ramp[None], (_SMALL, scale, 3)).round().astype(np.uint8)
    whole.paste(Image.fromarray(bar), (start, line + 2))
    return whole


def _font(size: int) -> ImageFont.FreeTypeFont:
    """The letters of Matplotlib's figures: they come with it, and know most scripts of Europe."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)
