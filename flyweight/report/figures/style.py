"""How figures look, how they become files, and what several of them draw.

The object API of Matplotlib with the Agg canvas is used, so that no global state is touched and no window can open.
Colours are those of Okabe and Ito, which people with any colour vision can tell apart. Names are drawn as they are:
a ``$`` starts no formula.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any, TypeVar

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

T = TypeVar("T")
DPI = 110
BLUE, ORANGE, GREEN, GREY, INK = "#0072B2", "#D55E00", "#009E73", "#8A8A8A", "#222222"
STYLE: dict[Any, Any] = {
    "text.parse_math": False,
    "text.usetex": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}
styled = matplotlib.rc_context(STYLE)


def png(figure: Figure) -> bytes:
    """The figure as a PNG file, the same bytes for the same figure and library."""
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(DPI)
    with warnings.catch_warnings():
        # a name in a script that the font lacks is drawn as boxes
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        canvas.draw()  # once: Matplotlib's own way to save lays a figure out in a drawing before
    buffer = io.BytesIO()
    # nothing shines through
    Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).save(buffer, "PNG", dpi=(DPI, DPI))
    return buffer.getvalue()


def spread(items: Sequence[T], most: int) -> list[T]:
    """At most so many of them at equal distances in their order, the first one included."""
    count = min(most, len(items))
    return [items[position * len(items) // count] for position in range(count)]


def proportion(shape: Sequence[int]) -> float:
    """Height over width of the panels for images of a shape (..., H, W, C), so that an extreme one stays legible."""
    height, width = shape[-3:-1]
    return min(max(height / width, 0.5), 1.5)


def show_image(axes: Axes, image: np.ndarray) -> None:
    """Draw an (H, W, C) uint8 image, grey where it has one channel, without axes around it."""
    image = image[..., 0] if image.shape[-1] == 1 else image
    # the pixels of a small image are shown as they are; a large one is made smaller than it is
    smooth = "nearest" if max(image.shape[:2]) <= 64 else "antialiased"
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation=smooth)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def message(figure: Figure, text: str) -> Figure:
    """The figure with words where there is nothing to draw."""
    figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=12)
    return figure
