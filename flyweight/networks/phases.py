"""Which part of a dilated map a training step computes."""

from __future__ import annotations

import math
from collections.abc import Iterator

from flyweight.errors import FlyweightError
from flyweight.networks.layers import Phase
from flyweight.recipes.network import Network


def phases(network: Network) -> Iterator[Phase]:
    """The phase of each row's map, in their order: :class:`~flyweight.networks.layers.PhaseConv2d` says what it is."""
    rows = [row for block in network.blocks for row in block]
    spacing = 1
    for place, row in enumerate(rows):
        after = rows[place + 1 :]
        # a residual layer adds its input, of which it would have left out places
        if after and not row.residual and all(later.stride == 1 for later in rows[place:]):
            # a kernel of one tap reads the same place, whatever its dilation
            steps = (later.dilation for later in after if later.kernel > 1)
            common = math.gcd(*steps, *(later.padding or 0 for later in after)) or spacing
        else:
            common = spacing
        yield Phase(spacing, common // spacing)
        spacing = common


def check_phases(network: Network, height: int, width: int) -> None:
    """Refuse a table of which a training step might draw a phase without any place.

    Args:
        network: the rows.
        height: of an image.
        width: of an image.

    Raises:
        FlyweightError: a map has fewer places in a row than it has phases.
    """
    rows = [(name, place, row) for name, block in network.named() for place, row in enumerate(block, start=1)]
    sizes = [height, width]
    for (name, place, row), phase in zip(rows, phases(network), strict=True):
        sizes = [(size + 2 * row.zeros - row.dilation * (row.kernel - 1) - 1) // row.stride + 1 for size in sizes]
        apart = phase.spacing * phase.stride
        if min(sizes) < 1:
            return  # a map that is empty in eval mode, too, is told by whoever runs it
        if min(sizes) < apart:
            raise FlyweightError(
                f"row {place} of {name} leaves a map of {sizes[0]}x{sizes[1]}, too small to learn from one of its"
                f" {apart}x{apart} phases: set model.phases to all, or pad the layers before"
            )
