"""Training images as they are and as a network sees them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from flyweight.data.dataset import Dataset, Split
from flyweight.images.augment import Augmenter
from flyweight.recipes.sections import AugmentConfig
from flyweight.report.augmentations import Augmentation
from flyweight.report.figures.style import proportion, show_image, spread, styled
from flyweight.text import short


@styled
def augmentation(
    dataset: Dataset,
    config: AugmentConfig,
    transforms: Sequence[Augmentation],
    seed: int = 0,
    rows: int = 5,
    draws: int = 4,
) -> Figure:
    """Training images as they are, under each transform alone, and as the first epochs of a run see them.

    An augmented image depends on (seed, epoch, index) only, so that the last columns are the very images of the
    training.

    Args:
        dataset: whose training images.
        config: of the recipe.
        transforms: of the same section, each to be shown alone.
        seed: of the run.
        rows: images at most, each of another class.
        draws: how many epochs.
    """
    indices = _one_of_each_class(dataset.train, len(dataset.classes), rows)
    images = np.array(dataset.train.images[indices])
    columns = {"original": images}
    for transform in transforms:
        strength = transform.strength.replace(", ", "\n")
        columns["\n".join(filter(None, (transform.name, strength, f"p = {transform.probability:.2g}")))] = (
            transform.always(images, seed)
        )
    pipeline = Augmenter(config, dataset.mean, seed)
    for epoch in range(draws):
        columns[f"all of them,\nas in epoch {epoch + 1}"] = pipeline(images, indices, epoch)
    figure = Figure(
        figsize=(1.3 * len(columns), 1.28 * proportion(images.shape) * len(indices) + 1.2), layout="constrained"
    )
    grid = figure.subplots(len(indices), len(columns), squeeze=False)
    for column, (title, shown) in enumerate(columns.items()):
        grid[0, column].set_title(title, fontsize=7)
        for row, image in enumerate(shown):
            show_image(grid[row, column], image)
    for row, index in enumerate(indices):
        label = dataset.classes[int(dataset.train.labels[index])]
        grid[row, 0].set_ylabel(short(label, 14), fontsize=9)
    if transforms:
        alone = "column 2" if len(transforms) == 1 else f"columns 2 to {1 + len(transforms)}"
        told = f"{alone}: one transform alone, always applied; p is its probability in the training"
        figure.supxlabel(told, fontsize=8)
    return figure


def _one_of_each_class(split: Split, classes: int, most: int) -> list[int]:
    """The first image of each of so many classes, spread over those that have images."""
    labels = np.asarray(split.labels)
    present = [label for label in range(classes) if (labels == label).any()]
    return [int(np.flatnonzero(labels == label)[0]) for label in spread(present, most)]
