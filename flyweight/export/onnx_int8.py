"""``onnx-int8``: the network in 8 bits, where that costs at most half a point of accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flyweight.export import around, quantise
from flyweight.export.calibrate import METHODS
from flyweight.export.choices import choices
from flyweight.export.gate import MOST_LOST, GateError, agreement
from flyweight.export.session import Session
from flyweight.export.subject import Artefact, Made, Subject, saved, valid_or_raise
from flyweight.inference.exported import INT8

if TYPE_CHECKING:
    import onnx

FILE = INT8
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
        content = around.sealed(model)
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
        self._card, self._choices = subject.card, choices(subject)
        self.calibrated, self.layers = self._choices.calibrated, quantise.layers(self._choices.model)

    def model(self, method: str, left: tuple[str, ...]) -> onnx.ModelProto:
        """The network in 8 bits with the ranges of one method, some layers left in float."""
        nodes = [node for layer in left for node in self.layers[layer]]
        found = quantise.quantised(self._choices.model, self._choices.ranges[method], nodes)
        around.say(found, around.told(self._card) | {"quantisation": f"int8 QDQ, {method}"})
        return found

    def loss(self, method: str, left: tuple[str, ...]) -> float:
        """Nats that an image's probabilities lose on training images that set no range."""
        content, inputs = self.model(method, left).SerializeToString(), self._choices.inputs
        return self._choices.loss(Session(content, FILE)(len(inputs), lambda start, end: inputs[start:end]))
