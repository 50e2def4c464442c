"""``onnx-uint8``: pixels in, probabilities out, so that whoever runs it needs no arithmetic of his own."""

from __future__ import annotations

from pathlib import Path

from flyweight.export import around
from flyweight.export.subject import Artefact, Subject, saved
from flyweight.inference.exported import PIXELS

FILE = PIXELS
INPUT, OUTPUT = "pixels", "probabilities"


def write(subject: Subject, folder: Path) -> list[Artefact]:
    """Write ``model_pixels.onnx``: ``pixels`` (N, H, W, C) uint8 to ``probabilities`` (N, classes), for any N.

    Channels come last, as in what Pillow, OpenCV and a browser's canvas hand out: those bytes go in as they are.

    Raises:
        FlyweightError: ONNX cannot hold the network, or does not say what it says.
    """
    model = subject.model()
    around.normalised(model, subject.card, "pixels", INPUT)
    around.with_probabilities(model, subject.card, OUTPUT)
    agreement = subject.checked(model, FILE, subject.pixels, subject.probabilities)
    channels, height, width = subject.card.input_shape
    takes = f"{INPUT}, Nx{height}x{width}x{channels} uint8"
    content = around.sealed(model)
    return [saved(folder, FILE, content, takes=takes, gives=OUTPUT, agreement=agreement)]
