"""Where each map lies in one piece of memory, the arena, so that it is small."""

from __future__ import annotations

from dataclasses import dataclass

from flyweight.export import arena
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


def planned(network: Integers, in_place: bool = True) -> Plan:
    """Find a place for each map.

    Args:
        network: whose maps.
        in_place: whether a sum may lie where a part of it lay that nobody reads afterwards, and a pointwise layer's
            target, where it is no larger, where its source lay.
    """
    return Plan(*arena.placed(_pieces(network, in_place)))


def least(network: Integers, in_place: bool = True) -> int:
    """Bytes of the maps that must be there at the same time: no plan has fewer."""
    return arena.most_together(_pieces(network, in_place), len(network.steps))


def _pieces(network: Integers, in_place: bool) -> list[arena.Piece]:
    found = arena.pieces(network.entry, network.steps, lambda step, source: in_place and _may_replace(step, source))
    return [piece for piece in found if not piece.maps[0].wide]


def _may_replace(step: Step, source: Map) -> bool:
    if step.target.wide:
        return False
    if isinstance(step, Addition):
        return True
    # position by position: what is written ends at or before what has been read
    return isinstance(step, Convolution) and step.pointwise and step.target.channels <= source.channels
