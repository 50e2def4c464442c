"""What a search has found, for people: a table, a picture, and recipes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from flyweight.files import sweep, write_bytes, write_text
from flyweight.recipes.sections import Recipe
from flyweight.report.figures import BLUE, GREY, INK, ORANGE, png, styled
from flyweight.search.halving import UNITS, Aim, Result, compared, front
from flyweight.search.training import recipe_for
from flyweight.text import aligned

PICTURE, WINNERS = "front.png", "winners"


def cost_text(aim: Aim, cost: float) -> str:
    """A cost with its unit, short."""
    if aim == "macs":
        return f"{cost / 1e6:.1f} M"
    return f"{cost / 1024:.1f} KiB" if aim == "memory" else f"{cost:.2f} ms"


def table(results: Sequence[Result], aim: Aim, reference: str) -> list[str]:
    """Lines of a table: the front of the longest trainings, and the network that they are compared with.

    Accuracies are means over the seeds that a network was trained with.
    """
    same = compared(results)
    best = front(same)
    shown = [*best, *(result for result in same if result.name == reference and result not in best)]
    head = ["network", "held-out accuracy", aim, "parameters", "epochs", "seeds", "s an epoch", "trial"]
    rows = [
        [
            result.name if result in best else f"({result.name})",
            f"{result.accuracy:.2f} %",
            cost_text(aim, result.cost),
            f"{result.parameters:,}",
            str(result.epochs),
            str(result.seed + 1),
            f"{result.seconds / result.epochs:.1f}",
            str(result.number),
        ]
        for result in shown
    ]
    return aligned(head, rows)


@styled
def draw(results: Sequence[Result], aim: Aim, known: Sequence[str]) -> Figure:
    """Held-out accuracy against the cost; a colour for each length of training, the front joined."""
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes: Axes = figure.add_subplot()
    lengths = sorted({result.epochs for result in results})
    colours = {epochs: BLUE if epochs == lengths[-1] else GREY for epochs in lengths}
    scale = {"macs": 1e6, "memory": 1024.0, "latency": 1.0}[aim]
    for epochs in lengths:
        here = compared([result for result in results if result.epochs == epochs])
        alpha = 1.0 if epochs == lengths[-1] else 0.25 + 0.5 * lengths.index(epochs) / len(lengths)
        axes.scatter(
            [result.cost / scale for result in here],
            [result.accuracy for result in here],
            s=18, color=colours[epochs], alpha=alpha, linewidths=0,
            label=f"{epochs} epoch{'s' if epochs > 1 else ''} ({len(here)})",
        )  # fmt: skip
    same = compared(results)
    best = sorted(front(same), key=lambda result: result.cost)
    axes.step(
        [result.cost / scale for result in best], [result.accuracy for result in best], where="post", color=ORANGE
    )
    axes.set_xscale("log")  # what costs many times as much would press the others together
    axes.xaxis.set_major_formatter(LogFormatter())
    axes.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))  # fewer over a wide range
    axes.autoscale_view()
    ceiling = math.inf
    for result in sorted(
        {*best, *(one for one in same if one.name in known)}, key=lambda one: (-one.accuracy, one.name)
    ):
        place = result.cost / scale, result.accuracy
        height = axes.transData.transform(place)[1] * 72 / figure.dpi
        # each name below the one before it, or they cover one another
        ceiling = min(height + 4, ceiling - 9)
        offset = (5, ceiling - height)
        axes.annotate(result.name, place, offset, textcoords="offset points", fontsize=7, color=INK)
    unit = {"macs": "million multiply-accumulates", "memory": "KiB of activations in 8 bits", "latency": "ms an image"}
    axes.set(xlabel=unit[aim], ylabel="held-out accuracy in percent")
    axes.set_title(f"{len(results)} trainings; the line: what no network of the longest beats", loc="left")
    axes.legend(loc="lower right", fontsize=8)
    return figure


def write(out: Path, results: Sequence[Result], aim: Aim, known: Sequence[str], recipe: Recipe) -> list[Path]:
    """Draw the picture and write the front as recipes; the paths of these, the most accurate network's first.

    Args:
        out: the folder of the search.
        results: finished trials.
        aim: what is minimised.
        known: names of networks that the picture names wherever they are.
        recipe: how to train the winners: on all training images.
    """
    sweep(out, re.escape(PICTURE), age=600)
    write_bytes(out / PICTURE, png(draw(results, aim, known)))
    folder = out / WINNERS
    folder.mkdir(exist_ok=True)
    written = []
    for result in front(compared(results)):
        plan = recipe_for(recipe, result.name, result.candidate)
        of_seeds = f" (mean of {result.seed + 1} seeds)" if result.seed else ""
        about = (
            f"found by flyweight search: {result.accuracy:.2f} % of the held-out images after {result.epochs} epochs"
            f"{of_seeds}, {cost_text(aim, result.cost)} {UNITS[aim] if aim != 'macs' else 'MACs'}"
        )
        path = folder / f"{result.name}.yaml"
        content = plan.model_copy(update={"description": about}).model_dump(mode="json", exclude_defaults=True)
        # a row a line
        write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=None))
        written.append(path)
    # what the front has left behind
    of_ours = {f"{result.name}.yaml" for result in results}
    for stale in folder.glob("*.yaml"):
        if stale.name in of_ours and stale not in written:
            stale.unlink(missing_ok=True)
    return written
