"""Which of many 64-bit hashes differ in a few bits only, without comparing all with all.

Hashes are cut into four bands of 16 bits. Two that differ in at most 10 bits differ in at most 2 bits of one of the
first three bands or in at most one of the last (otherwise there were 3 + 3 + 3 + 2 = 11), so that for each band those
are compared whose bands differ so little ("multi-index hashing", Norouzi, Punjani and Fleet 2012). Of 100,000 photos
about 3 in 1,000 pairs are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np

from flyweight.data.dataset import Progress

MOST_COMPARED = 500_000_000
"""Pairs that are compared at most: about 10 s."""
MOST_FOUND = 2_000_000
"""Pairs that are kept at most: 50 MB."""

_BANDS, _BITS = 4, 16
_CHUNK = 2**20  # pairs at a time: small enough for a processor's cache


class Close(NamedTuple):
    """Pairs of hashes that differ in a few bits.

    Attributes:
        pairs: (P, 2) int64, their places, the smaller one first.
        bits: (P,) int64, in how many they differ.
        distance: up to which number of bits all pairs are here: what was asked for, or less where there was too much
            to compare or to keep; negative: nothing was compared.
    """

    pairs: np.ndarray
    bits: np.ndarray
    distance: int


def close(hashes: np.ndarray, distance: int, progress: Progress) -> Close:
    """All pairs that differ in at most so many bits.

    Args:
        hashes: (N,) uint64, no two of them equal.
        distance: in bits.
        progress: called as progress(what, done, total).
    """
    everything = len(hashes) * (len(hashes) - 1) / 2
    while distance >= 0 and min(everything, _cost(hashes, distance)) > MOST_COMPARED:
        distance -= 1
    found = [np.empty((0, 3), np.int64)]
    kept = 0
    if distance >= 0:
        banded = _cost(hashes, distance) < everything
        for part in _by_bands(hashes, distance, progress) if banded else _one_by_one(hashes):
            bits = _differing(hashes[part[0]] ^ hashes[part[1]])
            near = bits <= distance
            found.append(np.stack([part[0][near], part[1][near], bits[near]], 1).astype(np.int64))
            kept += len(found[-1])
            if kept > 2 * MOST_FOUND:  # a pair may be there once a band
                distance, found = _fewer(np.concatenate(found), distance)
                kept = len(found[0])
    distance, found = _fewer(np.concatenate(found), distance)
    return Close(found[0][:, :2], found[0][:, 2], distance)


def _fewer(found: np.ndarray, distance: int) -> tuple[int, list[np.ndarray]]:
    """Each pair once; where they are too many, those that differ in fewer bits."""
    found = found[found[:, 2] <= distance]
    found[:, :2].sort(axis=1)
    found = np.unique(found, axis=0)
    while len(found) > MOST_FOUND:
        distance -= 1
        found = found[found[:, 2] <= distance]
    return distance, [found]


def _differing(values: np.ndarray) -> np.ndarray:
    """(N,) uint8: how many bits of each (N,) uint64 are set."""
    if hasattr(np, "bitwise_count"):  # NumPy 2
        return np.bitwise_count(values)
    return np.unpackbits(values.view(np.uint8).reshape(-1, 8), axis=1).sum(1, dtype=np.uint8)


def _radii(distance: int) -> list[int]:
    """In how many bits each band may differ so that no pair is missed; -1: it need not be looked at."""
    whole, rest = divmod(distance + 1, _BANDS)
    return [whole - 1 + (band < rest) for band in range(_BANDS)]


def _masks(radius: int) -> list[int]:
    """All 16-bit numbers with at most so many bits set."""
    return [sum(1 << bit for bit in bits) for count in range(radius + 1) for bits in combinations(range(_BITS), count)]


def _bands(hashes: np.ndarray) -> np.ndarray:
    """(4, N) uint16."""
    return np.ascontiguousarray(hashes.view(np.uint16).reshape(-1, _BANDS).T)


def _cost(hashes: np.ndarray, distance: int) -> float:
    """How many pairs the search by bands compares."""
    keys, cost = np.arange(2**_BITS), 0.0
    for band, radius in zip(_bands(hashes), _radii(distance), strict=True):
        counts = np.bincount(band, minlength=2**_BITS).astype(np.float64)
        there = np.flatnonzero(counts)
        cost += sum(counts[there] @ counts[keys[there] ^ mask] for mask in _masks(radius)) / 2
    return cost


def _one_by_one(hashes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs, a few rows of their table at a time."""
    count = len(hashes)
    rows = max(1, _CHUNK // max(1, count))
    for start in range(0, count, rows):
        left, right = np.nonzero(np.arange(start, min(start + rows, count))[:, None] < np.arange(count))
        yield left + start, right


def _by_bands(hashes: np.ndarray, distance: int, progress: Progress) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs with a band that differs little."""
    radii = _radii(distance)
    total, done = sum(len(_masks(radius)) for radius in radii), 0
    for band, radius in zip(_bands(hashes), radii, strict=True):
        order = np.argsort(band, kind="stable")
        keys = band[order].astype(np.int64)
        counts = np.bincount(keys, minlength=2**_BITS)
        starts = np.cumsum(counts) - counts
        for mask in _masks(radius):
            other = keys ^ mask
            # of two different keys the smaller one looks for the larger; among equal ones each for those behind it
            begins = np.arange(1, len(keys) + 1) if mask == 0 else starts[other]
            ends = starts[other] + counts[other]
            counted = np.where((mask == 0) | (keys < other), ends - begins, 0)
            for left, right in _expanded(begins, counted):
                yield order[left], order[right]
            done += 1
            progress("searching for near duplicates", done, total)


def _expanded(begins: np.ndarray, counts: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(i, begins[i] + k) for all i and all k below counts[i], a few million at a time."""
    ends = np.cumsum(counts)
    first = 0
    while first < len(counts):
        before = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + _CHUNK)))
        some = counts[first:last]
        left = np.repeat(np.arange(first, min(last, len(counts))), some)
        within = np.arange(len(left)) - np.repeat(np.cumsum(some) - some, some)
        yield left, begins[left] + within
        first = last
