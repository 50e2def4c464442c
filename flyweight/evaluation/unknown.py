"""Whether a network notices images that are of none of its classes: another real data set beside its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from flyweight.data.dataset import Dataset
from flyweight.errors import FlyweightError
from flyweight.evaluation.scores import Evaluation
from flyweight.images import decode
from flyweight.inference import classifier, confidence
from flyweight.networks.custom import blamed
from flyweight.runs.card import Card, Trained
from flyweight.text import printable, share

MOST = 10_000
"""Images of another data set that are asked about."""


@dataclass(frozen=True)
class Against:
    """How well the highest probability tells a network's own images from others.

    Attributes:
        data: the other images' name.
        n: how many of them.
        own: how many of the network's own.
        auroc: the area under the ROC curve: how often one of its own images has a higher one than one of the others;
            50 says nothing, 100 tells all apart. In percent.
        unknown: share of the others that are called none of its classes, in percent; None without a threshold.
    """

    data: str
    n: int
    own: int
    auroc: float
    unknown: float | None

    def as_json(self) -> dict[str, Any]:
        """Everything in it."""
        return asdict(self)


def measure(trained: Trained, scores: Evaluation, images: np.ndarray, name: str) -> Against:
    """Ask a network about images of none of its classes.

    Args:
        trained: the network.
        scores: of the network on its own images.
        images: (N, H, W, C) uint8 of its size.
        name: of their data set.
    """
    from sklearn.metrics import roc_auc_score

    card = trained.card
    with blamed(card.model, f"on the images of {name}", "mend it"):
        logits = classifier.logits(trained.model, images, card.mean, card.std).numpy()
    others = confidence.probabilities(logits, card.temperature).max(1)
    own = scores.confidence
    is_own = np.repeat([1, 0], [len(own), len(others)])
    return Against(
        data=name,
        n=len(others),
        own=len(own),
        auroc=100 * float(roc_auc_score(is_own, np.concatenate([own, others]))),
        unknown=None if card.threshold is None else 100 * float((others < card.threshold).mean()),
    )


def images_of(dataset: Dataset, card: Card) -> np.ndarray:
    """All images of a data set as a network takes them, (N, H, W, C) uint8; at most :data:`MOST`, of all its splits.

    Raises:
        FlyweightError: the network or the images have neither one channel nor three, and not the same number.
    """
    splits = [dataset.train, dataset.test, *([] if dataset.validation is None else [dataset.validation])]
    total = sum(len(split) for split in splits)
    parts = []
    for split in splits:
        count = len(split) if total <= MOST else len(split) * MOST // total
        chosen = np.sort(np.random.default_rng(0).permutation(len(split))[:count])
        parts += fitted([np.asarray(split.images[int(index)]) for index in chosen], card)
    return np.stack(parts)


def fitted(images: Sequence[np.ndarray], card: Card) -> list[np.ndarray]:
    """(H, W, C) uint8 images of any size as a network takes them.

    Raises:
        FlyweightError: the network or the images have neither one channel nor three, and not the same number.
    """
    channels, height, width = card.input_shape
    done = []
    for image in images:
        if image.shape == (height, width, channels):
            done.append(image)
        elif {channels, image.shape[2]} <= {1, 3}:
            done.append(decode.fitted(image, card.input_shape, card.resize))
        else:
            raise FlyweightError(
                f"--against: the network takes images of {channels} channels, these have {image.shape[2]}: name others"
            )
    return done


def render(result: Against) -> str:
    """The result as plain text."""
    refused = "" if result.unknown is None else f"; {share(result.unknown)} of them are called none of its classes"
    return (
        f"against {printable(result.data)}: AUROC {result.auroc:.2f} % of the highest probability ({result.own:,} of"
        f" its own images, {result.n:,} others){refused}"
    )
