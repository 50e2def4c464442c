"""The offline stand-in."""

from pathlib import Path

import numpy as np
import pytest
from cifar10_sets import as_counter, only_folder

from flyweight import data
from flyweight.data import digits

pytestmark = pytest.mark.usefixtures("own_places")


@pytest.fixture(scope="module")
def digits_set() -> data.Dataset:
    return digits.make()


def test_digits_need_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", None)
    dataset = data.load("digits")
    assert (dataset.name, dataset.spec.shape, dataset.classes) == ("digits", (3, 32, 32), tuple("0123456789"))
    assert (len(dataset.train), len(dataset.test)) == (1437, 360)
    assert np.bincount(dataset.test.labels).min() >= 34
    assert not as_counter(dataset.train) & as_counter(dataset.test)
    assert isinstance(dataset.train.images, np.memmap)
    assert (dataset.train.images.min(), dataset.train.images.max()) == (0, 255)
    assert (dataset.train.images[..., 0] == dataset.train.images[..., 2]).all()
    assert only_folder(tmp_path / "cache").name == "digits-1"


def test_digits_look_like_the_originals(digits_set: data.Dataset) -> None:
    from sklearn.datasets import load_digits

    originals = load_digits()
    small = digits_set.train.images[..., 0].reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4)) / 255 * 16
    apart = [np.abs(small - image).mean(axis=(1, 2)) for image in originals.images[:50]]
    near = [int(np.argmin(distance)) for distance in apart if distance.min() < 0.9]
    assert len(near) >= 30  # the others went to the test side
    kept = [index for index, distance in enumerate(apart) if distance.min() < 0.9]
    assert digits_set.train.labels[near].tolist() == originals.target[kept].tolist()
