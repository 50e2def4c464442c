"""Where each map lies in one piece of memory, the arena, so that it is small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flyweight.export.c.integers import Addition, Convolution, Integers, Map, Step


@dataclass(frozen=True)
class Plan:
    """An arena.

    Attributes:
        places: where each map begins. Not that of the logits: the caller gives them a place.
        bytes: how many it has.
    """

    places: dict[Map, int]
    bytes: int


@dataclass
class _Piece:
    """Maps that lie in one place, one after the other.

    Attributes:
        maps: the first one is made by an earlier step than the next.
        born: the step that makes the first one; -1 is the image's.
        dies: the last step that reads the last one.
    """

    maps: list[Map]
    born: int
    dies: int

    @property
    def bytes(self) -> int:
        return max(one.bytes for one in self.maps)


def planned(network: Integers, in_place: bool = True) -> Plan:
    """Find a place for each map.

    Args:
        network: whose maps.
        in_place: whether a sum may lie where a part of it lay that nobody reads afterwards, and a pointwise layer's
            target, where it is no larger, where its source lay.
    """
    pieces = _pieces(network, in_place)
    # which order leaves the fewest gaps depends on the network
    orders = (
        sorted(pieces, key=lambda piece: (-piece.bytes, piece.born)),
        sorted(pieces, key=lambda piece: (piece.born, -piece.bytes)),
        sorted(pieces, key=lambda piece: (piece.born - piece.dies, -piece.bytes)),
    )
    return min((_placed(order) for order in orders), key=lambda plan: plan.bytes)


def least(network: Integers, in_place: bool = True) -> int:
    """Bytes of the maps that must be there at the same time: no plan has fewer."""
    pieces = _pieces(network, in_place)
    return max(
        sum(piece.bytes for piece in pieces if piece.born <= at <= piece.dies) for at in range(len(network.steps))
    )


def _pieces(network: Integers, in_place: bool) -> list[_Piece]:
    last = {source: at for at, step in enumerate(network.steps) for source in step.sources}
    of: dict[Map, _Piece] = {network.entry: _Piece([network.entry], -1, last.get(network.entry, -1))}
    for at, step in enumerate(network.steps):
        target = step.target
        if target.wide:
            continue
        room = next((source for source in step.sources if last[source] == at and _may_replace(step, source)), None)
        if in_place and room is not None:
            of[target] = of[room]
            of[target].maps.append(target)
            of[target].dies = last.get(target, at)
        else:
            of[target] = _Piece([target], at, last.get(target, at))
    return list({id(piece): piece for piece in of.values()}.values())


def _may_replace(step: Step, source: Map) -> bool:
    if isinstance(step, Addition):
        return True
    # position by position: what is written ends at or before what has been read
    return isinstance(step, Convolution) and step.pointwise and step.target.channels <= source.channels


def _placed(pieces: Sequence[_Piece]) -> Plan:
    """Each piece at the lowest place where none lies that is there at the same time."""
    found: list[tuple[int, _Piece]] = []
    for piece in pieces:
        place = 0
        for start, other in sorted(found, key=lambda entry: entry[0]):
            together = piece.born <= other.dies and other.born <= piece.dies
            if together and start < place + piece.bytes and place < start + other.bytes:
                place = start + other.bytes
        found.append((place, piece))
    places = {one: place for place, piece in found for one in piece.maps}
    return Plan(places, max(place + piece.bytes for place, piece in found))
