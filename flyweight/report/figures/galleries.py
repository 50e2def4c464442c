"""Images that a network did not recognise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flyweight.data.stored import Images
from flyweight.evaluation.scores import Evaluation, Mistake
from flyweight.report.figures.style import INK, message, proportion, show_image, spread, styled
from flyweight.text import ending, short


@styled
def misclassified(evaluation: Evaluation, images: Images, rows: int = 5, columns: int = 6) -> Figure:
    """A gallery of mistakes, from the most confident to the least, each with true and predicted class and confidence.

    Args:
        evaluation: whose mistakes.
        images: (N, H, W, C) uint8 of the split that was evaluated.
        rows: of the gallery at most.
        columns: of the gallery at most.
    """
    chosen = spread(evaluation.mistakes, rows * columns)
    if not chosen:
        return message(Figure(figsize=(9.4, 1.6)), f"no mistakes: all {evaluation.n} images were recognised")
    columns = min(columns, len(chosen))
    rows = -(-len(chosen) // columns)
    figure = Figure(
        figsize=(max(1.57 * columns, 4.5), (1.57 * proportion(images.shape) + _words(evaluation)) * rows + 0.4),
        layout="constrained",
    )
    shown = f"{len(chosen)} of {len(evaluation.mistakes)} mistakes" if len(chosen) > 1 else "the only mistake"
    figure.suptitle(f"{shown}, the most confident first", fontsize=10, color=INK)
    for axes, mistake in zip(figure.subplots(rows, columns, squeeze=False).flat, chosen, strict=False):
        show_image(axes, images[mistake.index])
        _caption(axes, evaluation, mistake)
    _hide_unused(figure)
    return figure


@styled
def gradcam(
    evaluation: Evaluation, images: np.ndarray, mistakes: Sequence[Mistake], predicted: np.ndarray, true: np.ndarray
) -> Figure:
    """Mistakes over the places that spoke for the class that was said, over those that spoke for the right one.

    Args:
        evaluation: names the classes.
        images: (K, H, W, C) uint8, one for each mistake.
        mistakes: K of them.
        predicted: (K, H, W) maps in 0 to 1 for the predicted class.
        true: (K, H, W) maps in 0 to 1 for the true class.
    """
    count = len(mistakes)
    height = 3 * 1.57 * proportion(images.shape) + 0.12 + _words(evaluation)
    figure = Figure(figsize=(max(1.57 * count, 4.5), height), layout="constrained")
    grid = figure.subplots(3, count, squeeze=False)
    for column, mistake in enumerate(mistakes):
        for row, heat in enumerate((None, predicted[column], true[column])):
            show_image(grid[row, column], images[column])
            if heat is not None:
                grid[row, column].imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=0.6, interpolation="bilinear")
        _caption(grid[0, column], evaluation, mistake)
    for row, label in enumerate(("image", "speaks for what\nwas predicted", "speaks for\nthe true class")):
        grid[row, 0].set_ylabel(label, fontsize=8)
    return figure


def _caption(axes: Axes, evaluation: Evaluation, mistake: Mistake) -> None:
    true, predicted = (short(evaluation.classes[which], 12) for which in (mistake.true, mistake.predicted))
    # rounding up to "100 %" would claim a certainty that no softmax has
    sure = min(mistake.confidence, 99.9)
    name = evaluation.name(mistake)
    called = "" if name is None else f"{ending(name, 24)}\n"
    axes.set_title(f"{called}true: {true}\npred: {predicted}, {sure:.3g} %", fontsize=7.5, color=INK)


def _words(evaluation: Evaluation) -> float:
    """Height in inches of the lines over an image."""
    return 0.38 if evaluation.names is None else 0.5


def _hide_unused(figure: Figure) -> None:
    for axes in figure.axes:
        if not axes.images:
            axes.set_axis_off()
