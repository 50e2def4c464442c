"""Shares in percent, and how well they are known."""

from __future__ import annotations

from math import sqrt

Interval = tuple[float, float]

Z95 = 1.959963984540054
"""The 97.5 % point of the standard normal distribution: 2.5 % are left on each side."""


def percent(part: float, whole: float) -> float | None:
    """A share in percent; None of nothing."""
    return 100 * float(part) / float(whole) if whole else None


def wilson(correct: int, n: int) -> Interval:
    """The 95 % score interval of a share, in percent (Wilson 1927, J. Am. Stat. Assoc. 22:209-212).

    Unlike ``p +- 1.96 * sqrt(p * (1 - p) / n)`` it stays inside 0 to 100 and is right for few images and at both ends.
    It is about the images drawn, not about another seed of the training.
    """
    share, z2 = correct / n, Z95**2 / n
    centre = (share + z2 / 2) / (1 + z2)
    half = sqrt(share * (1 - share) * z2 + z2**2 / 4) / (1 + z2)
    # rounding may put 0 of n or n of n a hair outside
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)
