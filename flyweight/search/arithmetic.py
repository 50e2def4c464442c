"""Facts of a table of rows by arithmetic alone: nothing is built, and thousands are judged a second.

They equal what the analysis finds out about the network that is built of the rows; a test holds that for random tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from flyweight.networks.convolutions import Phase
from flyweight.networks.phases import phases
from flyweight.recipes.network import Network, Row


class Cost(NamedTuple):
    """What one row takes.

    Attributes:
        weights: of its convolutions.
        channels: that they put out.
        macs: for one image.
        values: largest sum of numbers that are alive at once inside it, its input and output included.
    """

    weights: int
    channels: int
    macs: int
    values: int


def _dense(inputs: int, row: Row, before: int, after: int) -> Cost:
    weights = row.kernel**2 * inputs * row.width
    return Cost(weights, row.width, weights * after, inputs * before + row.width * after)


def _separable(inputs: int, row: Row, before: int, after: int) -> Cost:
    depthwise, pointwise = row.kernel**2 * inputs, inputs * row.width
    # a layer with a way around it keeps its input until that is added
    kept = inputs * before if row.residual else 0
    values = max(inputs * (before + after), kept + (inputs + row.width) * after)
    return Cost(depthwise + pointwise, inputs + row.width, (depthwise + pointwise) * after, values)


COSTS: dict[str, Callable[[int, Row, int, int], Cost]] = {"dense": _dense, "separable": _separable}
"""By a row's kind, from (channels that come in, the row, pixels of the map before it, pixels after it)."""


@dataclass(frozen=True)
class Layer:
    """One row, as the rules count convolutions.

    Attributes:
        separable: it is depthwise separable.
        dilated: its taps are further apart than one pixel, and more than one of them sees the map.
        strided: it takes steps of more than one pixel.
    """

    separable: bool
    dilated: bool
    strided: bool


@dataclass(frozen=True)
class TableFacts:
    """What is known of a table for images of one shape.

    Attributes:
        parameters: of all layers.
        weights: of all convolutions, the classifier included.
        channels: that all of these put out.
        macs: multiply-accumulates for one image.
        field: (height, width) of the receptive field before the global pooling, in pixels; kernels of which one tap
            alone sees more than padding count as one pixel, as the rules count them.
        blocks: layers of each block, by its name.
        peak_bytes: largest sum of the activations alive at once, in bytes of 8 bits: input counted, the sum of a layer
            with a way around it apart from both.
        step_macs: multiply-accumulates forwards of a training step, an image.
        map_size: (height, width) of the last map.
    """

    parameters: int
    weights: int
    channels: int
    macs: int
    field: tuple[int, int]
    blocks: dict[str, tuple[Layer, ...]]
    peak_bytes: int
    step_macs: int
    map_size: tuple[int, int]


@dataclass
class _Axis:
    """One axis of the map on its way through the rows."""

    size: int
    field: int = 1
    jump: int = 1

    def through(self, row: Row) -> int:
        """Go on to the map after a row; how many of its taps see more than padding, 0: the map has become empty."""
        zeros, stride, reach = row.zeros, row.stride, row.dilation * (row.kernel - 1)
        room = self.size + 2 * zeros - reach
        if room < 1:
            return 0
        after = (room - 1) // stride + 1
        last, live = (after - 1) * stride, 0
        for first in range(-zeros, reach - zeros + 1, row.dilation):
            # the places that this tap reads, from `first` to `first + last` in steps of the stride
            skipped = -(first // stride) * stride if first < 0 else 0
            live += skipped <= last and first + skipped < self.size
        if live > 1:
            self.field += reach * self.jump
        self.jump *= stride
        self.size = after
        return live


def _layers(row: Row, channels: int, live: int) -> list[Layer]:
    """What the rules count a row as: with one channel or one tap there is nothing depthwise, and two layers stand."""
    separable = row.kind == "separable"
    joined = separable and channels > 1 and row.kernel > 1
    first = Layer(joined and live > 1, row.dilation > 1 and live > 1, row.stride > 1)
    return [first] if joined or not separable else [first, Layer(False, False, False)]


def facts(network: Network, shape: tuple[int, int, int], classes: int, one_phase: bool = True) -> TableFacts | None:
    """Add up a table.

    Args:
        network: whose order of layers, dropout and pooling are the usual ones.
        shape: (channels, height, width) of an image.
        classes: how many.
        one_phase: of a dilated map a training step computes one phase.

    Returns:
        None where a row leaves nothing of the map, or of a phase of it, or adds an input of another shape.
    """
    channels, high, wide = shape[0], _Axis(shape[1]), _Axis(shape[2])
    # both axes of a square image fare alike
    axes = (high,) if shape[1] == shape[2] else (high, wide)
    wide = axes[-1]
    parameters = weights = outputs = macs = step_macs = peak = 0
    blocks: dict[str, tuple[Layer, ...]] = {}
    parts = phases(network) if one_phase else None
    for name, rows in network.named():
        layers: list[Layer] = []
        for row in rows:
            size = (high.size, wide.size)
            live = [axis.through(row) for axis in axes]
            if not all(live) or (row.residual and (row.width != channels or size != (high.size, wide.size))):
                return None
            before, after = size[0] * size[1], high.size * wide.size
            cost = COSTS[row.kind](channels, row, before, after)
            parameters += cost.weights + 2 * row.width
            weights += cost.weights
            outputs += cost.channels
            macs += cost.macs
            phase = next(parts) if parts else Phase()
            if min(high.size, wide.size) < phase.spacing * phase.stride:
                return None
            step_macs += cost.macs // (phase.spacing * phase.stride) ** 2
            summed = 3 * row.width * after if row.residual else 0
            peak = max(peak, cost.values, summed)
            layers += _layers(row, channels, max(live))
            channels = row.width
        blocks[name] = tuple(layers)
    head = channels * classes
    return TableFacts(
        parameters=parameters + head,
        weights=weights + head,
        channels=outputs + classes,
        macs=macs + head,
        field=(high.field, wide.field),
        blocks=blocks,
        peak_bytes=peak,
        step_macs=step_macs + head,
        map_size=(high.size, wide.size),
    )
