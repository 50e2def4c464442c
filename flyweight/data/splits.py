"""Which images are to train on, to choose by and to test with, where the data set does not say it all itself.

An image's side hangs on its content and a seed, so that nearly all stay where they are when others come or go, and
equal images are on one side whatever they are called.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flyweight.errors import DataError
from flyweight.text import some

MOST = {"test": 5000, "validation": 2500}
"""Images that are set aside at most. So many tell 90 % accuracy to within 0.4 and 0.6 points (one standard error); more
would say little more, and are missed in the training."""


@dataclass(frozen=True)
class Assignment:
    """Rows of each split, sorted.

    Attributes:
        train: (N,) int64.
        validation: (N,) int64.
        test: (N,) int64.
        brought: whether the test images came with the set as such.
        notes: sentences about splits that did not.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    brought: bool = True
    notes: tuple[str, ...] = ()


def assign(
    splits: Sequence[str], labels: np.ndarray, digests: np.ndarray, shares: Mapping[str, float], seed: int
) -> Assignment:
    """Keep the splits that the set brings, and set aside the missing ones.

    Args:
        splits: of each image: "train", "validation", "test", or empty where the set has no splits.
        labels: (N,) int64, of each image.
        digests: (N, 16) uint8, of each image's pixels.
        shares: of each class, set aside as "test" and as "validation" images where there are none of them; the second
            is taken of what the first has left.
        seed: of the choice.

    Raises:
        DataError: there are test or validation images, but none to train on.
    """
    given = np.array([split or "train" for split in splits])
    rows = {name: np.flatnonzero(given == name) for name in ("train", "validation", "test")}
    if not len(rows["train"]):
        raise DataError(f"it has {' and '.join(sorted(set(splits)))} images, but no training images")
    notes = []
    for name, share in shares.items():
        if not len(rows[name]):
            pool = rows["train"]
            share = min(share, MOST[name] / len(pool))
            chosen = set_aside(labels[pool], digests[pool], share, seed)
            rows[name], rows["train"] = pool[chosen], pool[~chosen]
            notes.append(
                f"The set has no {name} images of its own: {chosen.sum():,} of {len(pool):,} images were set"
                f" aside as such, {100 * share:.3g} % of each class by a hash of their content (seed {seed})."
            )
    return Assignment(rows["train"], rows["validation"], rows["test"], "test" in splits, tuple(notes))


def set_aside(labels: np.ndarray, digests: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Choose a share of the images of each class; equal images are chosen together or not at all.

    Of a class of two or more different images at least one is chosen and at least one is left.

    Args:
        labels: (N,) int64.
        digests: (N, 16) uint8.
        share: in 0 to 1.
        seed: of the choice.

    Returns:
        (N,) bool.
    """
    # of 16 random bytes 8 tell images apart; where they did not, two images would be on one side, which harms nobody
    keys = np.ascontiguousarray(digests[:, :8]).view("<u8").reshape(-1)
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    # a group of equal images belongs to the class of the first one, even where they were filed under several
    owner, ranks = labels[first], _mixed(keys[first], seed)
    chosen = np.zeros(len(first), bool)
    for label in np.unique(owner):
        members = np.flatnonzero(owner == label)
        count = min(max(1, round(share * len(members))), len(members) - 1)
        chosen[members[np.argsort(ranks[members], kind="stable")[:count]]] = True
    return chosen[group.reshape(-1)]


def _mixed(keys: np.ndarray, seed: int) -> np.ndarray:
    """(N,) uint64 of (N,) uint64: numbers that look drawn, another lot for each seed.

    The finaliser of splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators").
    """
    salt = int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:8], "little")
    mixed = keys ^ np.uint64(salt)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def missing(classes: Sequence[str], assignment: Assignment, labels: np.ndarray) -> tuple[str, ...]:
    """A sentence for each split in which there is no image of some classes."""
    notes = []
    for name, rows in (
        ("training", assignment.train), ("validation", assignment.validation), ("test", assignment.test)
    ):  # fmt: skip
        there = np.bincount(labels[rows], minlength=len(classes)) > 0
        absent = [label for label, here in zip(classes, there, strict=True) if not here]
        if absent:
            notes.append(f"There are no {name} images of {some(absent)}.")
    return tuple(notes)
