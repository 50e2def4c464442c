"""An exported network, asked by onnxruntime: neither PyTorch nor pydantic is needed, nor is a folder's card.

An ``.onnx`` file holds all that must be known of it in its metadata. Of a folder ``export.json`` says which files it
has and what their hashes are; a file is looked for by its name in :data:`FILES` alone, whatever that record says.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from flyweight import files
from flyweight.errors import FlyweightError, RunError
from flyweight.files import reason
from flyweight.images import decode
from flyweight.images.spec import Preprocessing, Resize, Spec
from flyweight.inference import graph_file, runtime
from flyweight.inference.predict import Predictor
from flyweight.runs.names import EXPORT_RECORD, WEIGHTS
from flyweight.text import one_line, printable, some

PIXELS, FLOATS, INT8, ULTRALYTICS = "model_pixels.onnx", "model.onnx", "model_int8.onnx", "model_ultralytics.onnx"

FILES = (PIXELS, FLOATS, INT8, ULTRALYTICS)
"""Of a folder the first one that is there is asked."""

MOST_RECORD = 16 * 1024**2
MOST_SIDE = 16_384


@dataclass(frozen=True)
class Graph:
    """A file that was found.

    Attributes:
        path: of it.
        sha256: that it should have; None: nobody says.
    """

    path: Path
    sha256: str | None = None


@dataclass(frozen=True)
class Port:
    """How a graph is asked.

    Attributes:
        kind: of its numbers, as onnxruntime names it.
        last: whether channels come last.
        output: what it gives.
        probabilities: whether those are probabilities, else they are logits.
    """

    kind: str
    last: bool
    output: str
    probabilities: bool


PORTS = {
    "pixels": Port("tensor(uint8)", True, "probabilities", True),
    "pixel_values": Port("tensor(float)", False, "logits", False),
    "images": Port("tensor(float)", False, "output0", True),
}
"""By the name of the input."""


def find(name: str) -> Graph | None:
    """The exported graph of this name: a file that ends in ``.onnx``, or the first of :data:`FILES` in a folder.

    Where a file lies beside the record of its export it must be the file that this says.

    Returns:
        None where it is something else: a folder without an export or with nothing of it but weights, or a name.

    Raises:
        RunError: it is an export that cannot be asked, or its record is damaged.
    """
    path = Path(name)
    if path.suffix.lower() == ".onnx":
        beside = path.with_name(EXPORT_RECORD)
        listed = {}
        if files.answers(beside, Path.exists):
            with suppress(RunError):  # whoever names the file itself needs no record
                listed = _listed(beside)
        return Graph(path, listed.get(path.name))
    record = path / EXPORT_RECORD
    if not files.answers(record, Path.exists):
        return None
    listed = _listed(record)
    for file in FILES:
        if file in listed:
            return Graph(path / file, listed[file])
    if WEIGHTS in listed:
        return None
    raise RunError(
        f"{printable(name)} holds no file that can be asked ({some(list(listed)) or 'its record lists none'}): export"
        " it with --format onnx-uint8"
    )


def _listed(record: Path) -> dict[str, str]:
    """The files of an export by their names, with their SHA-256."""
    shown = printable(str(record))
    try:
        content = json.loads(files.read_bytes(record, MOST_RECORD))
        listed = {entry["file"]: entry["sha256"] for entry in content["files"]}
        if not all(isinstance(part, str) for entry in listed.items() for part in entry):
            raise TypeError("a name or a hash is no text")
    except OSError as error:
        raise RunError(
            f"cannot read {shown}: {reason(error)}; export the network again, or name an .onnx file"
        ) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RunError(f"{shown} is damaged: export the network again, or name an .onnx file") from None
    return listed


class Exported(Predictor):
    """A network that flyweight has exported as ONNX.

    Args:
        graph: the file.

    Attributes:
        path: of the file.
        words: its metadata.

    Raises:
        RunError: it is damaged, foreign or does not fit its metadata.
        FlyweightError: onnxruntime is missing.
    """

    def __init__(self, graph: Graph) -> None:
        runtime.require()
        self.path, shown = graph.path, printable(str(graph.path))
        try:
            content = files.read_bytes(graph.path, graph_file.MOST_BYTES)
        except OSError as error:
            raise RunError(f"cannot read {shown}: {reason(error)}; export the network again") from None
        if graph.sha256 not in (None, hashlib.sha256(content).hexdigest()):
            raise RunError(f"{shown} is damaged or of another export: its SHA-256 is not the one in {EXPORT_RECORD}")
        looked = graph_file.read(content, shown)
        self.words = looked.words
        if looked.words.get(graph_file.GRAPH_HASH, looked.sha256) != looked.sha256:
            raise RunError(f"{shown} is damaged or was changed: its graph is not the one that flyweight wrote")
        if looked.words.get(graph_file.WORDS_HASH, whole := graph_file.hash_of(looked.words)) != whole:
            raise RunError(f"{shown} is damaged or was changed: what it says of itself is not what flyweight wrote")
        self.name = printable(looked.words.get("network", ""))[:80] or "the network"
        self.spec, self.temperature, self.threshold = described(looked.words, shown)
        self._shown = shown
        try:
            self._session = runtime.open_graph(content, shown)
        except FlyweightError as error:
            raise RunError(str(error)) from error
        self._port, self._alone = self._checked()

    def logits(self, images: np.ndarray) -> np.ndarray:
        """(N, H, W, C) uint8 in the network's size to (N, classes) float32, up to a summand of each image.

        Raises:
            RunError: onnxruntime fails, or the graph gives something else.
        """
        inputs = self._inputs(images)
        parts = [inputs[place : place + 1] for place in range(len(inputs))] if self._alone else [inputs]
        (entry,) = self._session.get_inputs()
        try:
            said = np.concatenate([self._session.run([self._port.output], {entry.name: part})[0] for part in parts])
        except Exception as error:  # onnxruntime has a class of its own for each thing that a graph can have wrong
            raise RunError(f"onnxruntime cannot run {self._shown}: {one_line(error)}") from error
        wanted = (len(images), len(self.spec.classes))
        if said.shape != wanted:
            gives = "x".join(map(str, said.shape))
            raise RunError(f"{self._shown} gives {gives} where {wanted[0]}x{wanted[1]} numbers are due: it is damaged")
        if self._port.probabilities:
            if (said < 0).any() or np.abs(said.sum(1) - 1).max() > 1e-3:
                raise RunError(f"{self._shown} gives numbers that are no probabilities: it is damaged")
            # with the temperature in the graph, which whoever divides by it must not do twice
            return np.log(np.maximum(said, np.finfo(np.float32).tiny)) * np.float32(self.temperature)
        return said

    def _inputs(self, images: np.ndarray) -> np.ndarray:
        """Images as the graph takes them."""
        if self._port.last:
            return images
        looks = self.spec.preprocessing
        # a graph that gives probabilities normalises by itself
        plain = self._port.probabilities
        mean, std = np.array(0.0 if plain else looks.mean), np.array(1.0 if plain else looks.std)
        scaled = images.astype(np.float32) * np.float32(1 / (255 * std)) - np.float32(mean / std)
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))

    def _checked(self) -> tuple[Port, bool]:
        """How the graph is asked, and whether it takes one image at once.

        Raises:
            RunError: it takes or gives something else than flyweight's graphs.
        """
        entries, (channels, height, width) = self._session.get_inputs(), self.spec.shape
        port = PORTS.get(entries[0].name) if len(entries) == 1 else None
        if port is None:
            takes = some([entry.name for entry in entries]) or "nothing"
            raise RunError(f"{self._shown} takes {takes}, where flyweight's graphs take one of {', '.join(PORTS)}")
        sizes = [height, width, channels] if port.last else [channels, height, width]
        shape = list(entries[0].shape)
        if entries[0].type != port.kind or shape[1:] != sizes or not (shape[0] == 1 or isinstance(shape[0], str)):
            raise RunError(
                f"{self._shown} takes {printable(entries[0].type)} of {printable('x'.join(map(str, shape)))}, where its"
                f" metadata say {port.kind} of {'x'.join(map(str, sizes))}: it is damaged or was changed"
            )
        outputs = {output.name: output for output in self._session.get_outputs()}
        gives = outputs.get(port.output)
        if gives is None or gives.type != "tensor(float)" or list(gives.shape)[1:] != [len(self.spec.classes)]:
            told = "nothing" if gives is None else f"{gives.type} of {'x'.join(map(str, gives.shape))}"
            raise RunError(
                f"{self._shown} gives {printable(told)} as {port.output}, where {len(self.spec.classes)} numbers are"
                " due, one a class: it is damaged or was changed"
            )
        return port, shape[0] == 1


def described(words: Mapping[str, str], name: str) -> tuple[Spec, float, float | None]:
    """Classes and images of a graph, its temperature and its threshold.

    Args:
        words: metadata of the graph.
        name: of the file, for messages.

    Raises:
        RunError: something is missing or of the wrong kind.
    """
    missing = [key for key in ("classes", "preprocessing") if key not in words]
    if missing:
        raise RunError(
            f"{name} was not written by flyweight: its metadata lack {' and '.join(missing)}, without which nobody"
            " knows what goes in and what comes out"
        )
    try:
        classes, looks = json.loads(words["classes"]), json.loads(words["preprocessing"])
        temperature, threshold = json.loads(words.get("temperature", "1")), json.loads(words.get("threshold", "null"))
        spec = _spec(classes, looks)
        if not (_number(temperature) and temperature > 0 and (threshold is None or _number(threshold))):
            raise ValueError("temperature and threshold")
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        what = printable(str(error))[:60]
        raise RunError(f"{name} is damaged: its metadata hold no classes and preprocessing of ours ({what})") from None
    return spec, float(temperature), None if threshold is None else float(threshold)


def _spec(classes: Any, looks: Any) -> Spec:
    """Classes and images, of words that anybody may have written."""
    height, width = looks["size"]
    channels = {"grey": 1, "RGB": 3}.get(looks["channels"], looks["channels"])
    mean, std, resize = looks["mean"], looks["std"], looks["resize"]
    whole = all(type(size) is int and 1 <= size <= MOST_SIDE for size in (height, width, channels))
    if not whole or height * width * channels > decode.MOST_PIXELS:
        raise ValueError("size and channels")
    if not (isinstance(classes, list) and classes and all(isinstance(one, str) for one in classes)):
        raise ValueError("classes")
    numbers = [*mean, *std]
    if not (len(mean) == len(std) == channels and all(map(_number, numbers)) and min(std) > 0):
        raise ValueError("mean and std")
    if resize not in get_args(Resize):
        raise ValueError("resize")
    return Spec(tuple(classes), channels, height, width, Preprocessing(tuple(mean), tuple(std), resize))


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
