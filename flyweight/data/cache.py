"""The cache: each data set as a folder of `.npy` arrays and a manifest, written at one stroke and memory-mapped.

Arrays are checked in full each time they are opened: SHA-256 over the 184 MB of CIFAR-10 takes 0.1 s (0.5 s on a
processor without SHA instructions), and a flipped bit would otherwise train without a word.
"""

import errno
import hashlib
import json
import math
import os
import sys
import tokenize
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from flyweight import files
from flyweight.data.dataset import Dataset, Progress, Split, fingerprint
from flyweight.errors import DataError, out_of_memory
from flyweight.neighbours import sweep_neighbours
from flyweight.text import one_line

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
MANIFEST = "manifest.json"
HEADER_ERRORS = (SyntaxError, tokenize.TokenError, RecursionError)
"""What is raised, besides `ValueError`, at a damaged array: its head is Python, which numpy parses."""
MOST_MANIFEST = 64 * 1024**2
"""Bytes of it, and of whatever else is kept as JSON."""
FORMAT = 1  # raise it when the same files would give other arrays, or the manifest changes


def cache_folder(cache: Path | None = None) -> Path:
    """Return `cache`, else FLYWEIGHT_CACHE, else `flyweight` in the user's cache folder of this platform."""
    if cache is not None:
        return expanded(Path(cache), "the cache")
    if chosen := os.environ.get("FLYWEIGHT_CACHE"):
        return expanded(Path(chosen), "FLYWEIGHT_CACHE")
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "flyweight" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "flyweight"
    base = os.environ.get("XDG_CACHE_HOME", "")
    # the XDG specification says to ignore a relative path
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "flyweight"


def expanded(path: Path, place: str) -> Path:
    """The path, absolute, with the home folder in place of ~.

    Args:
        path: as the user wrote it.
        place: where.

    Raises:
        DataError: it begins with the ~name of somebody whose home is not known.
    """
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise DataError(f"{place} {path}: {path.parts[0]} is nobody's home here; write the folder out") from None


def cached(cache: Path, key: str, make: Callable[[], Dataset], progress: Progress) -> Dataset:
    """Open the data set `key` of the cache; where it is absent or damaged, make and write it first.

    Safe under several processes at once (the first one works, the others wait) and under kill -9: the folder appears
    by a rename when it is complete, and what a killed process left is removed by the next one.

    Raises:
        DataError: the cache cannot be written; or what `make` raises.
    """
    folder = cache / key
    if (dataset := intact(folder)) is not None:
        return dataset
    with locked(cache / f"{key}.lock", progress):
        if (dataset := intact(folder)) is not None:  # made while we waited
            return dataset
        with writing(cache):
            damaged = folder.exists()
        if damaged:
            progress("the cached arrays are damaged: making them again", 0, None)
        dataset = make()
        with writing(cache):
            _write(dataset, folder, progress)
    return read(folder)


def intact(folder: Path) -> Dataset | None:
    """Open the arrays in `folder`; None where there are none, or none that can be trusted."""
    try:
        return read(folder)
    except DataError as error:
        if out_of_memory(error):
            raise  # it says nothing of the arrays
        return None


