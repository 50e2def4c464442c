"""Which code this user lets run: a folder that somebody else made is data, whatever file its card names.

A training that begins here allows the code of its network, for its user has just run it; ``--allow-code`` allows that
of a folder from elsewhere. What is remembered is a SHA-256: a file of that name in the user's configuration folder,
which is deleted to allow it no longer.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from flyweight.errors import FlyweightError
from flyweight.files import answers, write_text

_HERE: set[str] = set()
"""Allowed by this process: where the configuration folder cannot be written, it still ends what it began."""


def folder() -> Path:
    """Where what is allowed is remembered: below the user's configuration folder of this platform."""
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    else:
        chosen = Path(os.environ.get("XDG_CONFIG_HOME", ""))
        # the XDG specification says to ignore a relative path
        base = chosen if chosen.is_absolute() else Path.home() / ".config"
    return base / "flyweight" / "allowed-code"


def is_allowed(digest: str) -> bool:
    """Whether this user allowed code of this SHA-256."""
    return digest in _HERE or answers(folder() / digest, Path.is_file)


def allow(digest: str, about: str) -> None:
    """Allow code of this SHA-256, and remember it where that can be written.

    Args:
        digest: of the code.
        about: what it is, for whoever reads the folder.
    """
    _HERE.add(digest)
    with suppress(OSError, FlyweightError):
        folder().mkdir(parents=True, exist_ok=True)
        write_text(folder() / digest, f"{about}\n")
