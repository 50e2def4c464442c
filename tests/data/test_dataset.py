"""Statistics and splits."""

import hashlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from cifar10_sets import as_counter, few_images
from hypothesis import given
from hypothesis import strategies as st

from flyweight import data
from flyweight.data import digits
from flyweight.data.dataset import Split, in_canonical_order, joined, pixel_statistics, stratified
from flyweight.errors import DataError, FlyweightError


def test_statistics_are_those_of_numpy() -> None:
    images = few_images(seed=3)[0].images
    mean, std = pixel_statistics(images)
    assert mean == pytest.approx((images / 255).mean(axis=(0, 1, 2)), abs=1e-12)
    assert std == pytest.approx((images / 255).std(axis=(0, 1, 2)), abs=1e-12)


def test_statistics_are_of_any_number_of_channels_and_of_large_images() -> None:
    for shape in ((9, 28, 28, 1), (3, 1500, 1400, 3), (4, 5, 7, 6)):
        images = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
        mean, std = pixel_statistics(images)
        assert mean == pytest.approx((images / 255).mean(axis=(0, 1, 2)), abs=1e-9)
        assert std == pytest.approx((images / 255).std(axis=(0, 1, 2)), abs=1e-9)


def test_a_channel_that_never_varies_can_be_divided_by() -> None:
    images = np.zeros((4, 8, 8, 3), np.uint8)
    images[..., 0] = 255
    images[:2, ..., 1] = 255
    assert pixel_statistics(images) == ((1.0, 0.5, 0.0), (1.0, 0.5, 1.0))


def test_no_images_have_no_statistics() -> None:
    with pytest.raises(DataError, match="no training images"):
        pixel_statistics(joined([]).images)
    assert len(joined([])) == 0


def test_the_order_of_cifar10_hangs_on_one_byte_a_label() -> None:
    """Labels above 255 need a second byte; those below keep the one that CIFAR-10's fingerprint was made with."""
    images = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 1), np.uint8)
    labels = np.arange(40) % 10
    keys = [
        hashlib.sha256(image.tobytes() + bytes([label])).digest()
        for image, label in zip(images, labels.tolist(), strict=True)
    ]
    expected = sorted(range(40), key=keys.__getitem__)
    ordered = in_canonical_order(Split(images, labels))
    assert np.array_equal(ordered.images, images[expected])
    large = in_canonical_order(Split(images, labels + 250))
    shuffled = np.random.default_rng(1).permutation(40)
    again = in_canonical_order(Split(images[shuffled], labels[shuffled] + 250))
    assert np.array_equal(large.images, again.images)
    assert np.array_equal(large.labels, again.labels)


def test_a_tiny_class_keeps_its_last_training_image() -> None:
    labels = np.array([0] + [1] * 2 + [2] * 97)
    for count in (60, 70, 90, 97):
        chosen = stratified(labels, count, leave_one=True)
        assert len(set(chosen.tolist())) == count
        assert set(np.delete(labels, chosen).tolist()) == {0, 1, 2}
        # a part of the data would rather have it
        assert 0 in labels[stratified(labels, count)]
    # more than can be spared: three classes cannot each keep one of two images
    assert len(stratified(labels, 98, leave_one=True)) == 98


@given(st.lists(st.integers(0, 4), min_size=2, max_size=60), st.data(), st.integers(0, 2**32 - 1))
def test_stratified_keeps_the_proportions(labels: list[int], draw: st.DataObject, seed: int) -> None:
    count = draw.draw(st.integers(1, len(labels)))
    chosen = stratified(np.array(labels), count, seed)
    assert len(chosen) == len(set(chosen.tolist())) == count
    for label, size in Counter(labels).items():
        taken = sum(labels[index] == label for index in chosen)
        assert abs(taken - size * count / len(labels)) < 1


@pytest.fixture(scope="module")
def digits_set() -> data.Dataset:
    return digits.make()


def test_hold_out_is_stratified_disjoint_and_repeatable(digits_set: data.Dataset) -> None:
    held = data.hold_out(digits_set, 300, seed=4)
    assert (len(held.train), len(held.test)) == (1137, 300)
    assert as_counter(held.train) + as_counter(held.test) == as_counter(digits_set.train)
    shares = np.bincount(digits_set.train.labels) * 300 / 1437
    assert np.abs(np.bincount(held.test.labels) - shares).max() < 1
    assert not as_counter(held.test) & as_counter(digits_set.test)  # the official test images are out of reach
    assert held.fingerprint == data.hold_out(digits_set, 300, seed=4).fingerprint
    assert held.fingerprint != data.hold_out(digits_set, 300, seed=5).fingerprint
    assert held.name == "digits-holdout300"
    assert held.notes == ("Not the test set: accuracy is of 300 images held out of the training set, to choose by.",)
    assert (held.held_out, held.tested, digits_set.tested) == (300, "held-out", "test")
    assert "300 training images (seed 4) in place of the test set" in held.source
    assert held.mean == pytest.approx((held.train.images / 255).mean(axis=(0, 1, 2)))
    assert not held.train.images.flags.writeable


def test_images_keep_their_names_in_every_split_that_is_made_of_theirs(digits_set: data.Dataset) -> None:
    names = [f"train/{index}.png" for index in range(1437)]
    named = replace(digits_set, train=replace(digits_set.train, names=names))
    held = data.hold_out(named, 300)
    for split in (held.train, held.test, data.subset(held, 50, 50).test):
        assert split.names is not None
        assert len(split.names) == len(split)
        for image, name in zip(split.images, split.names, strict=True):
            assert np.array_equal(image, digits_set.train.images[names.index(name)])
    assert held.fingerprint == data.hold_out(digits_set, 300).fingerprint  # a name is no image
    assert data.subset(named, 50, 50).test.names is None


def test_a_split_is_the_same_on_every_machine() -> None:
    assert stratified(np.arange(20) % 4, 6, seed=1).tolist() == [1, 4, 8, 9, 10, 15]


@pytest.mark.parametrize("count", [0, -1, 1437, 5000])
def test_hold_out_leaves_something_on_both_sides(count: int, digits_set: data.Dataset) -> None:
    with pytest.raises(FlyweightError, match="choose 1 to 1436"):
        data.hold_out(digits_set, count)


def test_subset_is_stratified_and_repeatable(digits_set: data.Dataset) -> None:
    small = data.subset(digits_set, 100, 50)
    assert (len(small.train), len(small.test), small.name) == (100, 50, "digits-subset100+50")
    assert small.notes[0].startswith("Only a part of the data: 100 training and 50 test images.")
    assert np.bincount(small.train.labels).min() >= 9
    assert not as_counter(small.train) - as_counter(digits_set.train)
    assert not as_counter(small.test) - as_counter(digits_set.test)
    assert small.fingerprint == data.subset(digits_set, 100, 50).fingerprint
    with pytest.raises(FlyweightError, match="cannot take 361 of 360 test images"):
        data.subset(digits_set, 100, 361)
