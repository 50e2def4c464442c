"""Parquet files with images, as the Hugging Face hub lays them out, whatever their columns are called."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from flyweight.data import columns, labels, shards
from flyweight.data.columns import Columns
from flyweight.data.dataset import Progress
from flyweight.data.listing import Content, Entry, Listing, Skipped
from flyweight.data.reader import Reader
from flyweight.data.shards import Shard
from flyweight.errors import DataError
from flyweight.files import mark, reason, regular
from flyweight.recipes.sections import DataConfig
from flyweight.text import one_line, printable, some

BATCH = 32
"""Images that are read at a time."""
BUFFER = 2**20
"""Bytes of a column that are read at a time: pyarrow would read all of a row group, which may be all of a file. What a
file keeps as one page (1 MiB, but at least 1,024 images where its writer is pyarrow) is in memory as a whole."""
KIND = "parquet set"


def listing(path: Path, config: DataConfig, progress: Progress) -> Listing:
    """List the rows of a .parquet file, or of those in a folder.

    Raises:
        DataError: a file is missing or damaged, there are several sets, or the columns are not found.
    """
    if path.is_file():
        # a part of a set that the user chose: what split it was does not count
        return listing_of(path.parent, [Shard(path.name, "")], path, config, progress)
    found, notes = shards.arrange(shards.names(path), str(path))
    return listing_of(path, found, path, config, progress, notes)


def recognises(path: Path) -> bool:
    """Whether it is a .parquet file, or a folder with such files; one that lies among images is beside the point."""
    if path.is_file():
        return path.name.lower().endswith(".parquet")
    return any(not _among_images(path / name) for name in shards.names(path))


def _among_images(file: Path) -> bool:
    from flyweight.images.decode import SUFFIXES  # here, for it imports Pillow

    return any(beside.suffix.lower() in SUFFIXES for beside in file.parent.iterdir())


def listing_of(
    folder: Path,
    parts: Sequence[Shard],
    named: Path,
    config: DataConfig,
    progress: Progress,
    notes: Sequence[str] = (),
) -> Listing:
    """List the rows of some parquet files. Their labels and their images' names are read, no image is.

    Args:
        folder: that they are in.
        parts: the files.
        named: what a person calls the set.
        config: of the data.
        progress: called as progress(what, done, total).
        notes: on the files.

    Raises:
        DataError: a file is damaged, the columns are not found, or labels and names of classes do not fit.
    """
    where = f"{KIND} {named}"
    files = [folder / shard.name for shard in parts]
    found, total = _columns(files, config, where)
    rows = _Rows(found, where)
    for shard, file in zip(parts, files, strict=True):
        rows.add(shard, file, lambda done: progress("reading labels", done, total))
    if not (entries := rows.entries()):
        raise DataError(f"{where}: none of its {len(rows.skipped):,} rows has a {found.label}")
    kept = [np.array(flags, bool) for flags in rows.kept]

    def contents() -> Iterator[Content]:
        for file, flags in zip(files, kept, strict=True):
            yield from _contents(file, found, flags)

    digest = hashlib.sha256("\0".join((KIND, found.image, found.label)).encode())
    for shard, file in zip(parts, files, strict=True):
        status = file.stat()
        digest.update("\0".join((*shard, mark(status))).encode("utf-8", "surrogateescape"))
    return Listing(
        KIND,
        named,
        entries,
        contents,
        digest.hexdigest(),
        classes=rows.classes(),
        skipped=tuple(rows.skipped),
        notes=(*notes, *found.notes),
    )


def _columns(files: Sequence[Path], config: DataConfig, where: str) -> tuple[Columns, int]:
    """The columns of the first file, which all others have too; and how many rows there are."""
    chosen: list[Columns] = []
    total = 0
    for file in files:
        with opened(file) as table:
            chosen.append(columns.find(table.schema_arrow, config, where if not chosen else f"{where}: {file.name}"))
            total += table.metadata.num_rows
    for file, other in zip(files, chosen, strict=True):
        if other != chosen[0]:
            raise DataError(f"{where}: {files[0].name} and {file.name} differ in their columns or names of classes")
    return chosen[0], total


class _Rows:
    """The rows of all files: who is an image of which class."""

    def __init__(self, found: Columns, where: str) -> None:
        self.columns, self.where = found, where
        self.kept: list[list[bool]] = []
        self.skipped: list[Skipped] = []
        self._found: list[tuple[str, str, Any, str | None]] = []  # its number, its split, its class, its file's name
        self._counts: dict[str, Iterator[int]] = {}

    def add(self, shard: Shard, file: Path, told: Callable[[int], None]) -> None:
        """Read the labels of a file."""
        # as the hub's pages and the package datasets count them
        numbers = self._counts.setdefault(shard.split, count())
        self.kept.append([])
        leaves = [self.columns.label, *([self.columns.path] if self.columns.path else [])]
        with opened(file) as table:
            for batch in table.iter_batches(batch_size=10_000, columns=leaves):
                found = batch.column(self.columns.label).to_pylist()
                paths: list[str | None] = [None] * len(batch)
                if self.columns.path:
                    paths = batch.column(self.columns.image).flatten()[0].to_pylist()
                for value, path in zip(found, paths, strict=True):
                    self._add(f"{shard.split} row {next(numbers)}".strip(), shard.split, value, path)
                told(sum(map(len, self.kept)))

    def _add(self, number: str, split: str, value: Any, path: str | None) -> None:
        # an image without a class is no fault of the set's: those of a competition's test set have none
        blank = value is None or (isinstance(value, str) and not value.strip())
        if blank or (self.columns.names and value == labels.MISSING):
            self.skipped.append(Skipped(number, "it has no label"))
            self.kept[-1].append(False)
            return
        # but where a number has no name, the names are not of these numbers, and none of them can be trusted
        if self.columns.names and not 0 <= int(value) < len(self.columns.names):
            raise DataError(
                f"{self.where}: the {self.columns.label} of {number} is {value}, but there are"
                f" {len(self.columns.names)} names of classes ({some(self.columns.names, 3)}): its file is damaged"
            )
        self.kept[-1].append(True)
        self._found.append((number, split, value, path))

    def entries(self) -> list[Entry]:
        """An entry for each row that is kept; it is called as its file was where no other one is."""
        times = Counter(path for _, _, _, path in self._found)
        return [
            Entry(path if path and times[path] == 1 else number, split, self._name(value))
            for number, split, value, path in self._found
        ]

    def classes(self) -> tuple[str, ...] | None:
        """In the order of their numbers; none: they have none."""
        if self.columns.names:
            return self.columns.names
        values = {value for _, _, value, _ in self._found}
        if len(values) > max(20, len(self._found) / 2):
            raise DataError(
                f"{self.where}: the column {printable(self.columns.label)!r} has {len(values):,} different values in"
                f" {len(self._found):,} rows: it names no classes; choose with --set data.label_column=NAME"
            )
        return None if any(isinstance(value, str) for value in values) else labels.of_numbers(values) or None

    def _name(self, value: Any) -> str:
        if self.columns.names:
            return self.columns.names[value]
        return unicodedata.normalize("NFC", str(value))


def _contents(file: Path, found: Columns, kept: np.ndarray) -> Iterator[bytes]:
    """The bytes of the images of a file that are kept; of a missing one no bytes."""
    row = 0
    with opened(file) as table:
        if table.metadata.num_rows != len(kept):
            raise DataError(f"{file} has changed while it was read: start again")
        for batch in table.iter_batches(batch_size=BATCH, columns=[found.content]):
            column = batch.column(0)
            if found.content != found.image:
                column = column.flatten()[0]
            for value, wanted in zip(column, kept[row : row + len(batch)], strict=True):
                if wanted:
                    yield value.as_py() or b""
            row += len(batch)


@contextmanager
def opened(file: Path) -> Iterator[Any]:
    """A parquet file; whatever is wrong with it becomes one line.

    Raises:
        DataError: it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        regular(file)
        with pq.ParquetFile(file, page_checksum_verification=True, buffer_size=BUFFER, pre_buffer=False) as table:
            yield table
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} cannot be read as a parquet file ({_why(error)}); get it again") from None


def _why(error: Exception) -> str:
    return reason(error) if isinstance(error, OSError) else one_line(error)


READER = Reader(
    name="parquet",
    label="a parquet set",
    help="images in parquet files, as the Hugging Face hub has them",
    listing=listing,
    layouts=shards.LAYOUTS,
    recognises=recognises,
)
