"""How a training went, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from flyweight.report.figures.style import BLUE, GREEN, GREY, ORANGE, message, styled


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
        return message(figure, "no epoch has ended yet")
    axes = figure.subplots(2, 2, sharex=True, height_ratios=(5, 1))
    epochs = [row["epoch"] for row in history]
    if fewer := {row["test_total"] for row in history} - {history[-1]["test_total"]}:
        split = f"{split}, {min(fewer):,} images before the end"
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
        _learning_rate(axes[1, column], epochs, [row["learning_rate"] for row in history])
    return figure


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


def _learning_rate(strip: Axes, epochs: Sequence[int], rates: Sequence[float]) -> None:
    strip.fill_between(epochs, rates, color=GREY, alpha=0.25, linewidth=0)
    strip.plot(epochs, rates, color=GREY, linewidth=1, marker="o" if len(epochs) == 1 else None, markersize=3)
    strip.set_ylim(0, 1.15 * max(max(rates), 1e-12))
    strip.set_ylabel("learning\nrate", fontsize=8)
    strip.tick_params(labelsize=8)
    strip.set_xlabel("epoch")
    room = 0.5 if len(epochs) == 1 else 0.02 * (epochs[-1] - epochs[0])
    strip.set_xlim(epochs[0] - room, epochs[-1] + room)
    strip.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
