"""What a network comes to elsewhere: accuracy, bytes, memory and time an image, beside PyTorch."""

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
from flyweight.bench.latency import EAGER, FLOAT, INT8, OURS, C
from flyweight.data import Split
from flyweight.errors import FlyweightError
from flyweight.export import formats, onnx_float, onnx_int8, write
from flyweight.export.c.compiled import library
from flyweight.export.c.source import identifier
from flyweight.export.subject import Subject
from flyweight.machine import environment
from flyweight.runs.card import ZOO, Trained, find_trained, load_trained
from flyweight.runs.names import EXPORT_RECORD, WEIGHTS
from flyweight.text import aligned

FORMATS = ("onnx", "onnx-int8", "c")


@dataclass(frozen=True)
class Way:
    """One way to ask a network.

    Attributes:
        network: its name.
        way: one of `latency.WAYS`.
        accuracy: in percent, on as many test images; none: it could not be made. Flyweight's own is PyTorch's.
        images: how many.
        lost: points of accuracy against PyTorch.
        bytes: of the file; of C its constants and instructions.
        arena: bytes that C keeps its maps in.
        milliseconds: an image on one thread: the median, and the 10th and 90th percentile; none: not timed.
        ratio: of the median to that of PyTorch eager.
        missing: why it could not be made or timed.
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
    missing: str | None = None

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
        return "\n".join([*lines, *(f"{way.network}, {way.way}: {way.missing}" for way in self.ways if way.missing)])


def shipped() -> list[str]:
    """The networks that come with the package."""
    return sorted(path.parent.name for path in ZOO.glob(f"*/{WEIGHTS}"))


def run(networks: Sequence[str], images: int, test_images: int | None, kept: Path | None, tell: Tell) -> Exports:
    """Export networks, each through its gate, and time all exports at the end.

    Args:
        networks: those that ship, or run folders; all were trained on CIFAR-10.
        images: that are timed, at most.
        test_images: that the gates ask, spread over all of them; none: all.
        kept: a folder where the exports of a network lie in a folder of its name, or are put; none: a passing one.
        tell: called with a line before each measurement.

    Raises:
        FlyweightError: there is no such network or no data, or an export there is of other weights.
    """
    trained = {name: load_trained(find_trained(name)) for name in networks}
    with tempfile.TemporaryDirectory() as temporary:
        found: list[tuple[list[Way], Trained, Path]] = []
        for name, one in trained.items():
            folder = (kept or Path(temporary)) / identifier(name)
            if not (folder / EXPORT_RECORD).exists():
                tell(f"exporting {name}")
                refused = exported(one, folder, test_images, tell)
            else:
                refused = {}
            found.append((told(name, one, folder, refused), one, folder))
        ways: list[Way] = []
        for each, one, folder in found:
            tell(f"timing {each[0].network}")
            ways += timed(each, one, folder, images)
    return Exports(environment.describe(), tuple(ways))


def spread(count: int, some: int) -> np.ndarray:
    """So many places of all, evenly: images may lie class by class."""
    return np.linspace(0, count - 1, min(count, some)).astype(int)


def exported(trained: Trained, folder: Path, test_images: int | None, tell: Tell) -> dict[str, FlyweightError]:
    """Write a network's exports; returns those that did not pass.

    Raises:
        FlyweightError: there is no data, or nothing passes.
    """
    dataset = data.load(DATA)
    if test_images is not None:
        places = spread(len(dataset.test), test_images)
        test = Split(np.array(dataset.test.images[places]), np.array(dataset.test.labels[places]))
        dataset = replace(dataset, test=test)
    return write.write(Subject(trained, dataset), folder, formats.chosen(FORMATS), tell).refused


def told(name: str, trained: Trained, folder: Path, refused: dict[str, FlyweightError]) -> list[Way]:
    """What an export says of itself, as lines of the table.

    Raises:
        FlyweightError: it is damaged, or of other weights.
    """
    try:
        record = json.loads((folder / EXPORT_RECORD).read_text(encoding="utf-8"))
        files = {one["file"]: one for one in record["files"]}
        sha256, accuracy, images = record["weights_sha256"], record["accuracy"], record["checked_on"]["images"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise FlyweightError(f"{folder / EXPORT_RECORD} is damaged: remove {folder}") from None
    if sha256 != trained.card.sha256:
        raise FlyweightError(f"{folder} is an export of other weights than those of {name}: remove it")
    weights = (trained.folder / WEIGHTS).stat().st_size
    found = [Way(name, EAGER, accuracy, images, 0.0, weights), Way(name, OURS, bytes=weights)]
    source = next((file for file in files if file.endswith(".c")), "")
    for way, file, kind in zip((FLOAT, INT8, C), (onnx_float.FILE, onnx_int8.FILE, source), FORMATS, strict=True):
        if file not in files:
            found.append(Way(name, way, missing=str(refused.get(kind, f"{folder} has none"))))
            continue
        agreed, sizes = files[file]["agreement"], files[file].get("sizes", {})
        size = sizes["constants"] + sizes["code"] if "code" in sizes else None if way == C else files[file]["bytes"]
        found.append(Way(name, way, agreed["accuracy"], agreed["n"], agreed["lost"], size, sizes.get("arena")))
    return found


def timed(ways: Sequence[Way], trained: Trained, folder: Path, images: int) -> list[Way]:
    """The same with times of at most so many images, in a process of its own.

    Raises:
        FlyweightError: it failed.
    """
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary) / "network.so"
        source = next((path for path in folder.glob("*.c") if path.with_suffix(".h").exists()), None)
        if source is not None and not library(source, made):
            why = "there is no gcc, or it did not compile it"
            ways = [replace(way, missing=why) if way.way == C else way for way in ways]
        prefix = source.stem if source is not None and made.exists() else ""
        output = sides.module("latency", str(trained.folder), str(folder), str(made), prefix, str(images))
    times = {way: np.percentile(each, (50, 10, 90)) for way, each in json.loads(output).items()}
    found = []
    for way in ways:
        if way.way in times:
            middle, low, high = (float(f"{each:.4g}") for each in times[way.way])
            ratio = round(float(times[way.way][0] / times[EAGER][0]), 3)
            found.append(replace(way, milliseconds=(middle, low, high), ratio=ratio))
        else:
            found.append(way)
    return found
