"""The figures of a report, in their order, each with its heading and its caption."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from flyweight.evaluation import explain
from flyweight.report import figures
from flyweight.report.subject import Subject
from flyweight.runs.folder import COLUMNS


class Drawing(NamedTuple):
    """A figure of a report.

    Attributes:
        heading: above it.
        caption: below it.
        draw: makes it; None where there is nothing to draw.
    """

    heading: str
    caption: str
    draw: Callable[[Subject], Figure | None]


def _augmentation(subject: Subject) -> Figure:
    recipe = subject.recipe
    return figures.augmentation(subject.dataset, recipe.augment, subject.transforms, recipe.train.seed)


def _metrics(subject: Subject) -> Figure:
    target = subject.ruleset.accuracy if subject.ruleset is not None else None
    return figures.metrics(subject.run.history(COLUMNS), target, subject.dataset.watched[0])


def _gradcam(subject: Subject) -> Figure | None:
    """None where there is no mistake, or no map to look at."""
    mistakes = figures.spread(subject.scores.mistakes, 8)
    if not mistakes:
        return None
    images = np.stack([subject.dataset.test.images[mistake.index] for mistake in mistakes])
    predicted = explain.gradcam(subject.trained, images, [mistake.predicted for mistake in mistakes])
    true = explain.gradcam(subject.trained, images, [mistake.true for mistake in mistakes])
    if predicted is None or true is None:
        return None
    return figures.gradcam(subject.scores, images, mistakes, predicted, true)


DRAWINGS: dict[str, Drawing] = {
    "augmentation": Drawing(
        "Augmentation",
        "Training images as they are, under each transform alone, and as the first epochs see them.",
        _augmentation,
    ),
    "metrics": Drawing(
        "Loss and accuracy by epoch",
        "The training curves are of augmented images, their loss as it was minimised, with label smoothing; the others"
        " are of images as they are.",
        _metrics,
    ),
    "misclassified": Drawing(
        "Misclassified images",
        "Spread over all mistakes, from the most confident to the least.",
        lambda subject: figures.misclassified(subject.scores, subject.dataset.test.images),
    ),
    "gradcam": Drawing(
        "Where the network looked",
        "Grad-CAM on the last map: what spoke for the class that was predicted, and what for the true one.",
        _gradcam,
    ),
    "confusion": Drawing(
        "Confusion matrix",
        "Blue: recognised. Orange: mistakes, on a scale that ends at the most frequent one.",
        lambda subject: figures.confusion(subject.scores),
    ),
    "calibration": Drawing(
        "Calibration",
        "How often the network is right when it is as sure as the axis says: with its temperature, as it is told of an"
        " image.",
        lambda subject: figures.calibration(subject.scores.scaled, subject.scores.n),
    ),
}
"""By the names of their files."""
