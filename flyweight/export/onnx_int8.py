"""``onnx-int8``: the network in 8 bits, where that costs at most half a point of accuracy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flyweight.errors import FlyweightError
from flyweight.export import around, calibrate, quantise
from flyweight.export.calibrate import CHUNK, METHODS, Range
from flyweight.export.gate import MOST_LOST, GateError, agreement
from flyweight.export.session import Session
from flyweight.export.subject import Artefact, Made, Subject, saved, valid_or_raise
from flyweight.images.preprocess import normalize

if TYPE_CHECKING:
    import onnx

FILE = "model_int8.onnx"
CALIBRATED_ON, CHOSEN_ON = 512, 1024
"""Training images that set the ranges, and others by which methods and layers are chosen."""
MOST_LEFT = 3
"""Layers that may stay in float."""


def write(subject: Subject, folder: Path) -> list[Artefact]:
    """Write ``model_int8.onnx``: ``pixel_values`` (N, C, H, W) float32 to ``logits`` (N, classes), for any N.

    Raises:
        FlyweightError: there are no training images, or it cannot be brought to 8 bits.
        GateError: it loses too much.
    """
    made = quantised(subject)
    takes = f"pixel_values, Nx{'x'.join(map(str, subject.card.input_shape))} float32, normalised"
    return [saved(folder, FILE, made.content, takes=takes, gives="logits", agreement=made.agreement, note=made.note)]


def quantised(subject: Subject) -> Made:
    """The network in 8 bits, made once for all formats.

    Methods and layers are chosen on training images; the test images only say whether the result may be written.

    Raises:
        FlyweightError: as :func:`write` says.
    """
    return subject.once(FILE, lambda: _searched(subject))


def _searched(subject: Subject) -> Made:
    search = _Search(subject)
    method = min(METHODS, key=lambda name: search.loss(name, ()))
    left: tuple[str, ...] = ()
    gains: dict[str, float] = {}
    while True:
        model = search.model(method, left)
        valid_or_raise(model, FILE)
        content = model.SerializeToString(deterministic=True)
        said = Session(content, FILE)(len(subject.labels), subject.inputs)
        found = agreement(said, subject.logits, subject.labels)
        if found.lost <= MOST_LOST and np.isfinite(said).all():
            kept = f", {', '.join(left)} left in float" if left else ""
            return Made(content, found, f"8 bits by {method} on {search.calibrated} training images{kept}")
        gains = gains or {layer: search.loss(method, (layer,)) for layer in search.layers}
        # the layer whose rounding costs most is the one without which least is lost
        order = sorted(gains, key=gains.__getitem__)
        if len(left) == min(MOST_LEFT, len(order)):
            raise GateError(
                f"in 8 bits it loses {found.lost:.2f} points of accuracy on {found.n:,} test images, more than"
                f" {MOST_LOST} ({method}, best of {', '.join(METHODS)}; left in float: {', '.join(left)}); the worst"
                f" layer is {order[0]}: it was not written"
            )
        left = tuple(order[: len(left) + 1])


class _Search:
    """Ways to bring one network to 8 bits, and what each loses on training images."""

    def __init__(self, subject: Subject) -> None:
        self._card, train = subject.card, subject.dataset.train
        if len(train) == 0:
            raise FlyweightError(
                f"8 bits are calibrated on training images, and {subject.dataset.name} has none: --data names others"
            )
        order = np.random.RandomState(0).permutation(len(train))  # frozen for good, unlike default_rng
        self.calibrated = min(CALIBRATED_ON, -(-len(train) // 2))
        others = order[self.calibrated :][:CHOSEN_ON] if len(train) > 1 else order
        self._calibrating = self._inputs(train.images, order[: self.calibrated])
        self._choosing = self._inputs(train.images, others)
        self._count = len(others)
        self._prepared = quantise.prepared(subject.model())
        self.layers = quantise.layers(self._prepared)
        seen = calibrate.watch(
            self._prepared,
            [self._calibrating(at, min(at + CHUNK, self.calibrated)) for at in range(0, self.calibrated, CHUNK)],
        )
        self._ranges = {name: {key: choose(one) for key, one in seen.items()} for name, choose in METHODS.items()}
        exact = Session(self._prepared.SerializeToString(), "the graph")(self._count, self._choosing)
        self._exact = _log_softmax(exact)

    def _inputs(self, images: object, places: np.ndarray) -> Callable[[int, int], np.ndarray]:
        import torch

        chosen = torch.from_numpy(np.array(images[places]))  # type: ignore[index]
        ready = np.ascontiguousarray(normalize(chosen, self._card.mean, self._card.std).numpy())
        return lambda start, end: ready[start:end]

    def model(self, method: str, left: tuple[str, ...]) -> onnx.ModelProto:
        """The network in 8 bits with the ranges of one method, some layers left in float."""
        ranges: Mapping[str, Range] = self._ranges[method]
        nodes = [node for layer in left for node in self.layers[layer]]
        found = quantise.quantised(self._prepared, ranges, nodes)
        around.say(found, around.told(self._card) | {"quantisation": f"int8 QDQ, {method}"})
        return found

    def loss(self, method: str, left: tuple[str, ...]) -> float:
        """Nats that an image's probabilities lose on training images that set no range (Kullback-Leibler)."""
        content = self.model(method, left).SerializeToString()
        said = _log_softmax(Session(content, FILE)(self._count, self._choosing))
        return float((np.exp(self._exact) * (self._exact - said)).sum(1).mean())


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    wide = logits.astype(np.float64)
    shifted = wide - wide.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
