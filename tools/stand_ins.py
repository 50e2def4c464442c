"""What a run with held-out images gives as temperature and threshold, and what each stand-in for such images gives.

    flyweight train sprint --set data.hold_out=5000 --out heldout
    python tools/stand_ins.py heldout

The images of `flyweight.training.calibrate` for a network that was trained on all of them were chosen by this.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from flyweight.cli import job
from flyweight.cli.console import answer
from flyweight.data.dataset import stratified
from flyweight.evaluation.calibration import calibrate
from flyweight.images.augment import Augmenter
from flyweight.inference import classifier, confidence
from flyweight.runs.card import load_trained
from flyweight.runs.folder import Run
from flyweight.text import aligned
from flyweight.training.calibrate import IMAGES

WAYS = {
    "training images as they are": (0.0, 0.0),
    "moved (shift-scale-rotate on each)": (1.0, 0.0),
    "with a hole (coarse dropout on each)": (0.0, 1.0),
    "moved, with a hole": (1.0, 1.0),
}
"""Probabilities of shift-scale-rotate and of coarse dropout; the flip is the recipe's."""


SHARES = (0.95, 0.9)
"""Of a way's images that reach its threshold."""


def blends(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The means of two images of different classes: of no class, though made of all (Hendrycks et al. 2019, app. C)."""
    order = np.random.default_rng(0).permutation(len(images))
    pairs = labels != labels[order]
    return ((images[pairs].astype(np.uint16) + images[order][pairs]) // 2).astype(np.uint8)


def rows(folder: Path) -> Iterator[list[str]]:
    """A row a way: accuracy, temperature, ECE of held-out images, share of them and of blends below its thresholds."""
    run, trained = Run.open(folder), load_trained(folder)
    recipe, card = run.recipe(), trained.card
    dataset, _ = job.load_data(recipe.data, None, like=card.spec)

    def said(images: np.ndarray) -> np.ndarray:
        return classifier.logits(trained.model, images, card.mean, card.std).numpy()

    watched = dataset.watched[1]
    pixels, labels = np.asarray(watched.images), np.asarray(watched.labels)
    held, mixed = said(pixels), said(blends(pixels, labels))
    indices = stratified(dataset.train.labels, min(IMAGES, len(dataset.train)), recipe.train.seed)
    images, known = np.asarray(dataset.train.images[indices]), dataset.train.labels[indices]
    found = {"held-out images": (held, labels)}
    for name, (moved, hole) in WAYS.items():
        augment = recipe.augment.model_copy(update={"shift_scale_rotate": moved, "cutout": hole})
        augmenter = Augmenter(augment, dataset.mean, recipe.train.seed)
        changed = augmenter(images, range(len(images)), recipe.train.epochs) if moved or hole else images
        found[name] = said(changed), known
    # thresholds of all ways are compared at one temperature, that of the last way
    last = confidence.find_temperature(*found[name])
    tops = [confidence.probabilities(logits, last).max(1) for logits in (held, mixed)]
    for name, (logits, right) in found.items():
        temperature = confidence.find_temperature(logits, right)
        sure = confidence.probabilities(held, temperature).max(1)
        error = calibrate(sure, held.argmax(1) == labels).error
        limits = [confidence.find_threshold(logits, last, share) for share in SHARES]
        below = [f"{100 * (top < limit).mean():.1f}" for top in tops for limit in limits]
        yield [name, f"{100 * (logits.argmax(1) == right).mean():.1f}", f"{temperature:.3f}", f"{error:.2f}", *below]
    sure = confidence.probabilities(held).max(1)
    yield ["none: the network as it is", "", "1", f"{calibrate(sure, held.argmax(1) == labels).error:.2f}", *[""] * 4]


def main() -> None:
    """Print a table for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    head = ["images", "accuracy %", "temperature", "ECE", "below, 95", "below, 90", "blends, 95", "blends, 90"]
    for folder in parser.parse_args().runs:
        answer("\n".join([str(folder), *aligned(head, list(rows(folder)))]))


if __name__ == "__main__":
    main()
