"""Images that are there more than once though their pixels differ: brighter, compressed, sharper or smaller copies.

Perceptual hashes of at most `DISTANCE` different bits make a pair a candidate; what the pixels say decides. The limits
were chosen by looking at pairs of CIFAR-10, where four in five candidates are different images of one kind of thing,
and of handwritten digits, where nearly all are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from flyweight.data.dataset import Progress
from flyweight.data.hashes import close
from flyweight.images.sizing import GREY

DISTANCE = 10
"""The most bits in which the hashes of near duplicates differ."""
ALIKE, EDGES_ALIKE = 0.85, 0.5
"""The least correlation of a pair's pixels, and of their differences to their neighbours. Copies have both; different
things in the same pose have the first alone."""
STRICTLY_ALIKE = 0.95
"""The latter in a set whose images are all of one pattern, such as digits or X-rays."""
PATTERN, FEWEST = 1e-4, 20
"""Share of all pairs that have 7 to 10 different bits, and their number, above which a set's images are of one pattern.
It is 3 in a million for CIFAR-10, 1 in 1,000 for handwritten digits."""
FLAT = 2.0
"""Standard deviation of an image's pixels, in levels of 255, below which it shows nothing that could be compared."""
MOST_VERIFIED = 50_000
"""Pairs of images whose pixels are compared at most: about 10 s."""
NEIGHBOURS = 16
"""With so many others that share a hash an image is compared at most."""


class Near(NamedTuple):
    """What a search for near duplicates found.

    Attributes:
        pairs: (P, 2) int64, the places of each pair's images, the smaller one first; those with most in common first.
        notes: sentences about what was done otherwise because images are too much alike.
    """

    pairs: np.ndarray
    notes: tuple[str, ...]


def near(read: Callable[[int], np.ndarray], hashes: np.ndarray, levels: np.ndarray, progress: Progress) -> Near:
    """Pairs of near duplicates among images of which no two are equal and none is flat.

    Args:
        read: the (H, W, C) uint8 image at a place.
        hashes: (N,) uint64, perceptual.
        levels: (N,) float, how bright each image is.
        progress: called as progress(what, done, total).
    """
    distinct, group, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    found = close(distinct, DISTANCE, progress)
    notes = []
    if found.distance < DISTANCE:
        notes.append(
            f"The images are so much alike that near duplicates were sought among hashes of at most"
            f" {max(found.distance, 0)} different bits and not {DISTANCE}: there may be more."
        )
    if counts.max(initial=0) > NEIGHBOURS:
        notes.append(
            f"Where more than {NEIGHBOURS} different images share a hash, each was compared with {NEIGHBOURS} of them:"
            " there may be more near duplicates."
        )
    candidates = _candidates(group.reshape(-1), counts, levels, found.pairs, found.bits)
    if len(candidates) > MOST_VERIFIED:
        notes.append(
            f"{MOST_VERIFIED:,} of {len(candidates):,} pairs with similar hashes were compared: there may be more near"
            " duplicates."
        )
        candidates = candidates[:MOST_VERIFIED]
    edges = EDGES_ALIKE
    fringe, every = int((found.bits >= DISTANCE - 3).sum()), len(distinct) * (len(distinct) - 1) / 2
    if found.distance < DISTANCE or (fringe >= FEWEST and fringe > PATTERN * every):
        edges = STRICTLY_ALIKE
        notes.append(
            "The images are all so much alike that only very close copies count as near duplicates (correlation of"
            f" edges {STRICTLY_ALIKE} in place of {EDGES_ALIKE})."
        )
    alike = np.zeros(len(candidates), bool)
    for place, (one, other) in enumerate(candidates.tolist()):
        alike[place] = similar(read(one), read(other), edges)
        if place % 256 == 0:
            progress("comparing similar images", place, len(candidates))
    progress("comparing similar images", len(candidates), len(candidates))
    return Near(candidates[alike], tuple(notes))


def _candidates(
    group: np.ndarray, counts: np.ndarray, levels: np.ndarray, pairs: np.ndarray, bits: np.ndarray
) -> np.ndarray:
    """(P, 2): pairs of images of one hash, then of hashes that differ in ever more bits.

    Args:
        group: (N,), place of each image's hash.
        counts: (G,), images of each hash.
        levels: (N,), how bright each image is: among many of one hash those next to each other are compared.
        pairs: (P, 2), places of similar hashes.
        bits: (P,), in how many they differ.
    """
    order = np.lexsort((levels, group))
    starts = np.cumsum(counts) - counts
    found = [np.empty((0, 2), np.int64)]
    for step in range(1, min(NEIGHBOURS, counts.max(initial=1) - 1) + 1):
        steps = np.stack([order[:-step], order[step:]], 1)
        found.append(steps[group[steps[:, 0]] == group[steps[:, 1]]])
    pairs = pairs[np.argsort(bits, kind="stable")]
    most = counts[pairs].max(initial=1)
    for one in range(min(most, NEIGHBOURS)):
        for other in range(min(most, NEIGHBOURS)):
            there = pairs[(counts[pairs] > [one, other]).all(1)]
            found.append(np.stack([order[starts[there[:, 0]] + one], order[starts[there[:, 1]] + other]], 1))
    return np.sort(np.concatenate(found), axis=1)


def similar(one: np.ndarray, other: np.ndarray, edges: float = EDGES_ALIKE) -> bool:
    """Whether two images show the same, but for brightness, contrast, compression or sharpness.

    Args:
        one: (H, W, C) uint8.
        other: the same.
        edges: the least correlation of their pixels' differences to their neighbours.
    """
    # padding that both have would be an edge that both have
    shown = ((one != GREY) | (other != GREY)).any(2)
    rows, columns = np.ix_(shown.any(1), shown.any(0))
    first, second = one[rows, columns].astype(np.float32), other[rows, columns].astype(np.float32)
    if not first.size:
        return False
    if _correlation(first - first.mean((0, 1)), second - second.mean((0, 1))) < ALIKE:
        return False
    return _correlation(_edges(first), _edges(second)) >= edges


def _edges(image: np.ndarray) -> np.ndarray:
    """Each pixel's differences to the next one across and down."""
    return np.concatenate([np.diff(image, axis=axis).reshape(-1) for axis in (0, 1)])


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Of numbers whose mean is nought; 0 where they never vary."""
    energy = float(np.vdot(one, one)) * float(np.vdot(other, other))
    return float(np.vdot(one, other)) / energy**0.5 if energy > 0 else 0.0
