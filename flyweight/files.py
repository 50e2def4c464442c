"""Files written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from flyweight.errors import RunError


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: temporary neighbour, flush to disk, rename, flush the folder.

    Raises:
        RunError: the disk is full or the folder cannot be written; what was there before is untouched.
    """
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise RunError(f"cannot write {path}: {error.strerror}; the file that was there before is unchanged") from None
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _umask() -> int:
    # it can only be read by setting it
    current = os.umask(0)
    os.umask(current)
    return current
