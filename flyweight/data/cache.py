"""The cache: each data set as a folder of `.npy` arrays and a manifest, written at one stroke and memory-mapped.

Arrays are checked in full each time they are opened: SHA-256 over the 184 MB of CIFAR-10 takes 0.1 s (0.5 s on a
processor without SHA instructions), and a flipped bit would otherwise train without a word.
"""

import errno
import hashlib
import json
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from flyweight.data.dataset import Dataset, Progress, Split, fingerprint
from flyweight.errors import DataError

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
MANIFEST = "manifest.json"
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
        if folder.exists():
            progress("the cached arrays are damaged: making them again", 0, None)
        dataset = make()
        with writing(cache):
            for stale in cache.glob(f".{key}-*"):
                shutil.rmtree(stale, ignore_errors=True)
            _publish(dataset, folder, cache / f".{key}-{uuid.uuid4().hex[:8]}", progress)
    return read(folder)


def intact(folder: Path) -> Dataset | None:
    """Open the arrays in `folder`; None where there are none, or none that can be trusted."""
    try:
        return read(folder)
    except DataError:
        return None


def read(folder: Path) -> Dataset:
    """Open the arrays in `folder`, memory-mapped and read-only, after checking every byte of them.

    Raises:
        DataError: no arrays there, or a file is missing, truncated or changed.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        check = manifest.pop("check")
        arrays = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS]
    except (OSError, ValueError, KeyError, AttributeError, EOFError) as error:
        raise DataError(f"the arrays in {folder} cannot be opened ({one_line(error)}): delete that folder") from error
    train, test = Split(arrays[0], arrays[1]), Split(arrays[2], arrays[3])
    classes = tuple(manifest.get("classes", ()))
    if manifest.get("format") != FORMAT:
        raise DataError(f"the arrays in {folder} were made by another version: delete that folder")
    if check != _check(manifest) or fingerprint(train, test, classes) != manifest["fingerprint"]:
        raise DataError(f"the arrays in {folder} do not match their checksum: delete that folder")
    mean, std = tuple(manifest["mean"]), tuple(manifest["std"])
    return Dataset(manifest["name"], train, test, classes, mean, std, manifest["fingerprint"], manifest["source"])


def _publish(dataset: Dataset, folder: Path, temporary: Path, progress: Progress) -> None:
    temporary.mkdir()
    try:
        arrays = (dataset.train.images, dataset.train.labels, dataset.test.images, dataset.test.labels)
        for done, (name, array) in enumerate(zip(ARRAYS, arrays, strict=True)):
            progress("writing arrays", done, len(ARRAYS))
            _write_array(temporary / f"{name}.npy", np.ascontiguousarray(array))
        manifest = {key: getattr(dataset, key) for key in ("name", "classes", "mean", "std", "fingerprint", "source")}
        manifest = json.loads(json.dumps({"format": FORMAT, **manifest}))  # as it will be read: lists for tuples
        with (temporary / MANIFEST).open("w", encoding="utf-8") as file:
            json.dump({**manifest, "check": _check(manifest)}, file, indent=2)
            _sync(file.fileno())
        _sync_folder(temporary)
        if folder.exists():  # damaged arrays; a process that still maps them keeps them
            folder.rename(temporary.with_name(f"{temporary.name}-old"))
        temporary.rename(folder)
        _sync_folder(folder.parent)
        progress("writing arrays", len(ARRAYS), len(ARRAYS))
    finally:
        for leftover in (temporary, temporary.with_name(f"{temporary.name}-old")):
            shutil.rmtree(leftover, ignore_errors=True)


def _write_array(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.data)  # np.save would hide the reason when the disk is full
        file.flush()
        _sync(file.fileno())


def _check(manifest: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _sync(descriptor: int) -> None:
    os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":  # Windows cannot open a folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def locked(path: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock file `path`, in a folder that is made if need be; released by the system if the process dies."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress("waiting for another process that prepares the same data", 0, None)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn an error of the file system into one line that names the cache folder and the way out."""
    try:
        yield
    except OSError as error:
        room = "free 400 MB there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "make it writable"
        raise DataError(
            f"cannot write the cache {folder} ({error.strerror or one_line(error)}): {room}, "
            "or set FLYWEIGHT_CACHE to another folder"
        ) from error


def one_line(error: BaseException) -> str:
    """The message of an error in one line of at most 200 characters; its class where it has no message."""
    return " ".join(str(error).split())[:200] or type(error).__name__
