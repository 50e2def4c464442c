"""Every layout of CIFAR-10 gives the same arrays."""

from pathlib import Path

import numpy as np
import pytest
from cifar10_sets import LAYOUTS, as_counter, few_images, take_for_cifar10, write_binary

from flyweight import data
from flyweight.data.cifar10 import SPEC, formats
from flyweight.data.dataset import Split

pytestmark = pytest.mark.usefixtures("own_places")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_arrays(layout: str, tmp_path: Path) -> None:
    train, test = few_images()
    reference = data.load(path=write_binary(tmp_path / "reference", train, test))
    dataset = data.load(path=LAYOUTS[layout](tmp_path / "set", train, test), cache=tmp_path / "other cache")
    assert as_counter(dataset.train) == as_counter(train)
    assert as_counter(dataset.test) == as_counter(test)
    assert np.array_equal(dataset.train.images, reference.train.images)
    assert dataset.fingerprint == reference.fingerprint
    assert dataset.classes == formats.CLASSES
    assert (dataset.spec.shape, dataset.name) == ((3, 32, 32), "cifar10-modified")
    assert str(tmp_path / "set") in dataset.source


def test_arrays_are_mapped_read_only_and_typed(tmp_path: Path) -> None:
    dataset = data.load(path=write_binary(tmp_path / "set", *few_images()))
    for split, count in ((dataset.train, 100), (dataset.test, 20)):
        assert isinstance(split.images, np.memmap)
        assert split.images.flags.c_contiguous
        assert not split.images.flags.writeable
        assert (split.images.shape, split.images.dtype) == ((count, 32, 32, 3), np.uint8)
        assert (split.labels.shape, split.labels.dtype, len(split)) == ((count,), np.int64, count)


def test_fingerprint_depends_on_each_part(tmp_path: Path) -> None:
    train, test = few_images()
    changed = train.images.copy()
    changed[7, 5, 5, 1] ^= 1
    sets = [(train, test), (Split(changed, train.labels), test), (train, Split(test.images, (test.labels + 1) % 10))]
    found = {data.load(path=write_binary(tmp_path / str(n), *splits)).fingerprint for n, splits in enumerate(sets)}
    assert len(found) == 3


def test_name_says_whether_it_is_cifar10_to_the_last_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = few_images()
    take_for_cifar10(monkeypatch, train, test)
    changed, swapped = train.images.copy(), train.labels.copy()
    changed[7, 5, 5, 1] ^= 1
    swapped[[0, 1]] = swapped[[1, 0]]
    sets = {
        "full": (train, None),
        "part": (few_images(train=95)[0], "it has 95 training images, not 100"),
        "uneven": (Split(train.images, np.maximum(train.labels, 1)), "its classes do not have 10 training images each"),
        "pixel": (Split(changed, train.labels), "some of its images or labels were changed"),
        "label": (Split(train.images, swapped), "some of its images or labels were changed"),
    }
    for name, (split, reason) in sets.items():
        dataset = data.load(path=write_binary(tmp_path / name, split, test))
        assert dataset.name == ("cifar10" if reason is None else "cifar10-modified")
        assert (formats.difference(dataset) or "").endswith(reason or "")
        assert dataset.notes == (
            () if reason is None else (f"These are not the 50,000 and 10,000 images of CIFAR-10: {reason}.",)
        )
        assert data.load(path=tmp_path / name).notes == dataset.notes  # from the cache's arrays, too


@pytest.mark.cifar10
def test_the_real_cifar10() -> None:
    try:
        dataset = data.load(download=False)
    except data.NoDataError as error:
        pytest.skip(str(error))
    assert (dataset.name, dataset.notes) == ("cifar10", ())
    assert dataset.spec == SPEC
    assert np.bincount(dataset.train.labels).tolist() == [5000] * 10
    assert np.bincount(dataset.test.labels).tolist() == [1000] * 10
    assert dataset.mean == pytest.approx((0.49139968, 0.48215841, 0.44653091), abs=1e-8)
    assert dataset.std == pytest.approx((0.24703223, 0.24348513, 0.26158784), abs=1e-8)
    # the same from every layout; another value means another order, and other weights from the same seed
    assert dataset.fingerprint == formats.FINGERPRINT
    assert formats.FINGERPRINT == "e0c005fd08826e1308f2ebb69281a9e628826c536b163a96a57f3bc7848cc598"
    held = data.hold_out(dataset, 5000)
    assert np.bincount(held.train.labels).tolist() == [4500] * 10
    assert np.bincount(held.test.labels).tolist() == [500] * 10
