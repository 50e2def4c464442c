"""What balancing and fine-tuning are worth where there are few images: parts of CIFAR-10, several seeds, a table.

    python tools/few_images.py uneven runs/uneven     2,000 images of five classes, 100 of the other five
    python tools/few_images.py tuned runs/tuned       100 images of four classes, from nothing and from `dilated`

All variants of a seed take equally many steps. A training is watched by 50 other images a class, and tested once at its
end, on all test images of the classes. What is begun from
has seen these training images already, with their labels: the second table shows that fine-tuning works, and not what
it is worth on images that are new.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from flyweight import data, recipes
from flyweight.data.dataset import Dataset, Split, assemble
from flyweight.evaluation.evaluate import evaluate
from flyweight.machine.device import settle
from flyweight.networks.build import build
from flyweight.runs.card import load_trained
from flyweight.runs.folder import Run
from flyweight.training import loop

VARIANTS = {
    "uneven": {
        "as it is": [],
        "train.class_weights=balanced": ["train.class_weights=balanced"],
        "train.sampling=balanced": ["train.sampling=balanced"],
    },
    "tuned": {"from nothing": [], "train.start=dilated": ["train.start=dilated"]},
}
SETTINGS = {
    "uneven": ("sprint", ["train.epochs=15", "train.batch_size=128"]),
    "tuned": ("dilated", ["train.epochs=20", "train.batch_size=null"]),
}
FOUR = (0, 3, 5, 9)
"""Airplane, cat, dog, truck."""


class Quiet:
    """An observer of a training that says nothing."""

    def start(self, epoch: int, epochs: int, step: int, steps: int, images: int) -> None:
        """An epoch begins."""

    def step(self, step: int, loss: float | None) -> None:
        """A step is done."""

    def epoch(self, line: str) -> None:
        """An epoch has ended."""

    def note(self, message: str) -> None:
        """Something to know."""


def main() -> None:
    """Train all variants with all seeds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=VARIANTS)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    dataset = made(options.what, data.load())
    results = {
        name: [balanced_accuracy(options.what, dataset, changes, seed, options.out) for seed in range(options.seeds)]
        for name, changes in VARIANTS[options.what].items()
    }
    sys.stdout.write("\n".join(table(results)) + "\n")


def made(what: str, whole: Dataset) -> Dataset:
    """The part of CIFAR-10 that is trained and tested on."""
    if what == "tuned":
        names = tuple(whole.classes[label] for label in FOUR)
        train, test = part(whole.train, [100] * 4, FOUR), part(whole.test, [len(whole.test)] * 4, FOUR)
        source, watch = "100 images of each of four classes of CIFAR-10", part(whole.train, [50] * 4, FOUR, 100)
        return assemble("cifar10-4x100", train, test, names, source, validation=watch)
    train, watch = part(whole.train, [2000] * 5 + [100] * 5, range(10)), part(whole.train, [50] * 10, range(10), 2000)
    source = "CIFAR-10, 2,000 images of classes 0 to 4 and 100 of 5 to 9"
    return assemble("cifar10-1to20", train, whole.test, whole.classes, source, validation=watch)


def part(split: Split, counts: Sequence[int], classes: Sequence[int], after: int = 0) -> Split:
    """So many images of each of these classes, in the set's order and after so many others, with labels from 0."""
    found = [
        np.flatnonzero(split.labels == label)[after : after + count]
        for label, count in zip(classes, counts, strict=True)
    ]
    rows = np.sort(np.concatenate(found))
    return Split(np.array(split.images[rows]), np.searchsorted(classes, split.labels[rows]).astype(np.int64))


def balanced_accuracy(what: str, dataset: Dataset, changes: Sequence[str], seed: int, out: Path) -> float:
    """Of one training, on the test images; a run that is there already is not trained again."""
    name, settings = SETTINGS[what]
    plan = recipes.load(name, [*settings, *changes, f"train.seed={seed}", "rules=null"])
    plan = plan.model_copy(update={"train": settle(plan.train, len(dataset.train))})
    folder = out / "-".join([what, *(change.partition("=")[0] for change in changes), str(seed)])
    run = Run.open(folder) if (folder / "config.yaml").is_file() else Run.create(folder, plan)
    if not run.weights.is_file():
        torch.manual_seed(seed)
        loop.fit(build(plan.model, dataset.spec), dataset, plan, run, Quiet())
    return evaluate(load_trained(folder), dataset).balanced_accuracy


def table(results: dict[str, list[float]]) -> list[str]:
    """A row of Markdown for each variant; differences are those of equal seeds."""
    lines = ["| variant | n | balanced accuracy, each | mean | standard deviation | more than the first |"]
    lines.append("| --- | ---: | --- | ---: | ---: | ---: |")
    first = np.array(next(iter(results.values())))
    for name, values in results.items():
        gain = np.array(values) - first
        error = gain.std(ddof=1) / len(gain) ** 0.5 if len(gain) > 1 else float("nan")
        more = f"{gain.mean():+.2f} ± {error:.2f}" if gain.any() else ""
        each = ", ".join(f"{value:.2f}" for value in values)
        spread = f"{np.std(values, ddof=1):.2f}" if len(values) > 1 else "-"
        lines.append(f"| {name} | {len(values)} | {each} | {np.mean(values):.2f} | {spread} | {more} |")
    return lines


if __name__ == "__main__":
    main()
