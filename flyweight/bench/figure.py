"""A benchmark as one figure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flyweight.bench.benchmark import Benchmark
from flyweight.bench.comparisons import Comparison, target_accuracy
from flyweight.report.figures import BLUE, GREY, ORANGE, styled


@styled
def draw(result: Benchmark) -> Figure:
    """A panel for each part that was measured. Bars and points are medians, whiskers reach from least to most."""
    panels = []
    if result.training:
        panels.append(_training)
    if result.target:
        panels.append(_target)
    if result.augmentation:
        panels.append(_augmentation)
    if result.inference:
        panels.append(_inference)
    if result.growth:
        panels += [_images, _macs]
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.1 * rows + 0.3), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, panel in zip(grid.flat, panels, strict=False):
        panel(axes, result)
    machine = result.machine
    figure.supxlabel(
        f"{machine['processor']}, {machine['threads']} threads, torch {machine['torch']}; medians, least to most",
        fontsize=8,
    )
    return figure


def _training(axes: Axes, result: Benchmark) -> None:
    labels = [comparison.name.rpartition(", ")[2] for comparison in result.training]
    _pairs(axes, labels, result.training, "course loop")
    axes.set_title("training the same network, images a second", loc="left")


def _inference(axes: Axes, result: Benchmark) -> None:
    shown = [comparison for comparison in result.inference if comparison.name.endswith(", auto")]
    labels = [comparison.name.removeprefix("inference, ").replace(", ", "\n") for comparison in shown]
    _pairs(axes, labels, shown, "eager PyTorch", relative=True)
    axes.set_title("inference, images a second (eager = 1)", loc="left")


def _pairs(axes: Axes, labels: Sequence[str], pairs: Sequence[Comparison], peer: str, relative: bool = False) -> None:
    for at, pair in enumerate(pairs):
        scale = median(pair.peer) if relative else 1.0
        for offset, side, colour in ((-0.2, pair.peer, GREY), (0.2, pair.ours, BLUE)):
            label = {GREY: peer, BLUE: "flyweight"}[colour] if at == 0 else None
            height = median(side) / scale
            whiskers = [[height - min(side) / scale], [max(side) / scale - height]]
            axes.bar(at + offset, height, 0.38, color=colour, label=label, yerr=whiskers, capsize=3)
        axes.annotate(
            f"{pair.ratio:.1f}x", (at + 0.2, max(pair.ours) / scale), (0, 3), textcoords="offset points", ha="center"
        )
    axes.set_xticks(range(len(labels)), labels)
    axes.margins(y=0.15)
    axes.legend(loc="best", fontsize=8)


def _target(axes: Axes, result: Benchmark) -> None:
    target = result.target
    assert target is not None
    axes.barh([2, 1], [target.course_epoch, target.resnet8_epoch], color=GREY)
    reached = [seconds for seconds in target.seconds if seconds is not None]
    if reached:
        axes.barh([0], [median(reached)], color=BLUE)
        axes.plot(reached, [0] * len(reached), "o", color=ORANGE, markersize=4, label="a seed")
        axes.legend(loc="center right", fontsize=8)
    missed = len(target.seconds) - len(reached)
    ours = f"sprint2 to {target_accuracy():.0f} %" + (f"\n({missed} missed)" if missed else "")
    axes.set_yticks([2, 1, 0], ["one course epoch", "one ResNet-8 epoch", ours])
    axes.set_title(f"seconds to {target_accuracy():.0f} %", loc="left")


def _augmentation(axes: Axes, result: Benchmark) -> None:
    cost = result.augmentation
    assert cost is not None
    bars = {"albumentations": cost.albumentations, "batched": cost.ours, "whole step\nof sprint": cost.step}
    for at, (values, colour) in enumerate(zip(bars.values(), (GREY, BLUE, ORANGE), strict=True)):
        middle = median(values)
        axes.bar(at, middle, 0.6, color=colour, yerr=[[middle - min(values)], [max(values) - middle]], capsize=3)
    axes.set_xticks(range(3), list(bars))
    axes.set_title(f"augmentation, µs an image ({cost.share:.1f} % of a step)", loc="left")


def _images(axes: Axes, result: Benchmark) -> None:
    growth = result.growth
    assert growth is not None
    _points(axes, [size / 1000 for size in growth.images], list(growth.images.values()))
    axes.set_xlabel("thousand training images")
    axes.set_title(f"µs an image (linear within {growth.deviation:.0f} %)", loc="left")


def _macs(axes: Axes, result: Benchmark) -> None:
    growth = result.growth
    assert growth is not None
    places = [growth.macs[name] for name in growth.networks]
    _points(axes, places, list(growth.networks.values()))
    for number, (name, place) in enumerate(zip(growth.networks, places, strict=True)):
        at = (place, median(growth.networks[name]))
        # left above and right below in turn: networks of equal cost lie side by side
        above = number % 2
        offset, side = ((-6, 6), "right") if above else ((6, -12), "left")
        axes.annotate(name, at, offset, textcoords="offset points", ha=side, fontsize=8)
    # networks may lie a factor of ten apart; a slope of one is a cost in proportion to the MACs
    axes.loglog()
    axes.set_xlim(0.5 * min(places), 2 * max(places))
    axes.set_ylim(0.5 * axes.dataLim.ymin, 2 * axes.dataLim.ymax)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    axes.set_xlabel("million MACs")
    axes.set_title("µs an image by network", loc="left")


def _points(axes: Axes, places: Sequence[float], values: Sequence[Sequence[float]]) -> None:
    middles = [median(rounds) for rounds in values]
    least = [middle - min(rounds) for middle, rounds in zip(middles, values, strict=True)]
    most = [max(rounds) - middle for middle, rounds in zip(middles, values, strict=True)]
    axes.errorbar(places, middles, [least, most], fmt="o", color=BLUE, ecolor=GREY, capsize=3)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0, top=1.25 * max(max(rounds) for rounds in values))
