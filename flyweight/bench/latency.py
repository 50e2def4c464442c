"""How long one image takes: ``python -m flyweight.bench.latency FOLDER EXPORTS LIBRARY PREFIX IMAGES``.

A process of its own. FOLDER holds a trained network, EXPORTS what was made of it, LIBRARY its C, compiled, whose names
begin with PREFIX; an empty PREFIX: there is none. Every way begins with an image in bytes and ends with logits, on one
thread, and the ways take turns image by image, so that what else the machine does meets all of them. Prints a JSON
object with the milliseconds of each image by way.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from flyweight.bench.asking import eager
from flyweight.export import onnx_float, onnx_int8
from flyweight.export.session import open_graph
from flyweight.images.preprocess import normalize
from flyweight.inference.classifier import Classifier
from flyweight.runs.card import Card, load_trained

EAGER, OURS, FLOAT, INT8, C = WAYS = ("PyTorch eager", "flyweight", "onnxruntime", "onnxruntime, 8 bits", "C, 8 bits")
WARM, SECONDS = 10, 12.0
"""Images that do not count, and how long the others may take."""

Ask = Callable[[np.ndarray], object]


def c_program(library: Path, prefix: str, classes: int) -> Callable[[np.ndarray], np.ndarray]:
    """The C export, compiled: an image in bytes, (..., H, W, C) uint8, to (classes,) logits int16."""
    classify = ctypes.CDLL(str(library))[f"{prefix}_classify"]
    classify.restype = ctypes.c_int
    logits = np.zeros(classes, np.int16)

    def ask(image: np.ndarray) -> np.ndarray:
        classify(image.ctypes.data_as(ctypes.c_void_p), logits.ctypes.data_as(ctypes.c_void_p))
        return logits

    return ask


def graph(file: Path, card: Card) -> Ask:
    """An ONNX export that takes normalised images."""
    session = open_graph(file.read_bytes(), file.name)
    (entry,) = session.get_inputs()

    def ask(image: np.ndarray) -> object:
        inputs = normalize(torch.from_numpy(image), card.mean, card.std)
        return session.run(None, {entry.name: np.ascontiguousarray(inputs.numpy())})[0]

    return ask


def ways(folder: Path, exports: Path, library: Path, prefix: str) -> dict[str, Ask]:
    """Every way that there is."""
    trained = load_trained(folder)
    card = trained.card
    found: dict[str, Ask] = {
        EAGER: eager(trained.model, card.mean, card.std),
        OURS: Classifier(trained.model, card.input_shape, card.mean, card.std),
    }
    for way, file in ((FLOAT, exports / onnx_float.FILE), (INT8, exports / onnx_int8.FILE)):
        if file.exists():
            found[way] = graph(file, card)
    if prefix:
        found[C] = c_program(library, prefix, len(card.classes))
    return found


def times(asked: dict[str, Ask], shape: tuple[int, int, int], most: int) -> dict[str, list[float]]:
    """Milliseconds of each of at most so many images by way, in turn."""
    channels, height, width = shape
    images = np.random.default_rng(0).integers(0, 256, (most + WARM, 1, height, width, channels), dtype=np.uint8)
    found: dict[str, list[float]] = {way: [] for way in asked}
    until = None
    for number, image in enumerate(images):
        if number == WARM:
            until = time.perf_counter() + SECONDS
        for way, ask in asked.items():
            began = time.perf_counter()
            ask(image)
            if until is not None:
                found[way].append(1000 * (time.perf_counter() - began))
        if until is not None and time.perf_counter() > until:
            break
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    where = Path(sys.argv[1])
    made = ways(where, Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
    sys.stdout.write(json.dumps(times(made, load_trained(where).card.input_shape, int(sys.argv[5]))) + "\n")
