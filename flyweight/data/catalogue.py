"""What is known of each image of a converted data set; a parquet file beside the arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flyweight.data.decoding import Decoded, Looked
from flyweight.data.listing import Entry, Skipped


@dataclass(frozen=True, eq=False)
class Catalogue:
    """A row for each image of the listing, readable or not.

    Attributes:
        names: what people call them.
        splits: "train", "validation", "test"; empty where the set has none.
        labels: names of their classes.
        errors: why an image cannot be used; none: it can.
        formats: such as PNG.
        widths: (N,) int64 in pixels.
        heights: (N,) int64 in pixels.
        digests: (N, 16) uint8, BLAKE2b of the pixels in the array.
        hashes: (N,) uint64, perceptual.
        sums: (N, C) int64, of the pixels in the array.
        squares: (N, C) int64, of their squares.
    """

    names: Sequence[str]
    splits: Sequence[str]
    labels: Sequence[str]
    errors: Sequence[str | None]
    formats: Sequence[str]
    widths: np.ndarray
    heights: np.ndarray
    digests: np.ndarray
    hashes: np.ndarray
    sums: np.ndarray
    squares: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    @property
    def usable(self) -> np.ndarray:
        """(n,) int64: the rows whose images could be read."""
        return np.flatnonzero([error is None for error in self.errors])


@dataclass(frozen=True, eq=False)
class Origin:
    """The files that a data set's images came from.

    Attributes:
        catalogue: a row for each image of the listing; `Stored.rows` of a split's images leads to theirs.
        skipped: what was seen and never taken for an image of the set.
    """

    catalogue: Catalogue
    skipped: tuple[Skipped, ...] = ()

    @property
    def left_out(self) -> list[Skipped]:
        """All that is not among the images of the set, each with its reason."""
        told = zip(self.catalogue.names, self.catalogue.errors, strict=True)
        return [*self.skipped, *(Skipped(name, error) for name, error in told if error is not None)]


def make(entries: Sequence[Entry], looked: Sequence[Looked], decoded: Sequence[Decoded], channels: int) -> Catalogue:
    """Put together what was found out; `decoded` has a record for those alone that could be looked at."""
    rest = iter(decoded)
    nothing = (0,) * channels
    found = [next(rest) if look.error is None else Decoded(error=look.error) for look in looked]
    return Catalogue(
        [entry.name for entry in entries],
        [entry.split for entry in entries],
        [entry.label for entry in entries],
        [record.error for record in found],
        [look.format for look in looked],
        np.array([look.width for look in looked], np.int64),
        np.array([look.height for look in looked], np.int64),
        np.frombuffer(b"".join(record.digest for record in found), np.uint8).reshape(-1, 16),
        np.array([record.hash for record in found], np.uint64),
        np.array([record.sums or nothing for record in found], np.int64).reshape(-1, channels),
        np.array([record.squares or nothing for record in found], np.int64).reshape(-1, channels),
    )


def write(catalogue: Catalogue, path: Path) -> None:
    """Write it to a parquet file.

    Raises:
        OSError: that cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "name": pa.array(catalogue.names, pa.string()),
        "split": pa.array(catalogue.splits, pa.string()),
        "label": pa.array(catalogue.labels, pa.string()),
        "error": pa.array(catalogue.errors, pa.string()),
        "format": pa.array(catalogue.formats, pa.string()),
        "width": pa.array(catalogue.widths),
        "height": pa.array(catalogue.heights),
        "digest": _fixed(catalogue.digests),
        "hash": pa.array(catalogue.hashes),
        "sums": _fixed(catalogue.sums),
        "squares": _fixed(catalogue.squares),
    }
    pq.write_table(pa.table(columns), path)


def read(path: Path) -> Catalogue:
    """Read what `write` wrote.

    Raises:
        OSError, ValueError, KeyError: it is missing or damaged.
    """
    import pyarrow.parquet as pq

    # all in this thread: one of pyarrow's would close the file some time after its rows are here
    with pq.ParquetFile(path, page_checksum_verification=False, pre_buffer=False) as file:
        table = file.read(use_threads=False)

    def texts(name: str) -> list[str]:
        return table.column(name).to_pylist()

    def numbers(name: str) -> np.ndarray:
        return table.column(name).to_numpy()

    def rows(name: str) -> np.ndarray:
        column = table.column(name).combine_chunks()
        return column.flatten().to_numpy().reshape(len(table), column.type.list_size)

    return Catalogue(
        texts("name"),
        texts("split"),
        texts("label"),
        texts("error"),
        texts("format"),
        numbers("width"),
        numbers("height"),
        rows("digest"),
        numbers("hash"),
        rows("sums"),
        rows("squares"),
    )


def _fixed(rows: np.ndarray) -> object:
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
