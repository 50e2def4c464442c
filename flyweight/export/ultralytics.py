"""``ultralytics``: the ONNX flavour of `yolo predict model=model_ultralytics.onnx task=classify`.

It hands over shares of white in 0 to 1 without a mean and a deviation of its own, and takes what comes out for
probabilities; what the model is it reads from metadata that are Python literals. The size it reads there only where a
graph takes one number of images alone: of any number, it asks with images of 640x640 (8.4.190).
"""

from __future__ import annotations

from pathlib import Path

from flyweight.export import around
from flyweight.export.subject import Artefact, Subject, saved
from flyweight.inference.exported import ULTRALYTICS
from flyweight.runs.card import Card

FILE = ULTRALYTICS
INPUT, OUTPUT = "images", "output0"


def write(subject: Subject, folder: Path) -> list[Artefact]:
    """Write ``model_ultralytics.onnx``: ``images`` (1, C, H, W) float32 in 0 to 1 to probabilities.

    Raises:
        FlyweightError: ONNX cannot hold the network, or does not say what it says.
    """
    model = subject.model()
    around.normalised(model, subject.card, "shares", INPUT)
    around.with_probabilities(model, subject.card, OUTPUT)
    around.one_image(model)
    around.say(model, around.told(subject.card) | literals(subject.card))
    agreement = subject.checked(model, FILE, subject.shares, subject.probabilities)
    takes = f"{INPUT}, 1x{'x'.join(map(str, subject.card.input_shape))} float32 in 0 to 1"
    content = around.sealed(model)
    return [saved(folder, FILE, content, takes=takes, gives=f"{OUTPUT}, probabilities", agreement=agreement)]


def literals(card: Card) -> dict[str, str]:
    """The keys that Ultralytics looks for."""
    channels, height, width = card.input_shape
    return {
        "task": "classify",
        "names": str(dict(enumerate(card.classes))),
        "imgsz": str([height, width]),
        # the size is what it is: nothing is to be rounded up to a multiple
        "stride": "1",
        "batch": "1",
        "channels": str(channels),
    }
