"""Numbers that stand for classes, and the names of those."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

MISSING = -1
"""The number that the hub's ClassLabel gives an image without a class, as those of a test set often are."""


def of_numbers(values: Iterable[int]) -> tuple[str, ...]:
    """Names of classes that have none: their numbers in numeric order, for as text 10 comes before 2."""
    return tuple(str(value) for value in sorted(set(values)))


def distinct(names: Sequence[object]) -> tuple[str, ...]:
    """Names of classes in the order of their numbers, in one Unicode form; the number follows one that is there twice.

    ImageNet has two classes called crane and two called maillot: by their names alone they would be one.
    """
    plain = [unicodedata.normalize("NFC", str(name)) for name in names]
    times = Counter(plain)
    return tuple(name if times[name] == 1 else f"{name} ({number})" for number, name in enumerate(plain))
