"""A network as the page's engine runs it: maps of floats, and the steps from one to the next (`engine.c`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

KINDS = (
    "pixels", "convolution", "depthwise", "add", "multiply", "clamp", "sigmoid", "affine", "maximum", "average", "mean",
    "concatenate",
)  # fmt: skip
"""In the engine's order."""

Kind = Literal[
    "pixels", "convolution", "depthwise", "add", "multiply", "clamp", "sigmoid", "affine", "maximum", "average", "mean",
    "concatenate",
]  # fmt: skip

EACH = ("add", "multiply", "clamp", "sigmoid", "affine")
"""Number by number: what is made may lie where what is read lay."""


@dataclass(frozen=True, eq=False)
class Map:
    """What lies between two steps: row by row, a position's channels side by side.

    Attributes:
        name: of the graph's tensor.
        channels: how many.
        height: in positions.
        width: in positions.
    """

    name: str
    channels: int
    height: int
    width: int

    @property
    def room(self) -> int:
        """Floats of a position: vectors of four are whole."""
        return -(-self.channels // 4) * 4

    @property
    def bytes(self) -> int:
        """How many it takes."""
        return 4 * self.room * self.height * self.width

    @property
    def size(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.channels, self.height, self.width


@dataclass(frozen=True, eq=False)
class Window:
    """What one position of a target reads.

    Attributes:
        rows: of taps.
        columns: of taps.
        down: from one row of the target to the next, in positions of the source.
        right: the same of columns.
        spread_rows: from one tap to the next.
        spread_columns: the same of columns.
        above: positions outside, above the source.
        left: the same to its left.
    """

    rows: int = 1
    columns: int = 1
    down: int = 1
    right: int = 1
    spread_rows: int = 1
    spread_columns: int = 1
    above: int = 0
    left: int = 0

    def reach(self, target: Map) -> tuple[int, int]:
        """Rows and columns that the target reads, those outside the source among them."""
        return (
            (target.height - 1) * self.down + (self.rows - 1) * self.spread_rows + 1,
            (target.width - 1) * self.right + (self.columns - 1) * self.spread_columns + 1,
        )


@dataclass(frozen=True, eq=False)
class Step:
    """One step.

    Attributes:
        kind: of `KINDS`.
        name: of the node.
        sources: maps that it reads: none for pixels, two for a sum or a product, else one.
        target: the map that it makes.
        window: that a convolution or a pooling reads.
        groups: of a convolution.
        weight: of a convolution (outputs, inputs of a group, rows, columns).
        bias: of it, (outputs,).
        bounds: that each number is kept between.
        scale: (channels,) that each number is then multiplied with.
        shift: (channels,) that is then added.
        option: see the engine.
    """

    kind: Kind
    name: str
    sources: tuple[Map, ...]
    target: Map
    window: Window = field(default_factory=Window)
    groups: int = 1
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    bounds: tuple[float, float] | None = None
    scale: np.ndarray | None = None
    shift: np.ndarray | None = None
    option: int = 0

    @property
    def padded(self) -> bool:
        """Whether a convolution reads outside its source."""
        if self.kind not in ("convolution", "depthwise"):
            return False
        rows, columns = self.window.reach(self.target)
        source = self.sources[0]
        return rows > source.height or columns > source.width or self.window.above > 0 or self.window.left > 0


@dataclass(frozen=True)
class Floats:
    """A network for the engine.

    Attributes:
        entry: the map that an image becomes.
        steps: in order; the first one makes the entry, the target of the last one are the logits.
        looked: the map whose mean goes through one linear layer to the logits; None where that is not so.
    """

    entry: Map
    steps: tuple[Step, ...]
    looked: Map | None

    @property
    def logits(self) -> Map:
        """What comes out: one position."""
        return self.steps[-1].target
