"""Draw where the networks that ship stand among the published ones: accuracy against parameters, MACs and memory.

    python tools/standings.py docs/images/standings.png

Ours are read from flyweight/zoo; the others are what their authors report (docs/results.md, "Standing").
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from flyweight import analysis
from flyweight.report import figures
from flyweight.runs.card import ZOO, load_trained


class Standing(NamedTuple):
    """A network's place: parameters, millions of MACs an image, test accuracy in percent, KiB of maps in 8 bits.

    None where it is not known.
    """

    name: str
    parameters: int
    macs: float | None
    accuracy: float
    memory: float | None = None


# CIFAR-10, one view of each test image, no distillation
OTHERS = (
    Standing("course, its author", 174_352, 32.3, 83.79, 56.25),
    Standing("ResNet-8 (MLPerf Tiny)", 78_666, 12.5, 87.2, 48),
    Standing("answer, strided", 84_322, 13.7, 87.7),
    Standing("answer, strided", 175_696, None, 88.7),
    Standing("answer, dilated", 197_858, 200, 92.0),
    Standing("DenseNet-BC-40-12", 176_122, 74.9, 93.57),
    Standing("ResNet-20", 272_474, 41.3, 94.03, 48),
    Standing("cifar10-tiniest", 97_530, 43.9, 94.5),
)

BELOW = {"sprint2", "DenseNet-BC-40-12", "ResNet-8 (MLPerf Tiny)", "course", "nano-dilated"}
LEFT = {"ResNet-20"}
"""Whose names would lie on a neighbour's, or on its dot, to the right above."""


def ours() -> list[Standing]:
    """The networks that ship, fewest parameters first."""
    found = []
    for metrics in sorted(ZOO.glob("*/metrics.json")):
        trained = load_trained(metrics.parent)
        facts = analysis.analyze(trained.model, trained.card.input_shape)
        accuracy = json.loads(metrics.read_text(encoding="utf-8"))["accuracy"]
        # no operator of ours hides arithmetic or maps
        assert facts.macs is not None
        assert facts.peak is not None
        found.append(
            Standing(metrics.parent.name, facts.parameters, facts.macs / 1e6, accuracy, facts.peak.numbers / 1024)
        )
    return sorted(found, key=lambda standing: standing.parameters)


@figures.styled
def draw(shipped: list[Standing]) -> Figure:
    """Three panels with one scale of accuracy."""
    figure = Figure(figsize=(12.5, 4.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3, sharey=True)
    for axes, place in (
        (left, lambda one: one.parameters / 1000),
        (middle, lambda one: one.macs),
        (right, lambda one: one.memory),
    ):
        for group, colour, marker in ((OTHERS, figures.GREY, "s"), (shipped, figures.BLUE, "o")):
            shown = [one for one in group if place(one) is not None]
            label = "flyweight, as shipped" if group is shipped else "published"
            axes.plot([place(one) for one in shown], [one.accuracy for one in shown], marker, color=colour, label=label)
            for one in shown:
                side, height = ("right", -3) if one.name in LEFT else ("left", -10 if one.name in BELOW else 4)
                axes.annotate(
                    one.name,
                    (place(one), one.accuracy),
                    (-6 if side == "right" else 5, height),
                    textcoords="offset points",
                    horizontalalignment=side,
                    fontsize=7.5,
                    color=colour,
                )
    left.axvline(200, color=figures.ORANGE, linewidth=1, linestyle="--")
    left.annotate(
        "the brief's limit", (200, 87), (4, 0), textcoords="offset points", color=figures.ORANGE, fontsize=7.5
    )
    left.set_xlim(50, 330)
    left.set_ylim(bottom=82.5)
    left.set_xlabel("thousand parameters")
    left.set_ylabel("test accuracy, %")
    for axes, ticks in ((middle, [10, 20, 50, 100, 200]), (right, [20, 50, 100, 200])):
        axes.set_xscale("log")
        axes.set_xlim(0.9 * ticks[0], 500)
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
    middle.set_xlabel("million MACs an image")
    right.set_xlabel("KiB of maps in 8 bits")
    right.legend(loc="center right")
    return figure


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path, help="the PNG file to write")
    options = parser.parse_args()
    options.image.write_bytes(figures.png(draw(ours())))


if __name__ == "__main__":
    main()
