"""What is on the disk, and stays there after a power cut: bytes of files, and names in folders."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import IO, Any


def flush(file: IO[Any]) -> None:
    """Return when all that was written to an open file is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Return when the names in a folder are on the disk; Windows has no such thing, nor has who may not list it."""
    if os.name == "posix":
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except PermissionError:
            return
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def flush_tree(folder: Path) -> None:
    """Return when a folder is on the disk with all that is in it and below it."""
    for path in (*folder.rglob("*"), folder):
        if path.is_dir():
            flush_folder(path)
        elif not path.is_symlink():
            with path.open("rb" if os.name == "posix" else "rb+") as file:  # Windows flushes what may be written alone
                flush(file)


def make_folders(folder: Path) -> None:
    """Make a folder, and those above it, where they are missing; their names are on the disk then.

    Raises:
        OSError: it cannot be made.
    """
    if folder.is_dir():
        return
    if folder.parent != folder:  # a drive of Windows that is not there has no other
        make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    flush_folder(folder.parent)


def new_folder(folder: Path) -> Path:
    """Make a folder, or one beside it with a number where it exists; where none can be made, it is a name alone."""
    with suppress(OSError):
        make_folders(folder.parent)
    number, candidate = 1, folder
    while True:
        try:
            candidate.mkdir()
            flush_folder(candidate.parent)
            return candidate
        except FileExistsError:
            number += 1
            candidate = folder.with_name(f"{folder.name}-{number}")
        except OSError:  # whoever writes into it says why
            return candidate