def read(folder: Path) -> Dataset:
    """Open the arrays in `folder`, memory-mapped and read-only, after checking every byte of them.

    Raises:
        DataError: no arrays there, or a file is missing, truncated or changed.
    """
    try:
        manifest = read_manifest(folder / MANIFEST)
        if manifest.get("format") != FORMAT:
            raise DataError(f"the arrays in {folder} were made by another version: delete that folder")
        for name in ARRAYS:
            files.regular(folder / f"{name}.npy")
        arrays = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS]
        train, test = Split(arrays[0], arrays[1]), Split(arrays[2], arrays[3])
        told = {key: manifest[key] for key in ("name", "fingerprint", "source")}
        classes, notes = tuple(manifest.get("classes", ())), tuple(manifest.get("notes", ()))
        mean, std = tuple(manifest["mean"]), tuple(manifest["std"])
        if not all(isinstance(text, str) for text in (*told.values(), *classes, *notes)):
            raise ValueError("a name or a note in it is no text")
        if fingerprint(train, test, classes) != manifest["fingerprint"]:
            raise DataError(f"the arrays in {folder} do not match their checksum: delete that folder")
        channels = train.images.shape[3]
        if not all(len(numbers) == channels and all(map(math.isfinite, numbers)) for numbers in (mean, std)):
            raise ValueError("mean and std are no numbers, one a channel")
    except (OSError, ValueError, LookupError, AttributeError, TypeError, EOFError, *HEADER_ERRORS) as error:
        raise DataError(f"the arrays in {folder} cannot be opened ({one_line(error)}): delete that folder") from error
    return Dataset(**told, train=train, test=test, classes=classes, mean=mean, std=std, notes=notes)


def _write(dataset: Dataset, folder: Path, progress: Progress) -> None:
    arrays = (dataset.train.images, dataset.train.labels, dataset.test.images, dataset.test.labels)
    with files.whole_folder(folder, DataError) as temporary:
        for done, (name, array) in enumerate(zip(ARRAYS, arrays, strict=True)):
            progress("writing arrays", done, len(ARRAYS))
            _write_array(temporary / f"{name}.npy", np.ascontiguousarray(array))
        manifest = {key: getattr(dataset, key) for key in ("name", "classes", "mean", "std", "fingerprint", "source")}
        if dataset.notes:  # manifests from before there were notes stay as they were
            manifest["notes"] = dataset.notes
        with (temporary / MANIFEST).open("w", encoding="utf-8") as file:
            file.write(sealed_json({"format": FORMAT, **manifest}))
            files.flush(file)
    progress("writing arrays", len(ARRAYS), len(ARRAYS))


def _write_array(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.data)  # np.save would hide the reason when the disk is full
        files.flush(file)


def sealed_json(content: dict[str, Any]) -> str:
    """JSON that carries its own checksum."""
    content = json.loads(json.dumps(content))  # as it will be read: lists for tuples
    return json.dumps({**content, "check": _check(content)}, indent=2)


def unsealed_json(text: str | bytes) -> dict[str, Any]:
    """What `sealed_json` was given.

    Raises:
        ValueError, KeyError, AttributeError: it is damaged.
    """
    content = json.loads(text)
    if content.pop("check") != _check(content):
        raise ValueError("it does not match its checksum")
    return content


def read_manifest(path: Path) -> dict[str, Any]:
    """What `sealed_json` was given, of a file.

    Raises:
        OSError: it cannot be read.
        ValueError, KeyError, AttributeError: it is damaged.
    """
    return unsealed_json(files.read_bytes(path, MOST_MANIFEST))


def _check(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


@contextmanager
def locked(path: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock file `path`, in a folder that is made if need be.

    Raises:
        DataError: the folder cannot be written.
    """

    def wait() -> None:
        progress("waiting for another process that prepares the same data", 0, None)

    with ExitStack() as held:
        with writing(path.parent):
            files.make_folders(path.parent)
            held.enter_context(files.locked(path, wait))
        yield


def sweep(cache: Path) -> None:
    """Remove what conversions that were killed left, of any set; those under way hold a lock."""

    def busy() -> None:
        raise BlockingIOError

    with suppress(OSError):  # what cannot be looked through now waits for the next start
        for key in {files.finished(stale).name for stale in cache.glob(f".*{files.UNFINISHED}*")}:
            if (lock := cache / f"{key}.lock").exists():
                with suppress(OSError), files.locked(lock, busy):
                    sweep_neighbours(cache / key)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn an error of the file system into one line that names the cache folder and the way out."""
    try:
        yield
    except OSError as error:
        room = "free 400 MB there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "make it writable"
        raise DataError(
            f"cannot write the cache {folder} ({files.reason(error)}): {room}, or set FLYWEIGHT_CACHE to another folder"
        ) from error
