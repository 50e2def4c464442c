"""``c``: a header and a source in C99 that compute in integers alone.

`integers` says what a network in integers is, `lowered` makes one of the graph, `plan` finds each map a place in the
arena, `source` writes the C with the steps of `kernels`, `compiled` measures that. `reference` computes the same with
NumPy: the gate asks it, and the C says the same to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flyweight.export.c import reference
from flyweight.export.c.compiled import code_size
from flyweight.export.c.integers import Integers, Map
from flyweight.export.c.lowered import lowered
from flyweight.export.c.plan import planned
from flyweight.export.c.source import pair
from flyweight.export.calibrate import METHODS, Watched
from flyweight.export.choices import Choices, choices
from flyweight.export.gate import MOST_LOST, Agreement, GateError, agreement
from flyweight.export.subject import Artefact, Subject, saved

CHOSEN_ON, WATCHED = 256, 16
"""Training images by which the method is chosen, and of those how many a message about a layer is drawn from."""


@dataclass(frozen=True)
class Brought:
    """A network that was brought to integers and passed the gate.

    Attributes:
        network: in integers.
        levels: (N, classes) int16, what it gives for all test images.
        agreement: with PyTorch, on those.
        method: that set the ranges.
    """

    network: Integers
    levels: np.ndarray
    agreement: Agreement
    method: str


def write(subject: Subject, folder: Path) -> list[Artefact]:
    """Write ``NETWORK.h`` and ``NETWORK.c``: pixels to a class, and to logits of 16 bits.

    Raises:
        FlyweightError: there are no training images, or an operator has no step.
        GateError: it loses too much.
    """
    found = brought(subject)
    network, entry = found.network, found.network.entry
    files = pair(network, planned(network), subject.card, subject.name)
    code = code_size(files)
    sizes = [f"arena {files.arena_bytes:,} bytes", f"constants {network.constant_bytes:,}"]
    sizes += [] if code is None else [f"code {code.bytes:,} ({code.compiler} -Os, {code.machine})"]
    bytes_ = {"arena": files.arena_bytes, "constants": network.constant_bytes}
    bytes_ |= {} if code is None else {"code": code.bytes}
    about = {
        "takes": f"image, {entry.height}x{entry.width}x{entry.channels} uint8",
        "gives": "class, and logits int16",
        "note": f"{', '.join(sizes)}; 8 bits by {found.method} on {choices(subject).calibrated} training images",
        "sizes": bytes_,
    }
    return [
        saved(folder, f"{files.prefix}.h", files.header.encode("ascii")),
        saved(folder, f"{files.prefix}.c", files.source.encode("ascii"), agreement=found.agreement, **about),
    ]


def brought(subject: Subject) -> Brought:
    """The network in integers, made once.

    Raises:
        FlyweightError: as :func:`write` says.
    """
    return subject.once("c", lambda: _brought(subject))


def _brought(subject: Subject) -> Brought:
    ways = choices(subject)
    found = {method: lowered(ways.model, ranges, subject.card, subject.name) for method, ranges in ways.ranges.items()}
    method = min(found, key=lambda name: _loss(found[name], ways))
    network = found[method]
    said = reference.answers(network, len(subject.labels), subject.pixels)
    agreed = agreement(network.logits.numbers(said), subject.logits, subject.labels)
    if agreed.lost > MOST_LOST:
        raise GateError(
            f"in integers it loses {agreed.lost:.2f} points of accuracy on {agreed.n:,} test images, more than"
            f" {MOST_LOST} ({method}, best of {', '.join(METHODS)}); the worst layer is {worst(network, ways)}: it was"
            " not written"
        )
    return Brought(network, said, agreed, method)


def _loss(network: Integers, ways: Choices) -> float:
    pixels = ways.pixels[:CHOSEN_ON]
    said = reference.answers(network, len(pixels), lambda start, end: pixels[start:end])
    return ways.loss(network.logits.numbers(said))


def worst(network: Integers, ways: Choices) -> str:
    """The layer that adds most to the share that rounding has in the numbers."""
    floats = Watched(ways.model)(ways.inputs[:WATCHED])
    errors: dict[Map, float] = {}
    for one, levels in reference.maps(network, ways.pixels[:WATCHED]):
        numbers = one.numbers(levels).transpose(0, 3, 1, 2)
        exact = floats[one.name].reshape(numbers.shape)
        errors[one] = float(np.linalg.norm(numbers - exact) / (np.linalg.norm(exact) or 1.0))
    added = {step.name: errors[step.target] - max(errors[one] for one in step.sources) for step in network.steps}
    return max(added, key=added.__getitem__)
