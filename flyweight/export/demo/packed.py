"""A network as the engine's memory holds it: numbers of steps, weights, the arena."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from flyweight.export import arena
from flyweight.export.demo.steps import EACH, KINDS, Floats, Map, Step

BLOCK, VECTOR = 8, 4
"""Channels that a convolution of the engine computes at once, and those of a smaller last block."""


@dataclass(frozen=True)
class Packed:
    """What the engine is given, but for the image.

    Attributes:
        steps: (steps, numbers of one) int32, `struct step` of the engine.
        packed: uint8, weights of three bytes each: whole numbers, the lowest byte first.
        parts: how many weights follow each other with one factor, and that factor, a power of two.
        arena: bytes.
        image: bytes.
        logits: their first float in the arena.
        looked: the first float there of the map that a heat map is drawn from; None where there is none.
        classes: the first weight of the linear layer behind that.
    """

    steps: np.ndarray
    packed: np.ndarray
    parts: tuple[tuple[int, float], ...]
    arena: int
    image: int
    logits: int
    looked: int | None
    classes: int | None

    @property
    def layout(self) -> dict[str, int]:
        """Where everything lies, in bytes from the first free one on. What is packed lies where the arena comes."""
        steps = -(-self.steps.nbytes // 16) * 16
        arena = steps + -(-4 * sum(count for count, _ in self.parts) // 16) * 16
        image = arena + -(-max(self.arena, self.packed.nbytes) // 16) * 16
        return {"steps": 0, "weights": steps, "arena": arena, "image": image}


class _Weights:
    """Weights one after the other, in the order in which they are read."""

    def __init__(self) -> None:
        self._packed: list[np.ndarray] = []
        self.parts: list[tuple[int, float]] = []
        self._count = 0

    def add(self, numbers: np.ndarray | None) -> int:
        """Where they begin; -1: there are none.

        Whole numbers of 24 bits, one factor a layer: the probabilities of networks that ship move by some 1e-6, where
        floats without their last byte moved them by 7e-5.
        """
        if numbers is None:
            return -1
        # every place is that of a whole vector
        flat = np.asarray(numbers, np.float64).reshape(-1)
        flat = np.pad(flat, (0, -len(flat) % VECTOR))
        _, exponent = np.frexp(np.abs(flat).max(initial=0.0))
        # a float has no power below 2^-149, and the engine's factor is one
        factor = float(2.0 ** max(int(exponent) - 23, -126))
        whole = np.clip(np.rint(flat / factor), -(2**23) + 1, 2**23 - 1).astype("<i4")
        self._packed.append(whole.view(np.uint8).reshape(-1, 4)[:, :3].reshape(-1))
        self.parts.append((len(flat), factor))
        self._count += len(flat)
        return self._count - len(flat)

    def packed(self) -> np.ndarray:
        return np.concatenate(self._packed)


def packed(network: Floats) -> Packed:
    """Lay out a network."""
    weights = _Weights()
    places, size, asides = _places(network)
    rows, classes = [], None
    for at, step in enumerate(network.steps):
        row = _numbers(step, weights, places, asides.get(at))
        rows.append(row)
        classes = row[_WEIGHT]
    looked = None if network.looked is None else places[network.looked] // 4
    return Packed(
        steps=np.array(rows, np.int32),
        packed=weights.packed(),
        parts=tuple(weights.parts),
        arena=size,
        image=math.prod(network.entry.size),
        logits=places[network.logits] // 4,
        looked=looked,
        classes=None if looked is None else classes,
    )


_WEIGHT = 21
"""Place of the weights among a step's numbers."""


def _numbers(step: Step, weights: _Weights, places: dict[Map, int], aside: int | None) -> list[int]:
    """A step as the engine reads it."""
    target, window = step.target, step.window
    # pixels have no source, but the engine asks for one
    first = step.sources[0] if step.sources else target
    second = step.sources[1] if len(step.sources) > 1 else first
    bounds = np.array(step.bounds or (0, 0), np.float32).view(np.int32).tolist()
    outputs = [_by_block(one, step) for one in (step.bias, step.scale, step.shift)]
    return [
        KINDS.index(step.kind), places[first] // 4, places[second] // 4, places[target] // 4,
        first.height, first.width, first.channels, first.room,
        target.height, target.width, target.channels, target.room,
        window.rows, window.columns, window.down, window.right, window.spread_rows, window.spread_columns,
        window.above, window.left,
        step.groups, weights.add(_weight(step)), *(weights.add(one) for one in outputs),
        -1 if aside is None else aside // 4, step.option, int(step.bounds is not None), *bounds,
    ]  # fmt: skip


def _blocks(step: Step) -> list[tuple[int, int, int]]:
    """Of a convolution: the first output of each block, how many it holds, and for how many there is room."""
    each = step.target.channels // step.groups
    found = []
    for group in range(step.groups):
        for start in range(0, each, BLOCK):
            count = min(BLOCK, each - start)
            found.append((group * each + start, count, BLOCK if count > VECTOR else VECTOR))
    return found


def _by_block(numbers: np.ndarray | None, step: Step) -> np.ndarray | None:
    """Numbers of each output, as the blocks have them."""
    if numbers is None or step.kind != "convolution":
        return numbers
    return np.concatenate(
        [np.pad(numbers[start : start + count], (0, room - count)) for start, count, room in _blocks(step)]
    )


def _weight(step: Step) -> np.ndarray | None:
    """Weights in the order in which they are read: block by block, tap by tap, input by input."""
    if step.weight is None:
        return None
    if step.kind == "depthwise":
        taps = step.weight[:, 0].transpose(1, 2, 0)
        return np.pad(taps, ((0, 0), (0, 0), (0, step.target.room - taps.shape[2])))
    parts = []
    for start, count, room in _blocks(step):
        block = step.weight[start : start + count].transpose(2, 3, 1, 0)
        parts.append(np.pad(block, ((0, 0), (0, 0), (0, 0), (0, room - count))).reshape(-1))
    return np.concatenate(parts)


def _places(network: Floats) -> tuple[dict[Map, int], int, dict[int, int]]:
    """Where each map lies, how large the arena is, and where steps find room for a padded source."""
    steps = network.steps[1:]
    found = arena.pieces(network.entry, steps, lambda step, source: step.kind in EACH and source is step.sources[0])
    for piece in found:
        if network.looked in piece.maps:
            # it is read after the last step
            piece.dies = len(steps)
    padded = {at: _Aside(step) for at, step in enumerate(steps) if step.padded}
    found += [arena.Piece([one], at, at) for at, one in padded.items()]
    places, size = arena.placed(found)
    return places, size, {at + 1: places[one] for at, one in padded.items()}


class _Aside:
    """Room for a source with zeros around it."""

    def __init__(self, step: Step) -> None:
        rows, columns = step.window.reach(step.target)
        self.bytes = 4 * rows * columns * step.sources[0].room
