"""Recognise, read and check CIFAR-10 in the layouts it comes in: parquet with PNGs, the official batches of two kinds.

Whatever the layout and the order of its images, the same images give the same arrays.
"""

import hashlib
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from flyweight.data.cache import FORMAT
from flyweight.data.cifar10 import CLASSES, official, parquet
from flyweight.data.dataset import Dataset, Progress, Split, assemble, in_canonical_order
from flyweight.errors import DataError
from flyweight.files import file_hash
from flyweight.text import one_line

TRAIN_PER_CLASS, TEST_PER_CLASS = 5000, 1000
FINGERPRINT = "e0c005fd08826e1308f2ebb69281a9e628826c536b163a96a57f3bc7848cc598"
"""Of the 50,000 and 10,000 images in their canonical order, whichever layout they came in."""
ARCHIVES = ("cifar-10-python.tar.gz", "cifar-10-binary.tar.gz")
LAYOUTS = "parquet files (train-*, test-*), cifar-10-python.tar.gz or cifar-10-binary.tar.gz, or their folder"
FOLDERS = ("", "plain_text", "data", "cifar-10-batches-py", "cifar-10-batches-bin")


@dataclass(frozen=True)
class Source:
    """Files that hold CIFAR-10, not opened yet.

    Attributes:
        kind: "parquet folder", "python batches", "binary batches" or "archive".
        path: what the user would call it: the folder or the archive.
        files: all files that count.
    """

    kind: str
    path: Path
    files: tuple[Path, ...]

    def __str__(self) -> str:
        return f"{self.kind} {self.path}"

    def key(self) -> str:
        """Name of its arrays in the cache: a hash over the files' names and bytes (0.1 to 0.4 s).

        Times and places do not count: a copy or a fresh clone is not converted again, and no change goes unnoticed.
        """
        digest = hashlib.sha256(f"{FORMAT} {self.kind}".encode())
        with _reading(self):
            for file in self.files:
                digest.update(f"|{file.name}|{file_hash(file)}".encode())
        return f"cifar10-{digest.hexdigest()[:16]}"


def find(path: Path) -> Source | None:
    """Recognise CIFAR-10 at `path`, an archive or a folder, by the names of its files; None where there is none."""
    if path.is_file():
        return Source("archive", path, (path,)) if path.name.endswith((".tar.gz", ".tgz", ".tar")) else None
    for folder in (path / name for name in FOLDERS):
        shards = (*sorted(folder.glob("train-*.parquet")), *sorted(folder.glob("test-*.parquet")))
        python, binary = _existing(folder, official.PYTHON), _existing(folder, official.BINARY)
        for kind, files in (("parquet folder", shards), ("python batches", python), ("binary batches", binary)):
            if files:
                return Source(kind, folder, files)
    for archive in _existing(path, ARCHIVES):
        return Source("archive", archive, (archive,))
    return None


def recognises(path: Path) -> bool:
    """Whether it holds CIFAR-10, damaged or not: many other sets are in parquet files of the same names."""
    source = find(path)
    return source is not None and not (source.kind == "parquet folder" and parquet.foreign(source.files))


def _existing(folder: Path, names: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(folder / name for name in names if (folder / name).is_file())


def read(source: Source, progress: Progress) -> Dataset:
    """Read and check all images of `source` (0.5 GB of memory; on one core 8 s from parquet, 3 s from the others).

    The set is called "cifar10" only where it is CIFAR-10 to the last byte, "cifar10-modified" elsewhere.

    Raises:
        DataError: a file is missing or damaged, an image is not 32x32 RGB, a label is not one of the ten.
    """
    with _reading(source):
        if source.kind == "parquet folder":
            train, test, names = parquet.read(source.files, progress)
        else:
            archive = source.path if source.kind == "archive" else None
            train, test, names = official.read(source.files, archive, progress)
        if names and names != CLASSES:  # the labels would mean other things
            raise ValueError(f"its classes are {', '.join(names)[:100]}, not those of CIFAR-10")
        for side, split in (("training", train), ("test", test)):
            if len(split) == 0:
                raise ValueError(f"it has no {side} images")
            if split.labels.min() < 0 or split.labels.max() >= len(CLASSES):
                raise ValueError(f"a {side} label is outside 0..{len(CLASSES) - 1}")
    progress("sorting images", 0, None)
    dataset = assemble("cifar10", in_canonical_order(train), in_canonical_order(test), CLASSES, str(source))
    return dataset if difference(dataset) is None else replace(dataset, name="cifar10-modified")


def difference(dataset: Dataset) -> str | None:
    """What tells a data set from CIFAR-10, in a few words; None where nothing does."""
    for side, split, count in (("training", dataset.train, TRAIN_PER_CLASS), ("test", dataset.test, TEST_PER_CLASS)):
        if len(split) != count * len(CLASSES):
            return f"it has {len(split):,} {side} images, not {count * len(CLASSES):,}"
        if not _balanced(split, count):
            return f"its classes do not have {count:,} {side} images each"
    return None if dataset.fingerprint == FINGERPRINT else "some of its images or labels were changed"


def _balanced(split: Split, count: int) -> bool:
    return np.bincount(split.labels, minlength=len(CLASSES)).tolist() == [count] * len(CLASSES)


@contextmanager
def _reading(source: Source) -> Iterator[None]:
    """Turn whatever damaged files raise into one line that says what, where, and what to do."""
    try:
        yield
    except (OSError, EOFError, ValueError, OverflowError, tarfile.TarError, zlib.error) as error:
        raise DataError(
            f"{source} cannot be used: {one_line(error)}; get it again, or name another with --data PATH"
        ) from error
