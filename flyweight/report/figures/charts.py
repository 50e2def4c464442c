"""What an evaluation counted: which classes are confused, and whether the confidence can be trusted."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from flyweight.evaluation.calibration import Calibration
from flyweight.evaluation.scores import Evaluation, confusions
from flyweight.report.figures.style import BLUE, GREY, ORANGE, message, styled
from flyweight.text import short

WHOLE = 30
"""Classes up to which a confusion matrix is drawn whole; of more, the most confused ones can still be read."""


@styled
def confusion(evaluation: Evaluation, most: int = 20) -> Figure:
    """The confusion matrix: counts as numbers, shares of the true class as colour, the diagonal in a colour of its own.

    Mistakes have a scale that ends at the most frequent one; on the diagonal's scale they could not be told apart.

    Args:
        evaluation: whose.
        most: how many classes are drawn where there are more than :data:`WHOLE`: see :func:`most_confused`.
    """
    counts = np.asarray(evaluation.confusion)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    title = "images of each true class (row) by predicted class (column)"
    chosen = np.arange(len(counts))
    if len(counts) > WHOLE:
        chosen = np.array(most_confused(evaluation, most), np.int64)
        if not len(chosen):
            words = f"no confusions: all {evaluation.n} images of {len(counts)} classes were recognised"
            return message(Figure(figsize=(9.4, 1.6)), words)
        title = f"the {len(chosen)} most confused of {len(counts)} classes:\n{title}"
    counts, shares = (matrix[np.ix_(chosen, chosen)] for matrix in (counts, shares))
    size = len(chosen)
    diagonal = np.eye(size, dtype=bool)
    worst = max(float(shares[~diagonal].max(initial=0.0)), 1e-9)
    right = LinearSegmentedColormap.from_list("right", ["#FFFFFF", "#9CC9E5", BLUE])
    wrong = LinearSegmentedColormap.from_list("wrong", ["#FFFFFF", "#F6C9A8", ORANGE])
    colours = np.where(diagonal[..., None], right(shares * 0.75), wrong(np.minimum(shares / worst, 1) * 0.9))
    side = min(max(0.56 * size, 3.2), 12.0)
    figure = Figure(figsize=(side + 1.6, side + 1.3), layout="constrained")
    axes = figure.subplots()
    axes.imshow(colours, interpolation="nearest")
    names = [short(evaluation.classes[position], 16) for position in chosen]
    small = 8 if size <= 20 else 160 / size
    axes.set_xticks(range(size), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=small)
    axes.set_yticks(range(size), names, fontsize=small)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title, fontsize=9)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            weight = "bold" if row == column else "normal"
            axes.text(column, row, str(count), ha="center", va="center", fontsize=small, fontweight=weight)
    return figure


def most_confused(evaluation: Evaluation, most: int) -> list[int]:
    """At most so many classes, in their order: those of the most frequent confusions, both classes of each.

    By the mistakes in all, classes that are taken for any other would come first, and their matrix would be empty.
    """
    chosen: set[int] = set()
    for true, predicted, _ in confusions(evaluation, evaluation.n):
        if len(chosen | {true, predicted}) <= most:
            chosen |= {true, predicted}
        if len(chosen) == most:
            break
    return sorted(chosen)


@styled
def calibration(result: Calibration, n: int) -> Figure:
    """Accuracy by confidence: a network that knows how sure it is follows the diagonal. Below: how many images."""
    figure = Figure(figsize=(5.4, 5.2), layout="constrained")
    plot, strip = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    plot.plot([0, 100], [0, 100], color=GREY, linestyle="--", linewidth=1, label="right as often as it is sure")
    filled = [bin for bin in result.bins if bin.n]
    width = 100 / len(result.bins)
    centres = [(bin.lower + bin.upper) / 2 for bin in filled]
    plot.bar(centres, [bin.accuracy or 0 for bin in filled], 0.9 * width, color=BLUE, alpha=0.85, label="accuracy")
    gaps = [(bin.confidence or 0) - (bin.accuracy or 0) for bin in filled]
    plot.bar(
        centres,
        gaps,
        0.35 * width,
        [bin.accuracy or 0 for bin in filled],
        color=ORANGE,
        label="gap to the mean confidence",
    )
    plot.set(xlim=(0, 100), ylim=(0, 100), ylabel="accuracy in percent")
    plot.set_title(
        f"expected calibration error {result.error:.2f} points ({len(result.bins)} bins, {n} images)", loc="left"
    )
    plot.legend(loc="upper left", fontsize=8, frameon=True, framealpha=0.9)
    strip.bar(centres, [100 * bin.n / n for bin in filled], 0.9 * width, color=GREY)
    strip.set(xlabel="confidence in percent", ylabel="% of images")
    return figure
