"""Files and folders written whole or not at all; their hashes; locks between processes.

Whoever calls decides what an error of the file system means to the user: what raises `OSError` here is told elsewhere.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path

from flyweight.disk import flush, flush_folder, flush_tree, make_folders
from flyweight.errors import RunError
from flyweight.neighbours import ASIDE, UNFINISHED, exchanged, neighbour, sweep_neighbours
from flyweight.text import one_line, printable


class UnfitFileError(OSError):
    """Ours about a file, in the form of the system's; told as text, it is the reason and no number that it lacks."""

    def __str__(self) -> str:
        return f"{self.strerror}: {self.filename}"


_LONG = 600
"""Seconds that no file takes to be written."""


def read_bytes(path: Path, most: int) -> bytes:
    """A regular file's content. A pipe would be waited for without end, and a file of any size fills the memory.

    Args:
        path: of the file.
        most: bytes that it may have.

    Raises:
        OSError: it cannot be read, is no regular file or has more; ``filename`` and ``strerror`` say which and why.
    """
    size = regular(path).st_size
    if size > most:
        raise UnfitFileError(None, f"it has more than {most:,} bytes", str(path))
    with path.open("rb") as file:
        return file.read(size)


def regular(path: Path) -> os.stat_result:
    """The status of a regular file: a pipe or a socket would be waited for without end by whoever opens it.

    Raises:
        OSError: it is something else, or not there.
    """
    try:
        status = path.stat()
    except ValueError as error:  # a NUL in its name
        raise UnfitFileError(None, one_line(error), str(path)) from None
    if not stat.S_ISREG(status.st_mode):
        raise UnfitFileError(None, "it is not a regular file", str(path))
    return status


def answers(path: Path, asked: Callable[[Path], bool]) -> bool:
    """What a path answers, such as to ``Path.exists``; one that no file system could have (too long, a NUL) says no."""
    try:
        return asked(path)
    except (OSError, ValueError):
        return False


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, as :func:`write_bytes` does; what earlier kills left of it goes."""
    sweep(path.parent, re.escape(path.name), age=_LONG)
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: temporary neighbour, flush to disk, rename, flush the folder.

    Raises:
        RunError: it cannot be written, and what was there before is untouched; or nobody knows whether it will stay.
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
    """Fill a hidden neighbour of `folder`; the two take each other's place when the block ends well.

    Where the block raises, nothing is left. What a killed process left is removed by the next one, which leaves alone
    what is under way: each process locks its neighbour.

    Raises:
        OSError: it cannot be written; what was there before is untouched.
    """
    sweep_neighbours(folder)
    with neighbour(folder) as temporary:
        old = temporary.with_name(f"{temporary.name}{ASIDE}")
        try:
            yield temporary
            flush_tree(temporary)
            if not folder.exists():
                temporary.rename(folder)
            elif not exchanged(temporary, folder):  # a process that still maps its files keeps them
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


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Make a folder and those above it; of these the ones that hold nothing when the block ends go again.

    Raises:
        OSError: it cannot be made.
    """
    new = list(takewhile(lambda place: not place.exists(), (folder, *folder.parents)))
    try:
        make_folders(folder)
        yield
    finally:
        with suppress(OSError):
            for empty in new:
                empty.rmdir()


@contextmanager
def scratch() -> Iterator[Path]:
    """A new folder in the system's place for temporary ones, until the block ends; what killed processes left goes."""
    place = Path(tempfile.gettempdir()).resolve() / "flyweight"
    sweep_neighbours(place, restore=False)
    with neighbour(place, mode=0o700) as made:
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)


def finished(unfinished: Path) -> Path:
    """The folder whose place such a hidden neighbour was to take; any of :func:`whole_folder`'s."""
    return unfinished.with_name(unfinished.name[1:].partition(UNFINISHED)[0][:-9])


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
    """Hash of a regular file's bytes, in hexadecimal digits; against damage and not against an attacker."""
    regular(path)
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
        raise UnfitFileError(None, "its lock is a link: remove it", str(path))

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
