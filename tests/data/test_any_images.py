"""Data sets of any classes, channels and sizes go the whole way through the rooms of data and images."""

from pathlib import Path

import numpy as np
import pytest
from conftest import synthetic

from flyweight import data
from flyweight.data import cache
from flyweight.images.augment import Augmenter
from flyweight.images.damage import damaged, damages
from flyweight.recipes.sections import AugmentConfig

SETS = {
    "3 classes of 1x28x28": lambda: synthetic(3, 1, 28, 28),
    "300 classes of 3x64x48": lambda: synthetic(300, 3, 64, 48, train=600, test=300),
    "2 classes of 3x32x32": lambda: synthetic(2, 3, 32, 32),
}


@pytest.fixture(scope="module", params=SETS)
def dataset(request: pytest.FixtureRequest) -> data.Dataset:
    return SETS[request.param]()


def test_its_spec_is_its_own(dataset: data.Dataset) -> None:
    count, height, width, channels = dataset.train.images.shape
    assert dataset.spec.shape == (channels, height, width)
    assert dataset.spec.classes == dataset.classes
    assert len(dataset.mean) == len(dataset.std) == channels
    assert np.unique(dataset.train.labels).size == len(dataset.classes)
    assert count == len(dataset.train)


def test_the_cache_gives_it_back(dataset: data.Dataset, tmp_path: Path) -> None:
    def silent(what: str, done: int, total: int | None) -> None:
        pass

    for _ in range(2):
        again = cache.cached(tmp_path, "set", lambda: dataset, silent)
        assert {**vars(again), "train": 0, "test": 0} == {**vars(dataset), "train": 0, "test": 0}
        assert np.array_equal(again.train.images, dataset.train.images)
        assert np.array_equal(again.test.labels, dataset.test.labels)


def test_it_can_be_split(dataset: data.Dataset) -> None:
    classes = len(dataset.classes)
    held = data.hold_out(dataset, len(dataset.train) // 4)
    assert len(held.train) + len(held.test) == len(dataset.train)
    assert np.unique(held.train.labels).size == classes
    small = data.subset(held, len(held.train) // 2, len(held.test) // 2)
    assert small.spec.shape == dataset.spec.shape
    assert (small.tested, len(small.notes)) == ("held-out", 2)
    assert f"{len(held.test) // 2} held-out images" in small.notes[1]


def test_it_is_augmented_as_albumentations_does(dataset: data.Dataset) -> None:
    config = AugmentConfig(shift_scale_rotate=0.8, cutout=0.8)
    augmenter = Augmenter(config, dataset.mean)
    images = dataset.train.images[:200]
    result = augmenter(images, range(len(images)), 0)
    assert np.array_equal(result, augmenter.by_albumentations(images, range(len(images)), 0))
    assert result.shape == images.shape


def test_its_images_are_damaged_in_their_own_shape(dataset: data.Dataset) -> None:
    images = dataset.test.images[:4]
    for damage in damages(*dataset.spec.shape[1:]):
        result = damaged(images, damage)
        assert (result.shape, result.dtype) == (images.shape, np.uint8)
        assert (result != images).any()
