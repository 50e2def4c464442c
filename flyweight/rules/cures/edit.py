"""What an edit is: words for a person, and a function that carries it out on a copy of the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import nn


@dataclass(frozen=True)
class Edit:
    """One edit, or several that belong together.

    Attributes:
        layers: names of those that it changes, the first one first.
        text: what to do, as an order with its numbers.
        apply: carries it out on a network that may be changed; it may raise where the network cannot take it.
    """

    layers: tuple[str, ...]
    text: str
    apply: Callable[[nn.Module], None] = field(repr=False, compare=False)


def together(edits: Sequence[Edit]) -> Edit:
    """All of some edits as one; orders that begin alike are told once: ``give a stride 2, b stride 2``."""

    def apply(model: nn.Module) -> None:
        for edit in edits:
            edit.apply(model)

    layers = tuple(dict.fromkeys(layer for edit in edits for layer in edit.layers))
    return Edit(layers, in_words([edit.text for edit in edits]), apply)


def in_words(orders: Sequence[str]) -> str:
    """Orders in one line; the verb is left out where it is the one before."""
    told: list[str] = []
    verb = ""
    for order in dict.fromkeys(orders):
        first, _, rest = order.partition(" ")
        told.append(rest if first == verb and rest else order)
        verb = first
    return "; ".join(told)
