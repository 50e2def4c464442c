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
        parts: those that it consists of, where it is several.
        form: the text with braces in place of the layer's name, where others may be told with it in one order.
    """

    layers: tuple[str, ...]
    text: str
    apply: Callable[[nn.Module], None] = field(repr=False, compare=False)
    form: str = field(default="", repr=False, compare=False)
    parts: tuple[Edit, ...] = field(default=(), repr=False, compare=False)


def formed(layer: str, form: str, apply: Callable[[nn.Module], None]) -> Edit:
    """An edit of one layer, whose name stands in the braces of its form."""
    return Edit((layer,), form.format(layer), apply, form)


def together(edits: Sequence[Edit]) -> Edit:
    """All of some edits as one."""

    def apply(model: nn.Module) -> None:
        for edit in edits:
            edit.apply(model)

    layers = tuple(dict.fromkeys(layer for edit in edits for layer in edit.layers))
    parts = [part for edit in edits for part in (edit.parts or (edit,))]
    return Edit(layers, in_words(parts), apply, parts=tuple(parts))


def in_words(edits: Sequence[Edit]) -> str:
    """Orders in one line: those that differ in the layer alone are one order, ``give a, b stride 2``."""
    told: dict[str, list[str]] = {}
    for edit in edits:
        names = told.setdefault(edit.form or edit.text, [])
        if edit.form and edit.layers[0] not in names:
            names.append(edit.layers[0])
    return "; ".join(form.format(", ".join(names)) if names else form for form, names in told.items())
