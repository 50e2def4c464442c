"""How large the maps of a table's rows are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from flyweight.errors import FlyweightError
from flyweight.recipes.network import Network, Row

LARGEST = 1024
"""Side in pixels up to which images are tried."""


class Map(NamedTuple):
    """What a row leaves.

    Attributes:
        block: the row's.
        place: of the row in its block, from 1.
        row: that makes it.
        sizes: height and width; 0 or less: there is none.
    """

    block: str
    place: int
    row: Row
    sizes: tuple[int, int]


def maps(network: Network, height: int, width: int) -> Iterator[Map]:
    """The map of each row, in their order, for an image of so many pixels."""
    sizes = (height, width)
    for name, block in network.named():
        for place, row in enumerate(block, start=1):
            reach = row.dilation * (row.kernel - 1) + 1
            high, wide = ((size + 2 * row.zeros - reach) // row.stride + 1 for size in sizes)
            sizes = (high, wide)
            yield Map(name, place, row, sizes)


def check_sizes(network: Network, height: int, width: int) -> None:
    """Refuse images that are too small for a network.

    Args:
        network: the rows.
        height: of an image.
        width: of an image.

    Raises:
        FlyweightError: a row or the pooling would leave no map; it says what the network needs.
    """
    where = _empty(network, height, width)
    if where is None:
        return
    sides = range(min(height, width) + 1, LARGEST + 1)
    least = next((side for side in sides if _empty(network, side, side) is None), None)
    needs = "" if least is None else f"; {least}x{least} is the least it takes"
    raise FlyweightError(
        f"images of {height}x{width} pixels are too small for this network: {where} would leave nothing{needs}. Enlarge"
        " them (data.size, --input), or choose another network"
    )


def _empty(network: Network, height: int, width: int) -> str | None:
    """What of a network would leave no map, as a person calls it; None: nothing would."""
    last = (height, width)
    for block, place, _, last in maps(network, height, width):
        if min(last) < 1:
            return f"row {place} of {block}"
    return "its pooling" if network.pool and min(last) < network.pool else None
