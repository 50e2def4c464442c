"""What `load` returns, and the splits that are made of it. All arrays are read-only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from flyweight.data.stored import Images, Stored
from flyweight.errors import DataError, FlyweightError
from flyweight.images.spec import Preprocessing, Resize, Spec

if TYPE_CHECKING:
    from flyweight.data.catalogue import Origin  # what it imports decodes images, and a start can do without

Progress = Callable[[str, int, int | None], None]
"""Called as progress(what, done, total); total is None where it is not known."""


def silent(what: str, done: int, total: int | None) -> None:
    """A progress that nobody is told of."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels.

    Attributes:
        images: (N, H, W, C) uint8, C-contiguous and read-only; memory-mapped as `load` returns it, in a set of any
            images addressed one by one. One channel is grey, three are RGB.
        labels: (N,) int64, an index into the data set's classes.
        names: what each image is called, for people: its file, below the data set's folder; none: they have no names.
    """

    images: Images
    labels: np.ndarray
    names: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Its splits, with what is needed to use and to identify them.

    Attributes:
        name: what it is called in messages and records; no program reads a meaning out of it.
        train: the training split.
        test: the test split; after `hold_out` images held out of the training split, see there.
        classes: the name of each label.
        mean: mean of the training pixels, a channel, in 0..1.
        std: population standard deviation of the training pixels, a channel, in 0..1; 1 for a channel that never
            varies, for it is divided by.
        fingerprint: SHA-256 over the images, labels and classes of both splits, in their order.
        source: where it came from, for a person.
        notes: sentences for a person that must be read before any figure: why figures on these images are not those
            of the data set that a reader would think of. Empty where there is nothing of that kind.
        held_out: how many training images `hold_out` put in place of the test split; 0: it is the test split.
        validation: images to watch a training by; none: it is watched by `test`.
        resize: what became of other proportions than those of the images here.
        remarks: sentences about choices that were made for the user, and about files that were left out.
        origin: the files that the images came from; none: they are always the same and have none.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str
    source: str
    notes: tuple[str, ...] = ()
    held_out: int = 0
    validation: Split | None = None
    resize: Resize = "crop"
    remarks: tuple[str, ...] = ()
    origin: Origin | None = None

    @property
    def spec(self) -> Spec:
        """What everything after the data needs to know of it."""
        _, height, width, channels = self.train.images.shape
        return Spec(self.classes, channels, height, width, Preprocessing(self.mean, self.std, self.resize))

    @property
    def tested(self) -> str:
        """What the images of `test` are, before the word images: "test" or "held-out"."""
        return "held-out" if self.held_out else "test"

    @property
    def watched(self) -> tuple[str, Split]:
        """What the network is tested on after each epoch, with its name before the word images."""
        return (self.tested, self.test) if self.validation is None else ("validation", self.validation)


def fingerprint(train: Split, test: Split, classes: tuple[str, ...], validation: Split | None = None) -> str:
    """SHA-256 over the splits and the class names, as 64 hexadecimal digits. About 0.1 s for CIFAR-10.

    It covers every byte, the shapes and the order: training draws images by index, so that another order is
    another experiment. Of stored images it covers the digests, so that no image is read for it.
    """
    digest = hashlib.sha256("\0".join(classes).encode())
    for split in (train, test) if validation is None else (train, test, validation):
        for array in (split.images, split.labels):
            digest.update(f"|{array.dtype.str}{array.shape}".encode())
            bytes_ = array.digests[array.rows] if isinstance(array, Stored) else array
            digest.update(np.ascontiguousarray(bytes_).data)
    return digest.hexdigest()


def joined(parts: Sequence[Split]) -> Split:
    """One split of many, in their order; of no parts a split of no images."""
    if not parts:
        return Split(np.empty((0, 0, 0, 0), np.uint8), np.empty(0, np.int64))
    return Split(np.concatenate([part.images for part in parts]), np.concatenate([part.labels for part in parts]))


def in_canonical_order(split: Split) -> Split:
    """Sort the images by a hash of their pixels and label.

    The layouts of a data set may keep the same images in different orders. Sorted, they give the same arrays, so that
    a seed gives the same network wherever the data came from. The price: an index is not one of the official batches.
    """
    keys = [
        # as few bytes as the label needs: the order of CIFAR-10, and with it its fingerprint, hangs on there being one
        hashlib.sha256(image.tobytes() + label.to_bytes(max(1, (label.bit_length() + 7) // 8), "little")).digest()
        for image, label in zip(np.asarray(split.images), split.labels.tolist(), strict=True)
    ]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return Split(split.images[order], split.labels[order])


def pixel_statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and population standard deviation of each channel, in 0..1, of (N, H, W, C) uint8 images.

    Computed from integer histograms, so that the result is the same to the bit on every machine. The deviation of a
    channel that never varies is given as 1, for pixels are divided by it.

    Raises:
        DataError: there are no pixels.
    """
    if images.size == 0:
        raise DataError("there are no training images: their mean and standard deviation cannot be computed")
    total, sums, squares = images.moments() if isinstance(images, Stored) else _moments(images)
    mean = [int(s) / total for s in sums]
    std = [(total * int(q) - int(s) ** 2) ** 0.5 / total for s, q in zip(sums, squares, strict=True)]
    return tuple(m / 255 for m in mean), tuple(s / 255 or 1.0 for s in std)


