"""What a network comes to elsewhere: accuracy, bytes, memory and time an image, beside PyTorch, from one run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from flyweight import data
from flyweight.bench import DATA, sides
from flyweight.bench.comparisons import Tell
from flyweight.bench.latency import EAGER, FLOAT, INT8, OURS, WAYS, C, c_program
from flyweight.data import Dataset, Split
from flyweight.errors import FlyweightError
from flyweight.export import c, onnx_float, onnx_int8
from flyweight.export.c.compiled import code_size, library
from flyweight.export.c.plan import planned
from flyweight.export.c.source import Pair, identifier, pair
from flyweight.export.subject import Subject
from flyweight.files import write_bytes
from flyweight.inference import classifier
from flyweight.machine import environment
from flyweight.runs.card import WEIGHTS, ZOO, Trained, find_trained, load_trained
from flyweight.text import aligned

C_MACS = 5e10
"""The most multiply-accumulates that C is asked for: an image of a large network takes it a tenth of a second."""


@dataclass(frozen=True)
class Way:
    """One way to ask a network.

    Attributes:
        network: its name.
        way: one of `WAYS`.
        accuracy: in percent, on as many test images; none: it was not asked, or could not be made.
        images: how many.
        lost: points of accuracy against PyTorch on the same images.
        bytes: of the file; of C its constants and instructions.
        arena: bytes that C keeps its maps in.
        milliseconds: an image on one thread: the median, and the 10th and 90th percentile; none: not timed.
        ratio: of the median to that of PyTorch eager.
        refused: why it could not be made.
    """

    network: str
    way: str
    accuracy: float | None = None
    images: int = 0
    lost: float | None = None
    bytes: int | None = None
    arena: int | None = None
    milliseconds: tuple[float, float, float] | None = None
    ratio: float | None = None
    refused: str | None = None

    def cells(self) -> list[str]:
        """Of a line of the table."""
        times = self.milliseconds
        return [
            self.network,
            self.way,
            "-" if self.accuracy is None else f"{self.accuracy:.2f} %",
            "-" if self.lost is None else f"{0 - self.lost:+.2f}",
            f"{self.images:,}" if self.images else "-",
            "-" if self.bytes is None else f"{self.bytes:,}",
            "-" if self.arena is None else f"{self.arena:,}",
            "-" if times is None else f"{times[0]:.2f} ({times[1]:.2f} to {times[2]:.2f})",
            "-" if self.ratio is None else f"{self.ratio:.2f}",
        ]


HEAD = ["network", "way", "accuracy", "points", "images", "bytes", "arena", "ms an image (10 to 90 %)", "of eager"]


@dataclass(frozen=True)
class Exports:
    """All ways of all networks.

    Attributes:
        machine: where.
        ways: one a line of the table.
    """

    machine: dict[str, Any]
    ways: tuple[Way, ...]

    def as_json(self) -> dict[str, Any]:
        """Everything in it."""
        return {"machine": self.machine, "ways": [asdict(way) for way in self.ways]}

    def text(self) -> str:
        """A table, and what could not be made."""
        lines = aligned(HEAD, [way.cells() for way in self.ways], left=2)
        return "\n".join([*lines, *(f"{way.network}, {way.way}: {way.refused}" for way in self.ways if way.refused)])


def shipped() -> list[str]:
    """The networks that come with the package."""
    return sorted(path.parent.name for path in ZOO.glob(f"*/{WEIGHTS}"))


def run(networks: Sequence[str], images: int, test_images: int | None, tell: Tell) -> Exports:
    """Export networks, ask every export, and time them all at the end.

    Args:
        networks: those that ship, or run folders; all were trained on CIFAR-10.
        images: that are timed, at most.
        test_images: that are answered, spread over all of them; none: all.
        tell: called with a line before each measurement.

    Raises:
        FlyweightError: there is no such network, or no data.
    """
    dataset = data.load(DATA)
    if test_images is not None:
        places = spread(len(dataset.test), test_images)
        test = Split(np.array(dataset.test.images[places]), np.array(dataset.test.labels[places]))
        dataset = replace(dataset, test=test)
    trained = {name: load_trained(find_trained(name)) for name in networks}
    with tempfile.TemporaryDirectory() as temporary:
        made = {}
        for number, (name, one) in enumerate(trained.items()):
            tell(f"exporting and asking {name}")
            (Path(temporary) / str(number)).mkdir()
            made[name] = (one, Path(temporary) / str(number), asked(name, one, dataset, Path(temporary) / str(number)))
        found: list[Way] = []
        for name, (one, folder, ways) in made.items():
            tell(f"timing {name}")
            found += timed(ways, one, folder, images)
    return Exports(environment.describe(), tuple(found))


def spread(count: int, some: int) -> np.ndarray:
    """So many places of all, evenly: images may lie class by class."""
    return np.linspace(0, count - 1, min(count, some)).astype(int)


def asked(name: str, trained: Trained, dataset: Dataset, folder: Path, c_macs: float = C_MACS) -> list[Way]:
    """Export a network into a folder, and what every export says of the test images.

    Args:
        name: of the network.
        trained: the network.
        dataset: with its test images.
        folder: for the exports, an empty one.
        c_macs: the most multiply-accumulates that C is asked for.
    """
    subject = Subject(trained, dataset)
    count, true = len(subject.labels), subject.labels
    weights = (trained.folder / WEIGHTS).stat().st_size
    eager = Way(name, EAGER, subject.scores.accuracy, count, 0.0, weights)
    said = classifier.logits(trained.model, dataset.test.images, subject.card.mean, subject.card.std).numpy()
    accuracy = 100 * float((said.argmax(1) == true).mean())
    found = [eager, Way(name, OURS, accuracy, count, subject.scores.accuracy - accuracy, weights)]
    for way, make, file in ((FLOAT, onnx_float.made, onnx_float.FILE), (INT8, onnx_int8.quantised, onnx_int8.FILE)):
        try:
            made = make(subject)
        except FlyweightError as error:
            found.append(Way(name, way, refused=str(error)))
            continue
        write_bytes(folder / file, made.content)
        found.append(Way(name, way, made.agreement.accuracy, count, made.agreement.lost, len(made.content)))
    try:
        network, _ = c.chosen(subject)
    except FlyweightError as error:
        return [*found, Way(name, C, refused=str(error))]
    files = pair(network, planned(network), subject.card, name)
    most = count if subject.facts is None or not subject.facts.macs else int(c_macs / subject.facts.macs)
    return [*found, _in_c(name, subject, files, network.constant_bytes, folder, min(count, most))]


def _in_c(name: str, subject: Subject, files: Pair, constants: int, folder: Path, images: int) -> Way:
    code = code_size(files)
    found = Way(name, C, bytes=None if code is None else constants + code.bytes, arena=files.arena_bytes)
    made = library(files, folder)
    if made is None:
        return replace(found, refused="there is no gcc, or it did not compile it")
    ask = c_program(made, files.prefix, len(subject.card.classes))
    places = spread(len(subject.labels), images)
    said = np.array([ask(np.array(subject.dataset.test.images[place])).argmax() for place in places])
    true = subject.labels[places]
    accuracy = 100 * float((said == true).mean())
    lost = 100 * float((subject.logits[places].argmax(1) == true).mean()) - accuracy
    return replace(found, accuracy=accuracy, images=images, lost=lost)


def timed(ways: Sequence[Way], trained: Trained, folder: Path, images: int) -> list[Way]:
    """The same with times of at most so many images, in a process of its own.

    Raises:
        FlyweightError: it failed.
    """
    prefix = identifier(ways[0].network)
    output = sides.module("latency", str(trained.folder), str(folder), prefix, str(images))
    times = {way: np.percentile(each, (50, 10, 90)) for way, each in json.loads(output).items()}
    found = []
    for way in ways:
        if way.way in times:
            middle, low, high = (float(f"{each:.4g}") for each in times[way.way])
            ratio = float(times[way.way][0] / times[EAGER][0])
            way = replace(way, milliseconds=(middle, low, high), ratio=round(ratio, 3))
        found.append(way)
    assert [way.way for way in found] == list(WAYS)
    return found
