"""Images that stay on the disk are indexed as an array is."""

from pathlib import Path

import numpy as np
import pytest

from flyweight.data.dataset import Split, assemble, hold_out, pixel_statistics, subset
from flyweight.data.stored import Stored

ROWS = np.array([5, 2, 2, 9, 0, 7])


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    images = np.random.default_rng(0).integers(0, 256, (10, 6, 4, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    wide = images.reshape(10, -1, 3).astype(np.int64)
    digests = np.random.default_rng(1).integers(0, 256, (10, 16), dtype=np.uint8)
    array = np.load(tmp_path / "images.npy", mmap_mode="r")
    return Stored(array, digests, wide.sum(1), (wide**2).sum(1), ROWS)


@pytest.mark.parametrize(
    "key",
    [0, -1, slice(None), slice(1, 4), slice(None, None, -2), slice(9, 20), [3, 0, 3], np.array([], int),
     np.array([True, False] * 3), np.array([[0, 1], [2, 3]])],
)  # fmt: skip
def test_it_is_indexed_as_an_array_is(stored: Stored, key: object) -> None:
    wanted = np.array(stored.array)[ROWS][key]
    found = stored[key]
    assert isinstance(found, np.ndarray)
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    assert (found == wanted).all()


@pytest.mark.parametrize("key", [6, -7, [0, 6], np.array([True] * 5)])
def test_what_is_not_there_is_an_error(stored: Stored, key: object) -> None:
    with pytest.raises(IndexError):
        stored[key]


def test_it_says_what_it_is(stored: Stored) -> None:
    assert (stored.shape, stored.dtype, stored.size, len(stored)) == ((6, 6, 4, 3), np.uint8, 6 * 72, 6)
    assert (np.asarray(stored) == np.array(stored.array)[ROWS]).all()
    assert np.asarray(stored, np.float32).dtype == np.float32
    assert (np.concatenate([stored, stored]) == np.asarray(stored)[[*range(6), *range(6)]]).all()


def test_those_that_are_taken_are_read_from_the_same_file(stored: Stored) -> None:
    some = stored.take(np.array([4, 1, 1]))
    assert some.array is stored.array
    assert (np.asarray(some) == np.asarray(stored)[[4, 1, 1]]).all()
    assert len(stored.take(np.array([], int))) == 0


def test_statistics_are_those_of_the_pixels_to_the_bit(stored: Stored) -> None:
    assert pixel_statistics(stored) == pixel_statistics(np.asarray(stored))


def test_splits_of_it_copy_no_image(stored: Stored) -> None:
    labels = np.array([0, 1, 0, 1, 0, 1])
    names = [f"{number}.png" for number in range(6)]
    dataset = assemble("set", Split(stored, labels, names), Split(stored.take([0]), labels[:1], ["x"]), ("a", "b"), "")
    for part in (hold_out(dataset, 2), subset(dataset, 4, 1)):
        assert isinstance(part.train.images, Stored)
        assert part.train.images.array is stored.array
        assert part.train.names is not None
        for name, image, label in zip(part.train.names, part.train.images, part.train.labels, strict=True):
            place = names.index(name)
            assert (image == stored[place]).all()
            assert label == labels[place]


def test_another_order_is_another_experiment(stored: Stored) -> None:
    labels = np.zeros(6, int)
    marks = {
        assemble("", Split(images, labels), Split(stored, labels), ("a", "b"), "").fingerprint
        for images in (stored, stored.take([1, 0, 2, 3, 4, 5]))
    }
    assert len(marks) == 2
