"""Whose error it is: the line of the user's own code that had a part in what was raised."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from pathlib import Path

import torch

from flyweight.networks import code
from flyweight.text import printable

_OURS = str(Path(__file__).resolve().parents[1])
_THEIRS = (
    str(Path(torch.__file__).resolve().parent),
    sysconfig.get_paths()["stdlib"],
    sys.base_prefix,
    sys.prefix,
)


def place(error: BaseException, reference: str | None = None) -> str:
    """``file:line``, the last line of the user's own code on the way to an error; empty: it had no part in it.

    Args:
        error: as it was caught.
        reference: the file as the user wrote it, which is then told so.
    """
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not _known(frame.filename):
            shown = code.shown(frame.filename)
            if reference is not None and Path(reference).resolve() == Path(shown).resolve():
                shown = reference
            return printable(f"{shown}:{frame.lineno}")
    return ""


def _known(file: str) -> bool:
    """Whether a file is flyweight's, torch's, Python's or another library's."""
    if file.startswith("<") or "site-packages" in file:
        return True
    return Path(file).resolve().is_relative_to(_OURS) or any(Path(file).is_relative_to(place) for place in _THEIRS)
