"""From a listing to a `Dataset`: classes by name, splits, statistics, and what a person must be told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from flyweight.data import splits
from flyweight.data.catalogue import Catalogue, Origin
from flyweight.data.convert import open_listing
from flyweight.data.dataset import Dataset, Progress, Split, assemble
from flyweight.data.listing import HIDDEN, Listing
from flyweight.data.stored import Stored
from flyweight.errors import DataError
from flyweight.images.spec import Spec
from flyweight.recipes.sections import DataConfig
from flyweight.text import printable, some


def load(
    listing: Listing,
    config: DataConfig,
    *,
    cache: Path,
    progress: Progress,
    like: Spec | None,
    trained_on: str | None,
    verify: bool,
) -> Dataset:
    """Open a listing as a data set.

    Args:
        listing: of the images.
        config: sizes and splits.
        cache: the folder for arrays.
        progress: called as progress(what, done, total).
        like: of a network that the images are for: its classes and its images' size; none: the set's own.
        trained_on: fingerprint of the data set that this network was trained on. Of another one without splits all
            images are test images.
        verify: hash all files and arrays again, whatever their times say.

    Raises:
        DataError: it cannot be read, or has no two classes to tell apart, or classes that the network does not know.
    """
    where = f"{listing.kind} {printable(str(listing.path))}"
    if like is None:
        # now, and not after an hour of decoding
        _classes(listing, {entry.label for entry in listing.entries}, where, listing.notes)
    converted = open_listing(listing, config, cache, progress, like, verify)
    catalogue, rows = converted.catalogue, converted.catalogue.usable
    names = [catalogue.labels[row] for row in rows]
    origin = Origin(catalogue, listing.skipped)
    told = (*listing.notes, *_left_out(listing, origin))
    classes = like.classes if like else _classes(listing, names, where, told)
    labels = _labels(names, classes, where, told)
    assigned = _assigned(catalogue, labels, config, where, trained=like is not None)

    def split(chosen: np.ndarray) -> Split:
        there = rows[chosen]
        images = Stored(converted.images, catalogue.digests, catalogue.sums, catalogue.squares, there)
        return Split(images, _read_only(labels[chosen]), [catalogue.names[row] for row in there])

    dataset = assemble(
        printable(listing.path.name or str(listing.path)),
        split(assigned.train),
        split(assigned.test),
        classes,
        where,
        validation=split(assigned.validation) if len(assigned.validation) else None,
        resize=converted.resize,
        notes=(*assigned.notes, *splits.missing(classes, assigned, labels)),
    )
    if not assigned.brought and trained_on not in (None, dataset.fingerprint):
        dataset = _as_test(dataset)
    # a network brings its size with it: nobody is to change that
    return replace(dataset, remarks=(*told, *(() if like else converted.notes)), origin=origin)


def _labels(names: Sequence[str], classes: Sequence[str], where: str, told: Sequence[str]) -> np.ndarray:
    """The place of each image's class among the classes."""
    index = {name: place for place, name in enumerate(classes)}
    if unknown := sorted(set(names) - set(index)):
        raise DataError(
            f"{where} has classes that the network does not know ({some(unknown)}): it knows {some(classes)}"
            f"{_clauses(told)}"
        )
    return np.array([index[name] for name in names], np.int64)


def _assigned(
    catalogue: Catalogue, labels: np.ndarray, config: DataConfig, where: str, trained: bool
) -> splits.Assignment:
    """The splits of all images that could be read; a network that is trained already needs no training images."""
    rows = catalogue.usable
    given, digests = [catalogue.splits[row] for row in rows], catalogue.digests[rows]
    shares = {"test": config.test_share, "validation": config.validation_share}
    try:
        assigned = splits.assign(given, labels, digests, shares, config.split_seed)
        for side, chosen in (("training", assigned.train), ("test", assigned.test)):
            if not len(chosen):
                raise DataError(f"it has too few images to set some aside: there would be no {side} images")
    except DataError as error:
        if trained:
            return _only_tested(catalogue)
        raise DataError(f"{where}: {error}") from None
    return assigned


def _only_tested(catalogue: Catalogue) -> splits.Assignment:
    """The test images, or all where there are none; they stand for the training images, too, which nobody asks for."""
    rows = np.arange(len(catalogue.usable))
    test = rows[[catalogue.splits[row] == "test" for row in catalogue.usable]]
    tested = test if len(test) else rows
    return splits.Assignment(tested, rows[:0], tested)


def _as_test(dataset: Dataset) -> Dataset:
    """The same images, all of them to test with."""
    parts = [split for split in (dataset.train, dataset.validation, dataset.test) if split is not None]
    rows = np.concatenate([part.images.rows for part in parts if isinstance(part.images, Stored)])
    labels = np.concatenate([part.labels for part in parts])
    names = [name for part in parts for name in part.names or ()]
    order = np.argsort(rows)
    assert isinstance(dataset.test.images, Stored)
    images = replace(dataset.test.images, rows=rows[order])
    whole = Split(images, _read_only(labels[order]), [names[place] for place in order])
    note = (
        f"The set has no splits, and is not the one that the network was trained on: all {len(whole):,} images are test"
        " images."
    )
    test = assemble(dataset.name, dataset.train, whole, dataset.classes, dataset.source, resize=dataset.resize)
    return replace(test, notes=(note,))


def _classes(listing: Listing, names: Iterable[str], where: str, told: Sequence[str]) -> tuple[str, ...]:
    """The classes by name: in the set's own order where it has one, else sorted."""
    classes = listing.classes or tuple(sorted(set(names)))
    if len(classes) < 2:
        raise DataError(
            f"{where} has one class only ({some(classes)}): there is nothing to tell it from{_clauses(told)}"
        )
    return classes


def _clauses(told: Sequence[str]) -> str:
    """What is known of the set, and may be why classes are wrong, to stand at the end of an error."""
    return "".join(f"; {note.rstrip('.')}" for note in told)


def _left_out(listing: Listing, origin: Origin) -> list[str]:
    """Sentences about what was left out, and was not hidden."""
    sentences = []
    if left := [skipped.name for skipped in origin.left_out if skipped.reason != HIDDEN]:
        call = f"flyweight data {printable(str(listing.path))}"
        sentences.append(f"Left out: {len(left):,} ({some(left, 3)}); `{call}` lists them with the reasons.")
    known = origin.catalogue
    if lost := sorted(set(known.labels) - {known.labels[row] for row in known.usable}):
        sentences.append(f"No image of {some(lost)} can be read.")
    return sentences


def _read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
