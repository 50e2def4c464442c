"""Which part of a dilated map a training step computes."""

from __future__ import annotations

import math
from collections.abc import Iterator

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
