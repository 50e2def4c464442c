"""Files and folders written whole or not at all; their hashes; locks between processes.

Whoever calls decides what an error of the file system means to the user: what raises `OSError` here is told elsewhere.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from flyweight.errors import RunError
from flyweight.text import one_line, printable

UNFINISHED = ".unfinished"


def read_bytes(path: Path, most: int) -> bytes:
    """A regular file's content. A pipe would be waited for without end, and a file of any size fills the memory.

    Args:
        path: of the file.
        most: bytes that it may have.

    Raises:
        OSError: it cannot be read, is no regular file or has more; ``filename`` and ``strerror`` say which and why.
    """
    try:
        status = path.stat()
    except ValueError as error:  # a NUL in its name
        raise OSError(None, one_line(error), str(path)) from None
    if not stat.S_ISREG(status.st_mode):
        raise OSError(None, "it is not a regular file", str(path))
    if status.st_size > most:
        raise OSError(None, f"it has more than {most:,} bytes", str(path))
    with path.open("rb") as file:
        return file.read(status.st_size)


def answers(path: Path, asked: Callable[[Path], bool]) -> bool:
    """What a path answers, such as to ``Path.exists``; one that no file system could have (too long, a NUL) says no."""
    try:
        return asked(path)
    except (OSError, ValueError):
        return False


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, as :func:`write_bytes` does."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: temporary neighbour, flush to disk, rename, flush the folder.

    Raises:
        RunError: the disk is full or the folder cannot be written; what was there before is untouched. Or it is written
            and the disk does not say that it will stay.
    """
    temporary = None
    try:
        before, after = f".{path.name}.", UNFINISHED
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=before, suffix=after, delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
            flush(file)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            if temporary is not None:
                temporary.unlink()
        raise RunError(f"cannot write {path}: {reason(error)}; the file that was there before is unchanged") from None
    try:
        flush_folder(path.parent)
    except OSError as error:
        raise RunError(f"{path} is written, but may be gone after a power cut: {reason(error)}") from None


def make_folders(folder: Path) -> None:
    """Make a folder, and those above it, where they are missing; their names are on the disk then.

    Raises:
        OSError: it cannot be made.
    """
    if folder.is_dir():
        return
    make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    flush_folder(folder.parent)


def new_folder(folder: Path) -> Path:
    """Make a folder, or one beside it with a number where it exists: two that begin in one second share none.

    Returns:
        the folder; where it cannot be made, its name.
    """
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


def sweep(folder: Path, name: str, age: float = 0) -> None:
    """Remove what processes that were killed in :func:`write_bytes` left; hold a lock, or give an age.

    Args:
        folder: that the file lies in; it need not be there.
        name: of the file, as a pattern of :func:`re.fullmatch`.
        age: in seconds; what is younger may be under way.
    """
    ours = re.compile(rf"\.(?:{name})\.[a-z0-9_]{{8}}{re.escape(UNFINISHED)}")
    with suppress(OSError):  # a folder that cannot be written says so where something is written
        for path in folder.iterdir():
            if ours.fullmatch(path.name) and time.time() - path.lstat().st_mtime >= age:
                path.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Fill a hidden neighbour of `folder`; it takes the place of `folder` by a rename when the block ends well.

    Where the block raises, nothing is left. What a killed process left is removed by the next one: hold a lock.

    Raises:
        OSError: it cannot be written; what was there before is untouched.
    """
    # the folder may be anywhere, and a neighbour such as `.set-backup` is somebody's own
    for stale in folder.parent.glob(f".{glob.escape(folder.name)}-????????{UNFINISHED}*"):
        shutil.rmtree(stale, ignore_errors=True)
    temporary = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}{UNFINISHED}")
    old = temporary.with_name(f"{temporary.name}-old")
    temporary.mkdir()
    try:
        yield temporary
        flush_tree(temporary)
        if folder.exists():  # a process that still maps its files keeps them
            folder.rename(old)
        temporary.rename(folder)
        flush_folder(folder.parent)
    except BaseException:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise
    finally:
        for leftover in (temporary, old):
            with suppress(OSError):  # some errors are not ignored; the next start removes what is left
                shutil.rmtree(leftover, ignore_errors=True)


def finished(unfinished: Path) -> Path:
    """The folder whose place such a hidden neighbour was to take; any of :func:`whole_folder`'s."""
    return unfinished.with_name(unfinished.name[1:].partition(UNFINISHED)[0][:-9])


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
        else:
            with path.open("rb+") as file:
                flush(file)


def mark(status: os.stat_result) -> str:
    """What changes when a file does, or when another one takes its place, whatever its name and time say."""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or a link that leads to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def whose_or_raise(folder: Path) -> None:
    """Refuse a folder that is a link: what is written, replaced or deleted in it would be so somewhere else.

    Raises:
        RunError: it is one.
    """
    if folder.is_symlink():
        raise RunError(
            f"{folder} is a link to {printable(str(folder.readlink()))}: flyweight writes into folders of its own"
            " alone, so remove the link"
        )


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """Hash of a file's bytes, in hexadecimal digits; against damage and not against an attacker."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def sealed(content: bytes) -> bytes:
    """The content with its SHA-256 (32 bytes) behind it, for formats that would not notice a flipped bit."""
    return content + hashlib.sha256(content).digest()


def unsealed(raw: bytes) -> bytes | None:
    """The content that :func:`sealed` was given; none where it is damaged."""
    content, digest = raw[:-32], raw[-32:]
    return content if hashlib.sha256(content).digest() == digest else None


@contextmanager
def locked(path: Path, busy: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file `path` in a folder that exists; the system releases it if the process dies.

    Args:
        path: of the lock file.
        busy: called where another process holds the lock. It raises, or returns to wait for that process.

    Raises:
        OSError: the lock file cannot be written, or is a link: older versions of the library empty what it leads to.
    """
    from filelock import FileLock, Timeout

    if path.is_symlink():
        raise OSError(None, "its lock is a link: remove it", str(path))

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
        free = True
    except Timeout:
        free = False
    if not free:
        busy()
        lock.acquire()
    try:
        yield
    finally:
        with suppress(OSError):  # the end of the process releases it
            lock.release()


def reason(error: OSError) -> str:
    """Why the file system refuses, in a few words."""
    return error.strerror or one_line(error)


def _umask() -> int:
    # it can only be read by setting it
    current = os.umask(0)
    os.umask(current)
    return current
