"""How well confidence fits accuracy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flyweight.evaluation.shares import percent

BINS = 15


@dataclass(frozen=True)
class Bin:
    """The images whose confidence is in (lower, upper]; confidence and accuracy are means, None without images."""

    lower: float
    upper: float
    n: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """Whether 80 % confidence means 80 % right.

    Attributes:
        error: the expected calibration error in percentage points, see :func:`calibrate`.
        confidence: mean confidence over all images.
        bins: of equal width, the least confident first.
    """

    error: float
    confidence: float
    bins: tuple[Bin, ...]


def calibrate(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> Calibration:
    """The expected calibration error (Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3).

    ``sum over bins of (images in it / all images) * |mean accuracy - mean confidence|``, bin m being
    ((m - 1) / M, m / M].

    Args:
        confidence: (N,) probability of the predicted class, in 0 to 1.
        correct: (N,) bool.
        bins: how many.
    """
    edges = np.arange(bins + 1) / bins
    positions = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    counts = np.bincount(positions, minlength=bins)
    sums = np.bincount(positions, weights=confidence, minlength=bins)
    hits = np.bincount(positions, weights=correct, minlength=bins)
    return Calibration(
        error=100 * float(np.abs(hits - sums).sum()) / len(confidence),
        confidence=100 * float(confidence.mean()),
        bins=tuple(
            Bin(
                lower=100 * float(edges[m]),
                upper=100 * float(edges[m + 1]),
                n=int(counts[m]),
                confidence=percent(sums[m], counts[m]),
                accuracy=percent(hits[m], counts[m]),
            )
            for m in range(bins)
        ),
    )
