"""What is set aside: a share of each class, by content, the same for good."""

import numpy as np
import pytest

from flyweight.data import splits
from flyweight.errors import DataError


def drawn(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 16), dtype=np.uint8)


def aside(labels: list[int] | np.ndarray, digests: np.ndarray, share: float = 0.2, seed: int = 0) -> np.ndarray:
    return splits.set_aside(np.asarray(labels), digests, share, seed)


def test_it_is_the_same_share_of_each_class() -> None:
    labels = np.repeat([0, 1, 2], [1000, 50, 3])
    chosen = aside(labels, drawn(len(labels)))
    assert np.bincount(labels, weights=chosen).tolist() == [200, 10, 1]


def test_no_share_is_so_small_or_large_that_a_side_has_nothing() -> None:
    for share in (0.001, 0.999):
        chosen = aside([0, 0, 1, 1, 2], drawn(5), share)
        assert chosen[:2].sum() == chosen[2:4].sum() == 1
        assert not chosen[4]


def test_equal_images_are_on_one_side_whatever_they_are_called() -> None:
    digests = drawn(300)[np.random.default_rng(1).integers(0, 300, 900)]
    labels = np.random.default_rng(2).integers(0, 3, 900)
    chosen = aside(labels, digests)
    sides = [{row.tobytes() for row in digests[side]} for side in (chosen, ~chosen)]
    assert not sides[0] & sides[1]
    assert 0.1 < chosen.mean() < 0.3


def test_a_seed_chooses_and_nothing_else() -> None:
    labels, digests = np.repeat([0, 1], 500), drawn(1000)
    first = aside(labels, digests)
    assert (aside(labels, digests) == first).all()
    order = np.random.default_rng(3).permutation(1000)
    assert (aside(labels[order], digests[order]) == first[order]).all()
    # another seed has about as many in common as chance has
    for seed in (1, 2**63):
        assert (aside(labels, digests, seed=seed) & first).sum() == pytest.approx(40, abs=25)


def test_images_stay_where_they_are_when_others_come() -> None:
    labels, digests = np.repeat([0, 1], 500), drawn(1100)
    before = aside(labels, digests[:1000])
    # a class more changes nothing, and some images more of a class hardly anything
    assert (aside(np.r_[labels, np.full(100, 2)], digests)[:1000] == before).all()
    more = aside(np.r_[labels, np.zeros(10, int)], digests[:1010])[:1000]
    assert (more != before).sum() <= 5


def test_the_choice_does_not_follow_the_digests_order() -> None:
    digests = np.sort(drawn(1000).view("V16").reshape(-1)).view(np.uint8).reshape(-1, 16)
    places = np.flatnonzero(aside(np.zeros(1000, int), digests))
    assert places.mean() == pytest.approx(500, abs=100)


def test_it_is_the_same_on_every_machine_and_in_every_version() -> None:
    digests = np.zeros((20, 16), np.uint8)
    digests[:, 0] = np.arange(20)
    assert np.flatnonzero(aside([0, 1] * 10, digests, 0.3, 7)).tolist() == [0, 2, 3, 5, 16, 17]


def assign(given: list[str], labels: list[int] | None = None) -> splits.Assignment:
    return splits.assign(
        given, np.array(labels or [0] * len(given)), drawn(len(given)), {"test": 0.2, "validation": 0.25}, 0
    )


def test_splits_that_the_set_brings_are_kept() -> None:
    found = assign(["train", "test", "validation"] * 10)
    assert found.train.tolist() == list(range(0, 30, 3))
    assert found.test.tolist() == list(range(1, 30, 3))
    assert found.validation.tolist() == list(range(2, 30, 3))
    assert found.notes == ()


@pytest.mark.parametrize(
    ("given", "sizes"),
    [
        ([""] * 100, (60, 20, 20)),
        (["train"] * 100, (60, 20, 20)),
        (["train"] * 80 + ["test"] * 20, (60, 20, 20)),
        (["train"] * 90 + ["validation"] * 10, (72, 10, 18)),
    ],
)
def test_what_is_missing_is_taken_of_the_training_images(given: list[str], sizes: tuple[int, int, int]) -> None:
    found = assign(given)
    assert (len(found.train), len(found.validation), len(found.test)) == sizes
    rows = np.concatenate([found.train, found.validation, found.test])
    assert sorted(rows.tolist()) == list(range(100))
    for part in (found.train, found.validation, found.test):
        assert (np.diff(part) > 0).all()
    assert len(found.notes) == len({"validation", "test"} - set(given))
    for note in found.notes:
        assert "of its own" in note
        assert "(seed 0)" in note


@pytest.mark.parametrize("given", [["test"] * 5, ["validation"] * 5, ["test", "validation"]])
def test_nothing_to_train_on_is_an_error(given: list[str]) -> None:
    with pytest.raises(DataError, match="but no training images"):
        assign(given)


def test_a_class_that_a_split_lacks_is_told() -> None:
    labels = np.array([0, 0, 1, 2])
    found = splits.Assignment(np.array([0, 2]), np.array([], int), np.array([1, 3]))
    assert splits.missing(["cat", "dog", "\x1bfox"], found, labels) == (
        "There are no training images of \ufffdfox.",
        "There are no validation images of cat, dog, \ufffdfox.",
        "There are no test images of dog.",
    )
