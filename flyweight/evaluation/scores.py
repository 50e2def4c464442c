"""Arithmetic of logits and labels: what an evaluation knows. No network, no files.

Every share is in percent; a share of nothing is None and never zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from flyweight.evaluation import matrix
from flyweight.evaluation.calibration import Calibration, calibrate
from flyweight.evaluation.shares import Interval, percent, wilson

TOP_FIVE_FROM = 20
"""Classes from which on it says something that the true one is among the five likeliest."""


@dataclass(frozen=True)
class ClassScore:
    """How one class fared.

    Attributes:
        name: of the class.
        n: test images of it.
        correct: how many of them were recognised.
        predicted: how many images of any class were taken for it.
        accuracy: ``correct / n``, which is also the class's recall; None without images.
        interval: of the accuracy, 95 %; None without images.
        precision: ``correct / predicted``; None where nothing was taken for it.
    """

    name: str
    n: int
    correct: int
    predicted: int
    accuracy: float | None
    interval: Interval | None
    precision: float | None


@dataclass(frozen=True)
class Mistake:
    """An image that was not recognised.

    Attributes:
        index: of the image in its split.
        true: its class, an index.
        predicted: what it was taken for, an index.
        confidence: probability given to the predicted class, with the network's temperature.
        true_probability: probability given to the true class, with the network's temperature.
        true_rank: the true class's place among the probabilities; 2 is a near miss.
    """

    index: int
    true: int
    predicted: int
    confidence: float
    true_probability: float
    true_rank: int


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All scores of a network on a split.

    Attributes:
        network: its name.
        data: name of the data set.
        split: which part of it.
        fingerprint: of the data set.
        weights: SHA-256 of the file of weights.
        classes: their names, in the order of the logits.
        n: images.
        correct: images recognised.
        accuracy: ``correct / n``.
        interval: of the accuracy, 95 %, by :func:`wilson`.
        balanced_accuracy: mean of the accuracies of the classes that have images, each class counting as much.
        top5_accuracy: share of the images whose true class is among the five likeliest; None for fewer than 20 classes.
        loss: mean negative log-likelihood in nats, of the network as it is.
        per_class: one for each of ``classes``.
        confusion: (classes, classes) int64, read-only; row: true, column: predicted.
        calibration: how far the confidence of the network as it is can be trusted.
        scaled: the same of what is told of an image: with the network's temperature.
        temperature: what the logits are divided by before they become probabilities.
        threshold: the confidence below which an image is of none of the classes; none: there is no such thing.
        confidence: (N,) highest probability of each image, in 0 to 1, with the temperature.
        mistakes: the most confident first.
        names: what each image of the split is called; none: they have no names.
    """

    network: str
    data: str
    split: str
    fingerprint: str
    weights: str
    classes: tuple[str, ...]
    n: int
    correct: int
    accuracy: float
    interval: Interval
    balanced_accuracy: float
    top5_accuracy: float | None
    loss: float
    per_class: tuple[ClassScore, ...]
    confusion: np.ndarray
    calibration: Calibration
    scaled: Calibration
    temperature: float
    threshold: float | None
    confidence: np.ndarray
    mistakes: tuple[Mistake, ...]
    names: Sequence[str] | None = None

    @property
    def uneven(self) -> bool:
        """Whether some classes have more images than others, so that the balanced accuracy says something else."""
        return len({one.n for one in self.per_class if one.n}) > 1

    def name(self, mistake: Mistake) -> str | None:
        """What a mistaken image is called; None where images have no names."""
        return None if self.names is None else self.names[mistake.index]

    @property
    def unknown(self) -> float | None:
        """Share of the images that are called none of the classes; None without a threshold."""
        return None if self.threshold is None else percent(self._refused.sum(), self.n)

    @property
    def unknown_wrong(self) -> float | None:
        """Share of those that are mistakes; None where there are none of them."""
        return percent(self._refused[[mistake.index for mistake in self.mistakes]].sum(), self._refused.sum())

    @property
    def _refused(self) -> np.ndarray:
        return self.confidence < (self.threshold or 0)

    @property
    def near_misses(self) -> int:
        """Mistakes in which the true class came second."""
        return sum(mistake.true_rank == 2 for mistake in self.mistakes)

    def as_json(self) -> dict[str, Any]:
        """Everything but what is of single images: of the mistakes, which ``mistakes.csv`` has, their number.

        The confusion matrix of more than 100 classes becomes ``confusion_pairs``: [true, predicted, images] of all
        pairs that happened.
        """
        single = {"confusion", "confidence", "mistakes", "names"}
        fields = {key: value for key, value in vars(self).items() if key not in single}
        return {
            **fields,
            "per_class": [asdict(score) for score in self.per_class],
            "calibration": asdict(self.calibration),
            "scaled": asdict(self.scaled),
            "unknown": self.unknown,
            "unknown_wrong": self.unknown_wrong,
            **matrix.as_json(self.confusion),
            "mistakes": len(self.mistakes),
            "near_misses": self.near_misses,
        }