def _moments(images: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """(pixels, their sum a channel, the sum of their squares a channel), whole numbers."""
    _, height, width, channels = images.shape
    counts = np.zeros((channels, 256), np.int64)
    # bincount widens to int64: about two million pixels at a time keep memory small
    step = max(1, 2**21 // (height * width))
    for start in range(0, len(images), step):
        pixels = images[start : start + step].reshape(-1, channels)
        for channel in range(channels):
            counts[channel] += np.bincount(pixels[:, channel], minlength=256)
    values = np.arange(256)
    return int(counts[0].sum()), counts @ values, counts @ values**2


def stratified(labels: np.ndarray, count: int, seed: int = 0, leave_one: bool = False) -> np.ndarray:
    """Choose `count` indices with the classes in the proportions of `labels`; sorted, the same for the same seed.

    Where the shares are not whole numbers the largest remainders get one more. With `leave_one` the last one of a class
    is chosen only where there is no other: large classes give more than their share so that a tiny one keeps it.
    """
    # the stream of RandomState is frozen for good, that of default_rng may change with a version of numpy
    random = np.random.RandomState(seed)
    classes, sizes = np.unique(labels, return_counts=True)
    shares = sizes * count / len(labels)
    takes = np.floor(shares).astype(int)
    order = np.argsort(takes - shares, kind="stable")
    spare = sizes - leave_one
    while (missing := count - takes.sum()) > 0:
        if (takes >= spare).all():
            spare = sizes
        takes[[index for index in order if takes[index] < spare[index]][:missing]] += 1
    chosen = [
        random.permutation(np.flatnonzero(labels == label))[:take] for label, take in zip(classes, takes, strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def stratified_part(split: Split, count: int, seed: int = 0) -> Split:
    """`count` images of a split, with the classes in its proportions and in its order; the same for the same seed."""
    return _take(split, stratified(split.labels, count, seed))


def hold_out(dataset: Dataset, count: int, seed: int = 0) -> Dataset:
    """Take a stratified `count` of training images away from `train`; they become `test`.

    For choices that must not see the official test images: those cannot be reached from the result. Mean, standard
    deviation and fingerprint are computed anew. The images are copied into memory (150 MB for CIFAR-10). Each class
    keeps a training image if that can be.

    Raises:
        FlyweightError: `count` leaves no image on one of the sides.
    """
    size = len(dataset.train)
    if not 0 < count < size:
        raise FlyweightError(f"cannot hold out {count} of {size} training images: choose 1 to {size - 1}")
    held = stratified(dataset.train.labels, count, seed, leave_one=True)
    rest = np.setdiff1d(np.arange(size), held, assume_unique=True)
    held_out = assemble(
        name=f"{dataset.name}-holdout{count}",
        train=_take(dataset.train, rest),
        test=_take(dataset.train, held),
        classes=dataset.classes,
        source=f"{dataset.source}; {count} training images (seed {seed}) in place of the test set",
        resize=dataset.resize,
    )
    note = f"Not the test set: accuracy is of {count:,} images held out of the training set, to choose by."
    return replace(
        held_out, notes=(*dataset.notes, note), held_out=count, remarks=dataset.remarks, origin=dataset.origin
    )


def subset(dataset: Dataset, train: int, test: int, seed: int = 0) -> Dataset:
    """Return a stratified slice of both splits, for tests and quick tries.

    Raises:
        FlyweightError: more images are asked for than there are, or none.
    """
    for side, count, split in (("training", train, dataset.train), ("test", test, dataset.test)):
        if not 0 < count <= len(split):
            raise FlyweightError(f"cannot take {count} of {len(split)} {side} images: choose 1 to {len(split)}")
    part = assemble(
        name=f"{dataset.name}-subset{train}+{test}",
        train=stratified_part(dataset.train, train, seed),
        test=stratified_part(dataset.test, test, seed),
        classes=dataset.classes,
        source=f"{dataset.source}; {train} training and {test} test images (seed {seed})",
        validation=dataset.validation,
        resize=dataset.resize,
    )
    note = (
        f"Only a part of the data: {train:,} training and {test:,} {dataset.tested} images."
        " The figures are not those of the whole data set."
    )
    return replace(
        part, notes=(*dataset.notes, note), held_out=dataset.held_out, remarks=dataset.remarks, origin=dataset.origin
    )


def assemble(
    name: str,
    train: Split,
    test: Split,
    classes: tuple[str, ...],
    source: str,
    *,
    validation: Split | None = None,
    resize: Resize = "crop",
    notes: tuple[str, ...] = (),
) -> Dataset:
    """Make a data set of its splits: computes mean, standard deviation and fingerprint (0.4 s for CIFAR-10)."""
    mean, std = pixel_statistics(train.images)
    marks = fingerprint(train, test, classes, validation)
    return Dataset(name, train, test, classes, mean, std, marks, source, notes, validation=validation, resize=resize)


def _take(split: Split, indices: np.ndarray) -> Split:
    names = None if split.names is None else [split.names[index] for index in indices]
    labels = np.array(split.labels[indices])
    labels.setflags(write=False)
    if isinstance(split.images, Stored):
        return Split(split.images.take(indices), labels, names)
    images = np.array(split.images[indices])
    images.setflags(write=False)
    return Split(images, labels, names)
