"""Images in the arrays of one .npz file, as MedMNIST and Keras have them."""

from __future__ import annotations

import hashlib
import math
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from flyweight.data import labels
from flyweight.data.cache import HEADER_ERRORS
from flyweight.data.dataset import Progress
from flyweight.data.folder import SPLIT_FOLDERS
from flyweight.data.listing import Content, Entry, Listing
from flyweight.data.reader import Reader
from flyweight.errors import DataError
from flyweight.files import mark, reason, regular
from flyweight.recipes.sections import DataConfig
from flyweight.text import one_line, some

LAYOUTS = "an .npz file of train_images, train_labels and so on"
WHOLE = (("images", "labels"), ("data", "target"), ("x", "y"))
"""Names of the arrays of a set without splits: of the images and of their labels."""
CLASSES = ("classes", "class_names")
CHUNK = 2**20
"""Bytes of images that are read at a time."""
MOST_LABELS = 2**28
"""Bytes of an array of labels: these are read as a whole."""
KIND = "npz file"


class _Array(NamedTuple):
    """An array in the file, by its header.

    Attributes:
        member: its name in the file.
        shape: of the array.
        dtype: of its numbers.
        columns_first: whether it is in Fortran's order.
    """

    member: str
    shape: tuple[int, ...]
    dtype: np.dtype
    columns_first: bool

    def __str__(self) -> str:
        return f"{self.member.removesuffix('.npy')} ({'x'.join(map(str, self.shape)) or 'a number'} {self.dtype})"


def listing(path: Path, config: DataConfig, progress: Progress) -> Listing:
    """List the images in a file; its labels are read, its images are not. Nothing in it is unpickled.

    Raises:
        DataError: it is damaged, or holds no arrays of images and their labels.
    """
    where = f"{KIND} {path}"
    with _opened(path) as archive:
        arrays = _headers(archive)
        pairs, notes = _pairs(arrays, where)
        for images, targets in pairs.values():
            _check(images, targets, where)
        values = {split: _values(archive, targets, where) for split, (_, targets) in pairs.items()}
        given = _class_names(archive, arrays, where)
    names, classes = _named(values, given, where)
    entries = [
        Entry(f"{split} image {number}".strip(), split, name)
        for split, found in names.items()
        for number, name in enumerate(found)
    ]

    def contents() -> Iterator[Content]:
        for images, _ in pairs.values():
            yield from _images(path, images)

    status = path.stat()
    stamp = hashlib.sha256(f"{KIND}\0{path.name}\0{mark(status)}".encode()).hexdigest()
    return Listing(KIND, path, entries, contents, stamp, classes=classes, notes=notes)


def recognises(path: Path) -> bool:
    """Whether it is a file of this name."""
    return path.is_file() and path.name.lower().endswith(".npz")


