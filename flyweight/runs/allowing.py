"""What ``--allow-code`` does: the user has read the code of a folder from elsewhere, and lets it run from now on."""

from __future__ import annotations

from pathlib import Path

from flyweight import recipes
from flyweight.runs import code
from flyweight.runs.card import read_card
from flyweight.runs.folder import Run
from flyweight.runs.names import CARD


def allow(folder: Path) -> None:
    """Allow the code of the networks that a folder's card and recipe name.

    Raises:
        RunError: a file of the folder is damaged.
        FlyweightError: there is no such code.
    """
    if (folder / CARD).exists():
        code.allow(folder, read_card(folder).model)
    config = Run(folder).config
    if config.is_file():
        code.allow(folder, recipes.recorded(config).model)
