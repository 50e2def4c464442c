"""Keys that were called otherwise in versions before: run folders of theirs are still read, recipes are told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flyweight.errors import FlyweightError

RENAMED = {
    "train.peak_rate": "train.learning_rate",
    "train.muon_rate": "train.muon_learning_rate",
}
"""Keys of a recipe, the old and today's."""

COLUMNS = {"rate": "learning_rate"}
"""Columns of a history, the old and today's."""


def refuse(content: Mapping[str, Any], where: str) -> None:
    """Stop at an old key: who writes a recipe should learn today's.

    Raises:
        FlyweightError: the recipe has one.
    """
    for old, new in RENAMED.items():
        section, key = old.split(".")
        keys = content.get(section)
        if isinstance(keys, Mapping) and key in keys:
            raise FlyweightError(f"{where}: {old} is called {new}")


def recipe(content: Mapping[str, Any]) -> dict[str, Any]:
    """The sections of a run folder's recipe under today's keys."""
    return {
        section: {_key(section, key): value for key, value in keys.items()} if isinstance(keys, Mapping) else keys
        for section, keys in content.items()
    }


def _key(section: str, key: str) -> str:
    return RENAMED[f"{section}.{key}"].partition(".")[2] if f"{section}.{key}" in RENAMED else key


def rows(history: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a history under today's columns."""
    return [{COLUMNS.get(key, key): value for key, value in row.items()} for row in history]


def checkpoint(state: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint holds, with the settings and the history in it under today's names."""
    today = dict(state)
    if "recipe" in today:
        today["recipe"] = {RENAMED.get(key, key): value for key, value in today["recipe"].items()}
    if "history" in today:
        today["history"] = rows(today["history"])
    return today