def score(
    logits: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    *,
    network: str,
    data: str,
    split: str,
    fingerprint: str,
    weights: str,
    names: Sequence[str] | None = None,
    temperature: float = 1.0,
    threshold: float | None = None,
) -> Evaluation:
    """Score logits; the named arguments say whose they are, see :class:`Evaluation`.

    Args:
        logits: (N, classes), finite; N is at least 1.
        labels: (N,) int64.
        classes: their names.
        network: its name.
        data: name of the data set.
        split: which part of it.
        fingerprint: of the data set.
        weights: SHA-256 of the file of weights.
        names: what each image is called; none: they have no names.
        temperature: of the network's card.
        threshold: of the network's card.
    """
    predicted = logits.argmax(1)
    confidence, of_true, ranks = _of_each_image(logits, labels, predicted)
    told, told_of_true, _ = _of_each_image(logits, labels, predicted, temperature)
    confusion = matrix.counted(labels, predicted, len(classes))
    correct = int(np.trace(confusion))
    per_class = _class_scores(classes, confusion)
    return Evaluation(
        network=network,
        data=data,
        split=split,
        fingerprint=fingerprint,
        weights=weights,
        classes=tuple(classes),
        n=len(labels),
        correct=correct,
        accuracy=100 * correct / len(labels),
        interval=wilson(correct, len(labels)),
        balanced_accuracy=float(np.mean([one.accuracy for one in per_class if one.accuracy is not None])),
        top5_accuracy=100 * float((ranks <= 5).mean()) if len(classes) >= TOP_FIVE_FROM else None,
        loss=-float(of_true.mean()),
        per_class=tuple(per_class),
        confusion=confusion,
        calibration=calibrate(confidence, predicted == labels),
        scaled=calibrate(told, predicted == labels),
        temperature=temperature,
        threshold=threshold,
        confidence=told,
        mistakes=_mistakes(labels, predicted, told, told_of_true, ranks),
        names=names,
    )


def _mistakes(
    labels: np.ndarray, predicted: np.ndarray, confidence: np.ndarray, of_true: np.ndarray, ranks: np.ndarray
) -> tuple[Mistake, ...]:
    """The images that were not recognised, the most confident first; see :func:`_of_each_image`."""
    wrong = np.flatnonzero(predicted != labels)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    return tuple(
        Mistake(
            index=int(i),
            true=int(labels[i]),
            predicted=int(predicted[i]),
            confidence=100 * float(confidence[i]),
            true_probability=100 * float(np.exp(of_true[i])),
            true_rank=int(ranks[i]),
        )
        for i in wrong
    )


def _of_each_image(
    logits: np.ndarray, labels: np.ndarray, predicted: np.ndarray, temperature: float = 1.0, slice_size: int = 1024
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The predicted class's probability, the logarithm of the true one's and the true one's rank, (N,) each.

    A slice at a time, for in float64 the logits of many classes would fill the memory. Of equal logits the first class
    ranks first, as for argmax: a network that says the same of all classes has no top five that holds every class.
    """
    confidence, of_true = np.empty(len(labels)), np.empty(len(labels))
    ranks = np.empty(len(labels), np.int64)
    for start in range(0, len(labels), slice_size):
        part = slice(start, start + slice_size)
        some, true, rows = logits[part], labels[part], np.arange(len(labels[part]))
        shifted = (some.astype(np.float64) - some.max(1, keepdims=True)) / temperature
        log_probabilities = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        confidence[part] = np.exp(log_probabilities[rows, predicted[part]])
        of_true[part] = log_probabilities[rows, true]
        own = some[rows, true][:, None]
        before = (some == own) & (np.arange(some.shape[1]) < true[:, None])
        ranks[part] = 1 + ((some > own) | before).sum(1)
    return confidence, of_true, ranks


def confusions(evaluation: Evaluation, most: int) -> list[tuple[int, int, int]]:
    """The most frequent (true, predicted, images), the most frequent first; only those that happened."""
    off = [pair for pair in matrix.pairs(evaluation.confusion) if pair[0] != pair[1]]
    return sorted(off, key=lambda pair: -pair[2])[:most]


def _class_scores(classes: Sequence[str], confusion: np.ndarray) -> list[ClassScore]:
    scores = []
    counts = (confusion.sum(1).tolist(), confusion.diagonal().tolist(), confusion.sum(0).tolist())
    for name, n, correct, predicted in zip(classes, *counts, strict=True):
        scores.append(
            ClassScore(
                name=name,
                n=n,
                correct=correct,
                predicted=predicted,
                accuracy=percent(correct, n),
                interval=wilson(correct, n) if n else None,
                precision=percent(correct, predicted),
            )
        )
    return scores
