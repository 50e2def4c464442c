"""How much of a network's accuracy is left when the images get worse: JPEG, blur, noise, shift."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from flyweight.data.dataset import Dataset
from flyweight.data.stored import Images
from flyweight.evaluation.evaluate import fit_or_raise, scored
from flyweight.evaluation.shares import Interval
from flyweight.images.damage import Damage, damaged, damages
from flyweight.inference import classifier
from flyweight.runs.card import Trained
from flyweight.text import aligned


@dataclass(frozen=True)
class Damaged:
    """What a network makes of damaged images.

    Attributes:
        damage: done to each image.
        accuracy: in percent.
        interval: of the accuracy, 95 %.
        calibration_error: of the network as it is, in percentage points.
    """

    damage: Damage
    accuracy: float
    interval: Interval
    calibration_error: float

    def as_json(self) -> dict[str, Any]:
        """Everything in it."""
        return {**vars(self.damage), **{key: value for key, value in vars(self).items() if key != "damage"}}


def measure(trained: Trained, dataset: Dataset) -> Iterator[Damaged]:
    """Test a network on the damaged images of the test split, one damage after the other.

    Raises:
        FlyweightError: as :func:`flyweight.evaluation.evaluate.evaluate` does.
    """
    fit_or_raise(trained, dataset, "test")
    for damage in damages(*dataset.spec.shape[1:]):
        worse = _Worse(dataset.test.images, damage)
        logits = classifier.logits(trained.model, worse, trained.card.mean, trained.card.std)
        scores = scored(trained, dataset, logits)
        yield Damaged(damage, scores.accuracy, scores.interval, scores.calibration.error)


@dataclass(frozen=True, eq=False)
class _Worse:
    """Images that are damaged when they are asked for, in their order: no set is too large for the memory."""

    images: Images
    damage: Damage

    @property
    def shape(self) -> tuple[int, ...]:
        return self.images.shape

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, part: slice) -> np.ndarray:
        return damaged(np.asarray(self.images[part]), self.damage, go_on=part.start > 0)


def render(results: list[Damaged], clean: float) -> str:
    """The results as aligned plain text.

    Args:
        results: of :func:`measure`.
        clean: accuracy on the images as they are, in percent.
    """
    rows = [
        [
            result.damage.label,
            f"{result.accuracy:.2f} %",
            f"{result.accuracy - clean:+.2f}",
            f"{result.interval[0]:.2f} to {result.interval[1]:.2f} %",
            f"{result.calibration_error:.2f}",
        ]
        for result in results
    ]
    return "\n".join(aligned(["damaged images", "accuracy", "points", "95 % interval", "ECE"], rows))
