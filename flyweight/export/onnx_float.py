"""``onnx``: normalised floats in, logits out."""

from __future__ import annotations

from pathlib import Path

from flyweight.export import around
from flyweight.export.subject import Artefact, Made, Subject, saved
from flyweight.inference.exported import FLOATS

FILE = FLOATS


def write(subject: Subject, folder: Path) -> list[Artefact]:
    """Write ``model.onnx``: ``pixel_values`` (N, C, H, W) float32 to ``logits`` (N, classes), for any N.

    Raises:
        FlyweightError: ONNX cannot hold the network, or does not say what it says.
    """
    found = made(subject)
    takes = f"pixel_values, Nx{'x'.join(map(str, subject.card.input_shape))} float32, normalised"
    return [saved(folder, FILE, found.content, takes=takes, gives="logits", agreement=found.agreement)]


def made(subject: Subject) -> Made:
    """The graph, made once for all formats.

    Raises:
        FlyweightError: as :func:`write` says.
    """

    def make() -> Made:
        model = subject.model()
        agreement = subject.checked(model, FILE, subject.inputs, subject.logits)
        return Made(around.sealed(model), agreement)

    return subject.once(FILE, make)
