"""What a reader of files finds before any image is decoded: the list of its images, and how to get at them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

Content = Path | bytes | np.ndarray
"""An image: its file, the bytes of one, or its (H, W) or (H, W, C) uint8 pixels."""

SPLITS = ("train", "validation", "test")

HIDDEN = "it is hidden"
"""Why files and folders were skipped that nobody would have called images."""


class Entry(NamedTuple):
    """One image.

    Attributes:
        name: what people call it: its file, below the data set's folder.
        split: one of `SPLITS`; empty where the set has none.
        label: name of its class.
    """

    name: str
    split: str
    label: str


class Skipped(NamedTuple):
    """Something that is no image of the set.

    Attributes:
        name: what people call it.
        reason: in a few words.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """A data set that is known by its list.

    Attributes:
        kind: what it is, such as "image folder".
        path: where it is, for a person.
        entries: all images, in an order that does not depend on the file system.
        contents: goes through them, in the order of `entries`; called more than once.
        stamp: changes when a file is added, removed, renamed or written: a hash of names, sizes and times.
        classes: in the order of the labels, where the set itself has one; none: sorted by name.
        skipped: what was seen and left out.
        notes: sentences that a person should read.
    """

    kind: str
    path: Path
    entries: Sequence[Entry]
    contents: Callable[[], Iterator[Content]]
    stamp: str
    classes: tuple[str, ...] | None = None
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
