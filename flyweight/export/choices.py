"""What the formats in 8 bits share: ranges by each method, and training images that say which of them costs least."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from flyweight.errors import FlyweightError
from flyweight.export import calibrate, quantise
from flyweight.export.calibrate import CHUNK, METHODS, Range
from flyweight.export.session import Session
from flyweight.export.subject import Subject
from flyweight.images.preprocess import normalize

if TYPE_CHECKING:
    import onnx

CALIBRATED_ON, CHOSEN_ON = 512, 1024
"""Training images that set the ranges, and others by which methods and layers are chosen."""


@dataclass(frozen=True)
class Choices:
    """What is chosen from, and by what.

    Attributes:
        model: the graph, prepared.
        ranges: of each tensor, by each method.
        calibrated: how many training images set them.
        pixels: (n, H, W, C) uint8, training images that set none.
        inputs: (n, C, H, W) float32, the same normalised.
        exact: (n, classes), the logarithms of the probabilities that the float graph gives them.
    """

    model: onnx.ModelProto
    ranges: dict[str, dict[str, Range]]
    calibrated: int
    pixels: np.ndarray
    inputs: np.ndarray
    exact: np.ndarray

    def loss(self, logits: np.ndarray) -> float:
        """Nats that an image's probabilities lose (Kullback-Leibler).

        Args:
            logits: (n, classes) of the first n of the images.
        """
        exact, said = self.exact[: len(logits)], _log_softmax(logits)
        return float((np.exp(exact) * (exact - said)).sum(1).mean())


def choices(subject: Subject) -> Choices:
    """Calibrate, once for all formats.

    Raises:
        FlyweightError: there are no training images, or the graph cannot be prepared.
    """
    return subject.once("choices", lambda: _calibrated(subject))


def _calibrated(subject: Subject) -> Choices:
    card, train = subject.card, subject.dataset.train
    if len(train) == 0:
        raise FlyweightError(
            f"8 bits are calibrated on training images, and {subject.dataset.name} has none: --data names others"
        )
    order = np.random.RandomState(0).permutation(len(train))  # frozen for good, unlike default_rng
    count = min(CALIBRATED_ON, -(-len(train) // 2))
    others = order[count:][:CHOSEN_ON] if len(train) > 1 else order

    def ready(images: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(normalize(torch.from_numpy(images), card.mean, card.std).numpy())

    calibrating, pixels = (np.array(train.images[places]) for places in (order[:count], others))
    inputs, model = ready(pixels), quantise.prepared(subject.model())
    seen = calibrate.watch(model, [ready(calibrating[at : at + CHUNK]) for at in range(0, count, CHUNK)])
    ranges = {name: {key: choose(one) for key, one in seen.items()} for name, choose in METHODS.items()}
    exact = Session(model.SerializeToString(), "the graph")(len(inputs), lambda start, end: inputs[start:end])
    return Choices(model, ranges, count, pixels, inputs, _log_softmax(exact))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    wide = logits.astype(np.float64)
    shifted = wide - wide.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
