"""Hidden neighbours of folders that are written whole: locked while they are filled, swept away after a kill."""

from __future__ import annotations

import ctypes
import glob
import os
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

UNFINISHED = ".unfinished"
ASIDE = "-old"
_DAY = 24 * 3600.0


@contextmanager
def neighbour(folder: Path, mode: int = 0o777) -> Iterator[Path]:
    """A new hidden neighbour, locked while the block runs.

    Args:
        folder: whose.
        mode: who may do what in it, less what the process's mask takes away.
    """
    while True:
        temporary = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}{UNFINISHED}")
        temporary.mkdir(mode=mode)
        try:
            with holding(temporary) as free:
                # another process may have swept it away before it was locked
                if free is not False and temporary.exists():
                    yield temporary
                    return
        except BaseException:
            with suppress(OSError):
                shutil.rmtree(temporary, ignore_errors=True)
            raise


def sweep_neighbours(folder: Path, restore: bool = True) -> None:
    """Remove what killed processes left beside a folder; one that they had put aside comes back where it is missing.

    That of processes that live is left alone, and where nothing can be locked all that is younger than a day.

    Args:
        folder: whose.
        restore: whether what was put aside comes back. Not in a place that others write into: it may be theirs.
    """
    # the folder may be anywhere, and a neighbour such as `.set-backup` is somebody's own
    left = folder.parent.glob(f".{glob.escape(folder.name)}-????????{UNFINISHED}*")
    for stale in sorted(left, reverse=True):  # what was put aside comes before what was to take its place
        # what is of somebody else, or goes at this moment, is not ours to remove
        with suppress(OSError), holding(stale.with_name(stale.name.removesuffix(ASIDE))) as free:
            dead = free if free is not None else time.time() - stale.stat().st_mtime > _DAY
            if dead and restore and stale.name.endswith(ASIDE) and not folder.exists():
                stale.rename(folder)
            elif dead:
                shutil.rmtree(stale, ignore_errors=True)


@contextmanager
def holding(folder: Path) -> Iterator[bool | None]:
    """Lock a folder itself, which leaves no file behind; the system releases it if the process dies.

    Yields:
        whether it could be had: not where another process holds it; none where nothing can be locked, as on Windows
        and some network disks, or where there is no such folder.
    """
    descriptor = -1
    try:
        free: bool | None = None
        if fcntl is not None:
            with suppress(OSError):  # it is gone, or its file system has no locks
                descriptor = os.open(folder, os.O_RDONLY)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    free = True
                except BlockingIOError:
                    free = False
        yield free
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def exchanged(one: Path, other: Path) -> bool:
    """Let two folders take each other's place at one stroke, so that there is never none; false where none can."""
    if sys.platform != "linux":
        return False
    exchange = getattr(ctypes.CDLL(None), "renameat2", None)
    here, both = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return exchange is not None and exchange(here, os.fsencode(one), here, os.fsencode(other), both) == 0
