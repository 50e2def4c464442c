"""``onnx``: normalised floats in, logits out."""

from __future__ import annotations

from pathlib import Path

from flyweight.export.subject import Artefact, Subject, saved

FILE = "model.onnx"


def write(subject: Subject, folder: Path) -> list[Artefact]:
    """Write ``model.onnx``: ``pixel_values`` (N, C, H, W) float32 to ``logits`` (N, classes), for any N.

    Raises:
        FlyweightError: ONNX cannot hold the network, or does not say what it says.
    """
    content, agreement = subject.once(FILE, lambda: _made(subject))
    shape = "x".join(map(str, subject.card.input_shape))
    takes, gives = f"pixel_values, Nx{shape} float32, normalised", "logits"
    return [saved(folder, FILE, content, takes=takes, gives=gives, agreement=agreement)]


def _made(subject: Subject) -> tuple[bytes, object]:
    model = subject.model()
    agreement = subject.checked(model, FILE, subject.inputs, subject.logits)
    return model.SerializeToString(deterministic=True), agreement
