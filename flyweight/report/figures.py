"""All figures of a report. Each function draws a figure; :func:`png` turns it into the bytes of a file.

The object API of Matplotlib with the Agg canvas is used, so that no global state is touched and no window can open.
Colours are those of Okabe and Ito, which people with any colour vision can tell apart. Names are drawn as they are:
a ``$`` starts no formula.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from flyweight.data.dataset import Dataset, Split
from flyweight.evaluation.scores import Calibration, Evaluation, Mistake
from flyweight.images.augment import Augmenter
from flyweight.recipes.sections import AugmentConfig
from flyweight.text import short

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
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        # a name in a script that the font lacks is drawn as boxes
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, dpi=DPI, format="png", metadata={"Software": None}, pil_kwargs={"optimize": True})
    return buffer.getvalue()


@styled
def augmentation(dataset: Dataset, config: AugmentConfig, seed: int = 0, rows: int = 5, draws: int = 4) -> Figure:
    """Training images as they are, under each transform alone, and as the first epochs of a run see them.

    Strengths in the titles: largest shift, scale and rotation; number, size and fill of the hole.

    An augmented image depends on (seed, epoch, index) only, so that the draws are the very images of the training.
    """
    indices = _one_of_each_class(dataset.train, len(dataset.classes), rows)
    images = np.array(dataset.train.images[indices])
    hole = config.hole(*images.shape[1:3])
    never = {"flip": 0.0, "shift_scale_rotate": 0.0, "cutout": 0.0}
    alone = {
        "flip": f"HorizontalFlip\np = {config.flip:.2g}",
        "shift_scale_rotate": (
            f"ShiftScaleRotate\n{100 * config.shift:.3g} %, {100 * config.scale:.3g} %,"
            f" {config.rotate:.3g}\N{DEGREE SIGN}\np = {config.shift_scale_rotate:.2g}"
        ),
        "cutout": f"CoarseDropout\n1 x {hole}x{hole}, mean\np = {config.cutout:.2g}",
    }
    columns = {"original": images}
    for name, title in alone.items():
        certain = config.model_copy(update={**never, name: 1.0})
        columns[title] = Augmenter(certain, dataset.mean, seed)(images, indices, draws)
    pipeline = Augmenter(config, dataset.mean, seed)
    for epoch in range(draws):
        columns[f"all three,\nas in epoch {epoch + 1}"] = pipeline(images, indices, epoch)
    figure = Figure(figsize=(1.3 * len(columns), 1.28 * len(indices) + 0.8), layout="constrained")
    grid = figure.subplots(len(indices), len(columns), squeeze=False)
    for column, (title, pictures) in enumerate(columns.items()):
        grid[0, column].set_title(title, fontsize=8)
        for row, picture in enumerate(pictures):
            _picture(grid[row, column], picture)
    for row, index in enumerate(indices):
        label = dataset.classes[int(dataset.train.labels[index])]
        grid[row, 0].set_ylabel(short(label, 14), fontsize=9)
    figure.supxlabel(
        "columns 2 to 4: one transform alone, always applied; p is its probability in the training", fontsize=8
    )
    return figure


@styled
def metrics(history: Sequence[Mapping[str, Any]], target: float | None = None, split: str = "test") -> Figure:
    """Loss and accuracy by epoch, training and test, over a strip with the learning rate.

    Args:
        history: rows of a run's history.
        target: accuracy in percent to draw a line at; none: no line.
        split: what the test pass read.
    """
    figure = Figure(figsize=(9.4, 4.6), layout="constrained")
    if not history:
        return _message(figure, "no epoch has ended yet")
    axes = figure.subplots(2, 2, sharex=True, height_ratios=(5, 1))
    epochs = [row["epoch"] for row in history]
    for column, (what, unit) in enumerate((("loss", ""), ("accuracy", " %"))):
        plot: Axes = axes[0, column]
        digits = 3 if what == "loss" else 2
        ends = []
        for side, name, colour, marker in (
            ("train", "training (augmented)", ORANGE, "s"),
            ("test", split, BLUE, "o"),
        ):
            values = [row[f"{side}_{what}"] for row in history]
            mark = marker if len(epochs) <= 30 else None
            plot.plot(epochs, values, color=colour, marker=mark, markersize=4, linewidth=1.8, label=name)
            ends.append((values[-1], f"{values[-1]:.{digits}f}{unit}", colour))
        if what == "accuracy" and target is not None:
            plot.axhline(target, color=GREEN, linestyle="--", linewidth=1, label=f"the rule: {target:g} %")
        plot.set_title(f"{what}{' in percent' if unit else ', mean an image'}", loc="left")
        plot.grid(axis="y", color="#E6E6E6", linewidth=0.8)
        plot.set_axisbelow(True)
        plot.margins(y=0.12)
        plot.legend(loc="best", fontsize=8)
        _annotate_ends(plot, epochs[-1], ends)
        _rate_strip(axes[1, column], epochs, [row["learning_rate"] for row in history])
    return figure


@styled
def misclassified(evaluation: Evaluation, images: np.ndarray, rows: int = 5, columns: int = 6) -> Figure:
    """A gallery of mistakes, from the most confident to the least, each with true and predicted class and confidence.

    Args:
        evaluation: whose mistakes.
        images: (N, H, W, C) uint8 of the split that was evaluated.
        rows: of the gallery at most.
        columns: of the gallery at most.
    """
    chosen = spread(evaluation.mistakes, rows * columns)
    if not chosen:
        return _message(Figure(figsize=(9.4, 1.6)), f"no mistakes: all {evaluation.n} images were recognised")
    columns = min(columns, len(chosen))
    rows = -(-len(chosen) // columns)
    figure = Figure(figsize=(max(1.57 * columns, 4.5), 1.95 * rows + 0.4), layout="constrained")
    shown = f"{len(chosen)} of {len(evaluation.mistakes)} mistakes" if len(chosen) > 1 else "the only mistake"
    figure.suptitle(f"{shown}, the most confident first", fontsize=10, color=INK)
    for axes, mistake in zip(figure.subplots(rows, columns, squeeze=False).flat, chosen, strict=False):
        _picture(axes, images[mistake.index])
        _caption(axes, evaluation.classes, mistake)
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
    figure = Figure(figsize=(max(1.4 * count, 4.5), 4.7), layout="constrained")
    grid = figure.subplots(3, count, squeeze=False)
    for column, mistake in enumerate(mistakes):
        for row, heat in enumerate((None, predicted[column], true[column])):
            _picture(grid[row, column], images[column])
            if heat is not None:
                grid[row, column].imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=0.6, interpolation="bilinear")
        _caption(grid[0, column], evaluation.classes, mistake)
    for row, label in enumerate(("image", "speaks for what\nwas predicted", "speaks for\nthe true class")):
        grid[row, 0].set_ylabel(label, fontsize=8)
    return figure


@styled
def confusion(evaluation: Evaluation) -> Figure:
    """The confusion matrix: counts as numbers, shares of the true class as colour, the diagonal in a colour of its own.

    Mistakes have a scale that ends at the most frequent one; on the diagonal's scale they could not be told apart.
    """
    counts = np.asarray(evaluation.confusion)
    size = len(counts)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    diagonal = np.eye(size, dtype=bool)
    worst = max(float(shares[~diagonal].max(initial=0.0)), 1e-9)
    right = LinearSegmentedColormap.from_list("right", ["#FFFFFF", "#9CC9E5", BLUE])
    wrong = LinearSegmentedColormap.from_list("wrong", ["#FFFFFF", "#F6C9A8", ORANGE])
    colours = np.where(diagonal[..., None], right(shares * 0.75), wrong(np.minimum(shares / worst, 1) * 0.9))
    side = min(max(0.56 * size, 3.2), 12.0)
    figure = Figure(figsize=(side + 1.6, side + 1.3), layout="constrained")
    axes = figure.subplots()
    axes.imshow(colours, interpolation="nearest")
    names = [short(name, 16) for name in evaluation.classes]
    small = 8 if size <= 20 else max(2.5, 160 / size)
    axes.set_xticks(range(size), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=small)
    axes.set_yticks(range(size), names, fontsize=small)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title("images of each true class (row) by predicted class (column)", fontsize=9)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    if size <= 30:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                weight = "bold" if row == column else "normal"
                axes.text(column, row, str(count), ha="center", va="center", fontsize=small, fontweight=weight)
    return figure


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


def spread(items: Sequence[T], most: int) -> list[T]:
    """At most so many of them at equal distances in their order, the first one included."""
    count = min(most, len(items))
    return [items[position * len(items) // count] for position in range(count)]


def _one_of_each_class(split: Split, classes: int, most: int) -> list[int]:
    """The first image of each of so many classes, spread over those that have images."""
    labels = np.asarray(split.labels)
    present = [label for label in range(classes) if (labels == label).any()]
    return [int(np.flatnonzero(labels == label)[0]) for label in spread(present, most)]


def _picture(axes: Axes, image: np.ndarray) -> None:
    image = image[..., 0] if image.shape[-1] == 1 else image
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _caption(axes: Axes, classes: Sequence[str], mistake: Mistake) -> None:
    true, predicted = short(classes[mistake.true], 12), short(classes[mistake.predicted], 12)
    # rounding up to "100 %" would claim a certainty that no softmax has
    sure = min(mistake.confidence, 99.9)
    axes.set_title(f"true: {true}\npred: {predicted}, {sure:.3g} %", fontsize=7.5, color=INK)


def _hide_unused(figure: Figure) -> None:
    for axes in figure.axes:
        if not axes.images:
            axes.set_axis_off()


def _annotate_ends(plot: Axes, epoch: float, ends: Sequence[tuple[float, str, str]]) -> None:
    """The last values beside the last points, pushed apart where they would touch."""
    low, high = plot.get_ylim()
    near = abs(ends[0][0] - ends[1][0]) < 0.07 * (high - low)
    for (value, text, colour), shift in zip(sorted(ends), (-5, 5), strict=True):
        plot.annotate(
            text,
            (epoch, value),
            (7, shift if near else 0),
            textcoords="offset points",
            va="center",
            color=colour,
            fontweight="bold",
            annotation_clip=False,
        )


def _rate_strip(strip: Axes, epochs: Sequence[int], rates: Sequence[float]) -> None:
    strip.fill_between(epochs, rates, color=GREY, alpha=0.25, linewidth=0)
    strip.plot(epochs, rates, color=GREY, linewidth=1, marker="o" if len(epochs) == 1 else None, markersize=3)
    strip.set_ylim(0, 1.15 * max(max(rates), 1e-12))
    strip.set_ylabel("learning\nrate", fontsize=8)
    strip.tick_params(labelsize=8)
    strip.set_xlabel("epoch")
    room = 0.5 if len(epochs) == 1 else 0.02 * (epochs[-1] - epochs[0])
    strip.set_xlim(epochs[0] - room, epochs[-1] + room)
    strip.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _message(figure: Figure, text: str) -> Figure:
    figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=12)
    return figure
