"""Temperature and threshold of a trained network, from images that it was not fitted to. The test set gives neither.

A run has such images where some are held out, or its data set has validation images. Where all images but the test set
were trained on, the network is too sure of them as they are, and they are made harder: under every augmentation of the
recipe at once it is as often wrong, for how sure it is, as of new images, which gives the temperature; but a hole that
hides all that shows the class makes more images doubtful than new ones are, so that the threshold is that of images
without one. How near both come to what held-out images give stands in docs/results.md.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import nn

from flyweight.data import Dataset
from flyweight.data.dataset import Split, stratified
from flyweight.images.augment import Augmenter
from flyweight.inference import classifier, confidence
from flyweight.networks.custom import blamed
from flyweight.recipes.sections import AugmentConfig, Recipe
from flyweight.runs.card import Card

IMAGES = 2000
"""The most images to calibrate on: of these the temperature is known to a hundredth."""


def calibrated(network: nn.Module, card: Card, dataset: Dataset, recipe: Recipe) -> Card:
    """The card with the temperature and the threshold of its network.

    Args:
        network: trained.
        card: of the network.
        dataset: what it was trained on.
        recipe: how.

    All processes of a training do it together, each asking about some of the images.
    """
    name, watched = dataset.watched
    stand_in = name == "test"
    images, labels = _some(dataset.train if stand_in else watched, recipe.train.seed)
    always = _always(recipe.augment)

    def said(augment: AugmentConfig) -> np.ndarray:
        # of an epoch that no training sees
        changed = Augmenter(augment, dataset.mean, recipe.train.seed)(images, range(len(images)), recipe.train.epochs)
        return classifier.logits(network, changed, card.mean, card.std, together=True).numpy()

    with blamed(card.model, "on the images to calibrate it on", "mend it"):
        if stand_in:
            hard, moved = said(always), said(always.model_copy(update={"cutout": 0.0}))
        else:
            hard = moved = classifier.logits(network, images, card.mean, card.std, together=True).numpy()
    if not (np.isfinite(hard).all() and np.isfinite(moved).all()):
        return card  # whoever evaluates it is told that it is no good
    temperature = round(confidence.find_temperature(hard, labels), 4)
    threshold = confidence.find_threshold(moved, temperature)
    # down: a card must not ask for more than the images had
    return replace(card, temperature=temperature, threshold=float(np.floor(1e4 * threshold) / 1e4))


def _some(split: Split, seed: int) -> tuple[np.ndarray, np.ndarray]:
    indices = stratified(split.labels, min(IMAGES, len(split)), seed)
    return np.asarray(split.images[indices]), np.asarray(split.labels[indices])


def _always(config: AugmentConfig) -> AugmentConfig:
    """Each augmentation that a recipe does not turn off, on every image; the flip, which is no harder, as it is."""
    whole = {name: 1.0 for name in ("shift_scale_rotate", "cutout") if getattr(config, name)}
    return config.model_copy(update=whole)
