"""What there is to know of a data set before anybody trains on it: counts, sizes, what was left out, what is twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath

import numpy as np

from flyweight.data.catalogue import Catalogue
from flyweight.data.copies import Copies, Leak, Seen, splits_of
from flyweight.data.dataset import Dataset, Progress
from flyweight.data.listing import Skipped

SUFFIXES = {
    "PNG": {".png"},
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "GIF": {".gif"},
    "BMP": {".bmp", ".dib"},
    "WEBP": {".webp"},
    "TIFF": {".tif", ".tiff"},
    "PPM": {".ppm", ".pgm", ".pbm", ".pnm"},
    "AVIF": {".avif"},
    # phones call it JPEG, which it begins with
    "MPO": {".mpo", ".jpg", ".jpeg"},
}
"""What the files of a format are called."""
FREQUENT = 5
"""How many sizes of images are told."""


@dataclass(frozen=True)
class Sizes:
    """Of the images as they came.

    Attributes:
        width: (smallest, median, largest) in pixels.
        height: the same.
        proportion: the same, of width to height.
        square: how many are square.
        frequent: ((width, height), number), the most frequent first.
        kinds: how many different sizes there are.
    """

    width: tuple[float, float, float]
    height: tuple[float, float, float]
    proportion: tuple[float, float, float]
    square: int
    frequent: tuple[tuple[tuple[int, int], int], ...]
    kinds: int


@dataclass(frozen=True)
class Scan:
    """What was found in a data set.

    Attributes:
        name: of the set.
        source: where it came from.
        classes: names, in the order of the labels.
        counts: images of each class, by split.
        shape: (channels, height, width) as a network sees an image.
        resize: what becomes of other proportions.
        sizes: of the images as they came.
        formats: number of files of each format; empty where they are no files.
        misnamed: files whose suffix is that of another format, each with its format.
        left_out: files that are not among the images.
        equal: groups of images with equal pixels as a network sees them.
        near: pairs of images that show nearly the same.
        leaks: of each split but the training split.
        mean: of the training pixels, a channel, in 0 to 1.
        std: their standard deviation.
        notes: sentences that a person should read.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    counts: dict[str, tuple[int, ...]]
    shape: tuple[int, int, int]
    resize: str
    sizes: Sizes
    formats: dict[str, int]
    misnamed: tuple[tuple[str, str], ...]
    left_out: tuple[Skipped, ...]
    equal: tuple[Copies, ...]
    near: tuple[Copies, ...]
    leaks: tuple[Leak, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    notes: tuple[str, ...]

    @cached_property
    def balance(self) -> tuple[tuple[str, int], tuple[str, int]]:
        """The class with the most training images and that with the fewest, each with their number."""
        counted = list(zip(self.classes, self.counts["train"], strict=True))
        return max(counted, key=lambda pair: pair[1]), min(counted, key=lambda pair: pair[1])

    @property
    def images(self) -> int:
        """How many there are in all."""
        return sum(map(sum, self.counts.values()))


def scan(dataset: Dataset, progress: Progress) -> Scan:
    """Find out all of it; seconds for 100,000 images.

    Args:
        dataset: whose images are known by their files, or are arrays alone.
        progress: called as progress(what, done, total).
    """
    seen = Seen(dataset, progress)
    equal = seen.equal()
    pairs, notes = seen.near(progress)
    origin = dataset.origin
    catalogue = None if origin is None else origin.catalogue
    rows = seen.rows
    formats = Counter() if catalogue is None else Counter(catalogue.formats[row] for row in rows.tolist())
    if catalogue is None:
        _, height, width, _ = dataset.train.images.shape
        widths, heights = np.full(len(rows), width), np.full(len(rows), height)
    else:
        widths, heights = catalogue.widths[rows], catalogue.heights[rows]
    return Scan(
        name=dataset.name,
        source=dataset.source,
        classes=dataset.classes,
        counts={
            name: tuple(np.bincount(split.labels, minlength=len(dataset.classes)).tolist())
            for name, split in splits_of(dataset).items()
        },
        shape=dataset.spec.shape,
        resize=dataset.resize,
        sizes=_sizes(widths, heights),
        formats=dict(formats.most_common()),
        misnamed=() if catalogue is None else _misnamed(catalogue, rows),
        left_out=() if origin is None else tuple(origin.left_out),
        equal=equal,
        near=tuple(seen.copies(pair) for pair in pairs.tolist()),
        leaks=seen.leaks(pairs),
        mean=dataset.mean,
        std=dataset.std,
        notes=(*dataset.notes, *notes),
    )


def _sizes(widths: np.ndarray, heights: np.ndarray) -> Sizes:
    kinds = Counter(zip(widths.tolist(), heights.tolist(), strict=True))
    return Sizes(
        _spread(widths),
        _spread(heights),
        _spread(widths / heights),
        int((widths == heights).sum()),
        tuple(kinds.most_common(FREQUENT)),
        len(kinds),
    )


def _spread(values: np.ndarray) -> tuple[float, float, float]:
    return float(values.min()), float(np.median(values)), float(values.max())


def _misnamed(catalogue: Catalogue, rows: np.ndarray) -> tuple[tuple[str, str], ...]:
    every = set().union(*SUFFIXES.values())
    found = []
    for row in sorted(rows.tolist()):
        suffix = PurePath(catalogue.names[row]).suffix.lower()
        kind = catalogue.formats[row]
        if suffix in every and kind in SUFFIXES and suffix not in SUFFIXES[kind]:
            found.append((catalogue.names[row], kind))
    return tuple(found)