def _headers(archive: zipfile.ZipFile) -> dict[str, _Array]:
    """The arrays in a file by their names in small letters."""
    found = {}
    for member in archive.namelist():
        if member.endswith(".npy"):
            with archive.open(member) as stream:
                found[member.removesuffix(".npy").lower()] = _Array(member, *_header(stream))
    return found


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype, bool]:
    """Shape, type and order of an array, whose numbers come next in the stream."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, columns_first, dtype = read(stream)
    except HEADER_ERRORS as error:
        raise ValueError(f"the head of an array in it is damaged: {one_line(error, 80)}") from None
    return shape, dtype, columns_first


def _pairs(arrays: Mapping[str, _Array], where: str) -> tuple[dict[str, tuple[_Array, _Array]], tuple[str, ...]]:
    """The images and labels of each split; of a set without splits those of the empty one."""
    pairs: dict[str, tuple[_Array, _Array]] = {}
    alone = []
    for word, split in SPLIT_FOLDERS.items():
        for image, label in ((f"{word}_images", f"{word}_labels"), (f"x_{word}", f"y_{word}")):
            if image in arrays and label in arrays and split not in pairs:
                pairs[split] = arrays[image], arrays[label]
            elif image in arrays:
                alone.append(image)
    if not pairs:
        whole = next((pair for pair in WHOLE if arrays.keys() >= set(pair)), None)
        pairs = {} if whole is None else {"": (arrays[whole[0]], arrays[whole[1]])}
    if not pairs:
        raise DataError(
            f"{where}: expected train_images and train_labels, x_train and y_train, or images and labels; it holds"
            f" {some([str(array) for array in arrays.values()], 8) or 'no arrays'}"
        )
    notes = (f"Images without labels of their own were left out: {some(alone)}.",) if alone else ()
    return pairs, notes


def _check(images: _Array, targets: _Array, where: str) -> None:
    """Raise DataError unless they are images and a label for each."""
    channels = images.shape[3:] or (1,)
    if images.dtype != np.uint8:
        scale = "; multiply by 255 what is in 0 to 1" if images.dtype.kind == "f" else ""
        raise DataError(f"{where}: {images} must be uint8, 0 to 255: save images.astype('uint8'){scale}")
    if len(images.shape) not in (3, 4) or channels not in ((1,), (3,), (4,)) or not all(images.shape[1:]):
        first = " and channels come last" if len(images.shape) == 4 and images.shape[1] in (1, 3, 4) else ""
        raise DataError(f"{where}: {images} must be images x height x width, or x 3 for colours{first}")
    if images.columns_first:
        raise DataError(f"{where}: {images} is in Fortran's order: save numpy.ascontiguousarray(images)")
    count = targets.shape[0] if targets.shape else 0
    if len(targets.shape) > 2 or math.prod(targets.shape[1:]) != 1:
        raise DataError(
            f"{where}: {targets} must be one label an image. Several classes an image are not for a classifier of one;"
            " a column a class becomes a number with labels.argmax(1)"
        )
    if count != images.shape[0]:
        raise DataError(f"{where}: {images} and {targets} differ in their number")
    if targets.dtype.kind not in "iubUS":
        raise DataError(f"{where}: {targets} must be whole numbers or text")


def _values(archive: zipfile.ZipFile, array: _Array, where: str) -> np.ndarray:
    """A small array: (N,)."""
    size = array.dtype.itemsize * math.prod(array.shape)
    if size > MOST_LABELS:
        raise DataError(f"{where}: {array} is too large to be labels")
    with archive.open(array.member) as stream:
        _header(stream)
        raw = stream.read(size + 1)
    if len(raw) != size:
        raise ValueError(f"{array.member} is cut off")
    return np.frombuffer(raw, array.dtype).reshape(-1)


def _class_names(archive: zipfile.ZipFile, arrays: Mapping[str, _Array], where: str) -> tuple[str, ...]:
    for name in CLASSES:
        array = arrays.get(name)
        if array is not None and array.dtype.kind in "US" and len(array.shape) == 1:
            return labels.distinct(_texts(_values(archive, array, where)))
    return ()


def _named(
    values: Mapping[str, np.ndarray], given: tuple[str, ...], where: str
) -> tuple[dict[str, list[str]], tuple[str, ...] | None]:
    """The name of each label of each split, and the classes in their order; none: they are sorted by name.

    Args:
        values: labels of each split.
        given: names of classes, in the order of their numbers; empty: there are none.
        where: for a message.
    """
    kinds = {"text" if found.dtype.kind in "US" else "numbers" for found in values.values()}
    if kinds == {"text"}:
        return {split: _texts(found) for split, found in values.items()}, None
    if len(kinds) > 1:
        raise DataError(f"{where}: the labels of some splits are numbers, those of others text")
    numbers = {split: [int(value) for value in found.tolist()] for split, found in values.items()}
    seen = {number for found in numbers.values() for number in found}
    if not given:
        return {split: [str(number) for number in found] for split, found in numbers.items()}, labels.of_numbers(seen)
    if seen and not 0 <= min(seen) <= max(seen) < len(given):
        raise DataError(
            f"{where}: its labels are {min(seen)} to {max(seen)}, but it has {len(given)} names of classes, for 0 to"
            f" {len(given) - 1}"
        )
    return {split: [given[number] for number in found] for split, found in numbers.items()}, given


def _texts(values: np.ndarray) -> list[str]:
    texts = (value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values.tolist())
    return [unicodedata.normalize("NFC", text) for text in texts]


def _images(path: Path, array: _Array) -> Iterator[np.ndarray]:
    """The images of an array one by one, a few of them in memory at a time."""
    shape = array.shape[1:]
    size = math.prod(shape)
    at_once = max(1, CHUNK // size)
    with _opened(path) as archive, archive.open(array.member) as stream:
        if _header(stream) != array[1:]:
            raise DataError(f"{path} has changed while it was read: start again")
        for start in range(0, array.shape[0], at_once):
            count = min(at_once, array.shape[0] - start)
            raw = stream.read(count * size)
            if len(raw) != count * size:
                raise ValueError(f"{array.member} is cut off")
            yield from np.frombuffer(raw, np.uint8).reshape(count, *shape)
        stream.read(1)  # at its end its checksum is looked at


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """An .npz file; whatever is wrong with it becomes one line.

    Raises:
        DataError: it cannot be read.
    """
    try:
        regular(path)
        with zipfile.ZipFile(path) as archive:
            yield archive
    # RuntimeError: it is encrypted, or compressed as nobody does
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        why = reason(error) if isinstance(error, OSError) else one_line(error)
        raise DataError(f"{path} cannot be read as an .npz file ({why}); get it again") from None


READER = Reader(
    name="npz",
    label="arrays of images",
    help="images in the arrays of an .npz file, as MedMNIST has them",
    listing=listing,
    layouts=LAYOUTS,
    recognises=recognises,
)
