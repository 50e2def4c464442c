"""Images that are in a data set more than once, equal or nearly so: in a class, across classes, across splits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from flyweight.data.dataset import Dataset, Progress, Split
from flyweight.data.decoding import Decoded, described
from flyweight.data.duplicates import FLAT, Near, near
from flyweight.data.stored import Stored

WORDS = {"train": "training", "validation": "validation", "test": "test"}
"""What the images of a split are, before the word images."""
_CHUNK = 1000


class Member(NamedTuple):
    """An image of the set.

    Attributes:
        split: "train", "validation" or "test".
        number: its place in the split, from 0.
        label: name of its class.
        name: of its file; none: it has none.
    """

    split: str
    number: int
    label: str
    name: str | None

    @property
    def called(self) -> str:
        """What a person calls it; it may hold anything, as names do."""
        return self.name if self.name is not None else f"{WORDS[self.split]} image {self.number}"


class Copies(NamedTuple):
    """Images that show the same.

    Attributes:
        members: two or more.
    """

    members: tuple[Member, ...]

    @property
    def across_splits(self) -> bool:
        """Whether they are in different splits."""
        return len({member.split for member in self.members}) > 1

    @property
    def across_classes(self) -> bool:
        """Whether they are in different classes."""
        return len({member.label for member in self.members}) > 1

    @property
    def pair(self) -> tuple[Member, Member]:
        """The first one and that of the others whose split and class are furthest from its own."""
        first, *others = self.members
        return first, _furthest(first, others)


def _apart(one: Member, other: Member) -> tuple[bool, bool]:
    """How much it matters that two images show the same: most where one is in another split."""
    return one.split != other.split, one.label != other.label


def _furthest(one: Member, others: Sequence[Member]) -> Member:
    return max(others, key=lambda other: _apart(one, other))


class Leak(NamedTuple):
    """Images of a split that the network sees in training.

    Attributes:
        split: "validation" or "test".
        images: of the split.
        equal: those that are equal to a training image.
        near: those that nearly are.
    """

    split: str
    images: int
    equal: int
    near: int


def splits_of(dataset: Dataset) -> dict[str, Split]:
    """The splits that there are, by name, the training split first."""
    splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    return {name: split for name, split in splits.items() if split is not None and len(split)}


class Seen:
    """All images of a set in one row, split after split, with what tells equal ones and similar ones.

    A content is what equal images have in common; one of them stands for all in the search for similar ones.

    Attributes:
        rows: (N,) int64, of each image in the catalogue; its place here where there is no catalogue.
    """

    def __init__(self, dataset: Dataset, progress: Progress) -> None:
        self._dataset, self._splits = dataset, splits_of(dataset)
        sizes = [len(split) for split in self._splits.values()]
        self._starts = np.cumsum([0, *sizes])
        self._split = np.repeat(np.arange(len(sizes)), sizes)
        if dataset.origin is None:
            digests, hashes, sums, squares = _described(self._splits, progress)
            self.rows = np.arange(len(digests))
        else:
            catalogue = dataset.origin.catalogue
            self.rows = np.concatenate([_rows(split) for split in self._splits.values()])
            digests, hashes = catalogue.digests[self.rows], catalogue.hashes[self.rows]
            sums, squares = catalogue.sums[self.rows], catalogue.squares[self.rows]
        keys = np.ascontiguousarray(digests).view("V16").reshape(-1)
        _, self._first, content = np.unique(keys, return_index=True, return_inverse=True)
        self._content = content.reshape(-1)
        self._order = np.argsort(self._content, kind="stable")
        self._ends = np.cumsum(np.bincount(self._content))
        self._hashes = hashes[self._first]
        _, height, width = dataset.spec.shape
        mean = sums[self._first] / (height * width)
        self._levels = mean.mean(1)
        self._contrast = np.sqrt(np.maximum(squares[self._first] / (height * width) - mean**2, 0).max(1))

    def equal(self) -> tuple[Copies, ...]:
        """Groups of images with equal pixels, in the order of their first members."""
        several = np.flatnonzero(np.bincount(self._content) > 1)
        several = several[np.argsort(self._first[several])]
        return tuple(Copies(tuple(map(self._member, self._of(content)))) for content in several.tolist())

    def near(self, progress: Progress) -> Near:
        """Pairs of contents that show nearly the same."""
        clear = np.flatnonzero(self._contrast >= FLAT)
        found = near(
            lambda place: self._image(self._first[clear[place]]), self._hashes[clear], self._levels[clear], progress
        )
        return Near(clear[found.pairs], found.notes)

    def copies(self, pair: tuple[int, int]) -> Copies:
        """An image of each of two contents: those whose splits and classes differ, where there are such."""
        ones, others = ([self._member(place) for place in self._of(content)] for content in pair)
        # where any two differ, one of them differs from the first of the other content
        choices = (ones[0], _furthest(ones[0], others)), (_furthest(others[0], ones), others[0])
        chosen = max(choices, key=lambda two: _apart(*two))
        return Copies(tuple(sorted(chosen, key=lambda one: (list(self._splits).index(one.split), one.number))))

    def leaks(self, pairs: np.ndarray) -> tuple[Leak, ...]:
        """What of the other splits is among the training images.

        Args:
            pairs: (P, 2) int64, contents that show nearly the same.
        """
        trained = np.zeros(len(self._first), bool)
        trained[self._content[self._split == 0]] = True
        nearly = np.zeros(len(self._first), bool)
        for one, other in ((0, 1), (1, 0)):
            nearly[pairs[trained[pairs[:, other]], one]] = True
        found = []
        for code, name in enumerate(self._splits):
            contents = self._content[self._split == code]
            if code:
                equal = trained[contents]
                found.append(Leak(name, len(contents), int(equal.sum()), int((nearly[contents] & ~equal).sum())))
        return tuple(found)

    def _of(self, content: int) -> list[int]:
        """The images of a content."""
        return self._order[self._ends[content - 1] if content else 0 : self._ends[content]].tolist()

    def _place(self, image: int) -> tuple[str, int]:
        code = int(self._split[image])
        return list(self._splits)[code], int(image - self._starts[code])

    def _image(self, image: int) -> np.ndarray:
        name, index = self._place(image)
        return self._splits[name].images[index]

    def _member(self, image: int) -> Member:
        name, index = self._place(image)
        split = self._splits[name]
        label = self._dataset.classes[split.labels[index]]
        return Member(name, index, label, None if split.names is None else split.names[index])


def _rows(split: Split) -> np.ndarray:
    assert isinstance(split.images, Stored)  # only such images have a catalogue
    return split.images.rows


def _described(splits: dict[str, Split], progress: Progress) -> tuple[np.ndarray, ...]:
    """(N, 16) digests, (N,) hashes, (N, C) sums and (N, C) squares of all images, as a catalogue has them."""
    total, found = sum(map(len, splits.values())), list[Decoded]()
    for split in splits.values():
        for start in range(0, len(split), _CHUNK):
            found += described(np.asarray(split.images[start : start + _CHUNK]))
            progress("hashing images", len(found), total)
    return (
        np.frombuffer(b"".join(record.digest for record in found), np.uint8).reshape(-1, 16),
        np.array([record.hash for record in found], np.uint64),
        np.array([record.sums for record in found], np.int64),
        np.array([record.squares for record in found], np.int64),
    )
