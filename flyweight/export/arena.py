"""Where each map of a network lies in one piece of memory, so that it is small."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class Sized(Protocol):
    """What needs a place."""

    @property
    def bytes(self) -> int:
        """How many it takes."""


class Making(Protocol):
    """A step of a network."""

    @property
    def sources(self) -> tuple[Any, ...]:
        """Maps that it reads."""

    @property
    def target(self) -> Any:
        """The map that it makes."""


@dataclass
class Piece:
    """Maps that lie in one place, one after the other.

    Attributes:
        maps: the first one is made by an earlier step than the next.
        born: the step that makes the first one; -1 is the image's.
        dies: the last step that reads the last one.
    """

    maps: list[Any]
    born: int
    dies: int

    @property
    def bytes(self) -> int:
        """Of the largest."""
        return max(one.bytes for one in self.maps)


def pieces(entry: Any, steps: Sequence[Making], may_replace: Callable[[Any, Any], bool]) -> list[Piece]:
    """The maps of a network, those together that can lie in one place.

    Args:
        entry: the map that is there before the first step.
        steps: in order.
        may_replace: whether a step's target may lie where one of its sources lies that nobody reads afterwards.
    """
    last = {source: at for at, step in enumerate(steps) for source in step.sources}
    of: dict[Any, Piece] = {entry: Piece([entry], -1, last.get(entry, -1))}
    for at, step in enumerate(steps):
        target = step.target
        if target in of:
            # made in parts: it is there from the first of them on
            of[target].dies = last.get(target, at)
            continue
        room = next((source for source in step.sources if last[source] == at and may_replace(step, source)), None)
        if room is not None:
            of[target] = of[room]
            of[target].maps.append(target)
            of[target].dies = last.get(target, at)
        else:
            of[target] = Piece([target], at, last.get(target, at))
    return list({id(piece): piece for piece in of.values()}.values())


def most_together(found: Sequence[Piece], steps: int) -> int:
    """Bytes of the maps that must be there at the same time: no arena has fewer."""
    return max(sum(piece.bytes for piece in found if piece.born <= at <= piece.dies) for at in range(steps))


def placed(found: Sequence[Piece]) -> tuple[dict[Any, int], int]:
    """Where each map begins, and how many bytes they take together."""
    # which order leaves the fewest gaps depends on the network
    orders = (
        sorted(found, key=lambda piece: (-piece.bytes, piece.born)),
        sorted(found, key=lambda piece: (piece.born, -piece.bytes)),
        sorted(found, key=lambda piece: (piece.born - piece.dies, -piece.bytes)),
    )
    return min((_in_order(order) for order in orders), key=lambda plan: plan[1])


def _in_order(found: Sequence[Piece]) -> tuple[dict[Any, int], int]:
    """Each piece at the lowest place where none lies that is there at the same time."""
    lying: list[tuple[int, Piece]] = []
    for piece in found:
        place = 0
        for start, other in sorted(lying, key=lambda entry: entry[0]):
            together = piece.born <= other.dies and other.born <= piece.dies
            if together and start < place + piece.bytes and place < start + other.bytes:
                place = start + other.bytes
        lying.append((place, piece))
    places = {one: place for place, piece in lying for one in piece.maps}
    return places, max(place + piece.bytes for place, piece in lying)
