"""Where the page's heat map lies on an image, and whether it is the report's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flyweight.evaluation.explain import Explainer
from flyweight.export.demo.packed import Packed
from flyweight.export.demo.running import opened
from flyweight.export.demo.steps import Floats
from flyweight.runs.card import Trained

TOLERANCE = 1e-3
"""The most that a map, whose largest value is 1, may differ from the report's."""


@dataclass(frozen=True)
class Heat:
    """How a map of the engine becomes one of the image.

    Attributes:
        rows: for each row of pixels its place among the map's rows, from 0 on, fractions between two.
        columns: the same of columns.
    """

    rows: np.ndarray
    columns: np.ndarray


def heat(trained: Trained, network: Floats, memory: Packed, images: np.ndarray) -> Heat | None:
    """The way from map to image, where the engine's map is Grad-CAM's on all of some images.

    Before a mean and a linear layer the gradient of a class is the same at each place: its weights, over how many
    places there are. So no gradient is needed, and the page draws what `flyweight.evaluation.explain` draws.

    Args:
        trained: the network.
        network: for the engine.
        memory: the same as the engine's memory holds it.
        images: (N, H, W, C) uint8.

    Returns:
        None where the network has no such map, or another one than the report's.
    """
    looked, last = network.looked, network.steps[-1]
    if looked is None or memory.looked is None or last.weight is None or looked.height * looked.width == 1:
        return None
    explain = Explainer(trained)
    if explain.layer is None:
        return None
    places = explain.places((looked.height, looked.width))
    running, said, maps = opened(memory)(), [], []
    for image in images:
        said.append(int(running(image, len(last.weight)).argmax()))
        floats = running.floats(memory.looked, looked.bytes // 4).reshape(looked.height, looked.width, looked.room)
        maps.append(np.maximum(floats[..., : looked.channels] @ last.weight[said[-1], :, 0, 0], 0))
    ours = np.stack([_laid_out(one, *places) for one in maps])
    return Heat(*places) if np.abs(ours - explain(images, said)).max() < TOLERANCE else None


def _laid_out(values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """A map over an image, its largest value 1; the page's `heat` does the same."""
    found = _between(_between(values, rows).T, columns).T
    return found / max(found.max(), 1e-12)


def _between(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Lines of an array, and what lies between two."""
    before = np.floor(places).astype(int)
    after, share = np.minimum(before + 1, len(values) - 1), (places - before)[:, None]
    return values[before] * (1 - share) + values[after] * share
