"""Which part of a dilated map a training step computes."""

from __future__ import annotations

import math
from collections.abc import Iterator

from flyweight.errors import FlyweightError
from flyweight.networks.convolutions import Phase
from flyweight.networks.sizes import maps
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
        network: the rows, which leave a map of images of this size.
        height: of an image.
        width: of an image.

    Raises:
        FlyweightError: a map has fewer places in a row than it has phases.
    """
    for (name, place, _, sizes), phase in zip(maps(network, height, width), phases(network), strict=True):
        apart = phase.spacing * phase.stride
        if min(sizes) < apart:
            raise FlyweightError(
                f"row {place} of {name} leaves a map of {sizes[0]}x{sizes[1]}, too small to learn from one of its"
                f" {apart}x{apart} phases: set model.phases to all, or pad the layers before"
            )
