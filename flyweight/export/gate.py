"""Whether an export says what its network says. What does not is not written."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from flyweight.errors import FlyweightError

TOLERANCE = 1e-4
"""The most that a float export may differ: of logits, or of probabilities."""

MOST_LOST = 0.5
"""Points of accuracy that an export in 8 bits may lose."""


class GateError(FlyweightError):
    """An export does not say what its network says."""

    exit_code = 1


@dataclass(frozen=True)
class Agreement:
    """What was found on all test images.

    Attributes:
        n: images.
        same: how many of them get the class that PyTorch names.
        difference: the largest one between two numbers that an image gets, of what the export gives.
        accuracy: of the export, in percent.
        lost: points of accuracy against PyTorch.
    """

    n: int
    same: int
    difference: float
    accuracy: float
    lost: float

    def as_json(self) -> dict[str, float]:
        """Everything in it, rounded."""
        numbers = asdict(self)
        return numbers | {key: float(f"{numbers[key]:.4g}") for key in ("difference", "accuracy", "lost")}

    def line(self) -> str:
        """For people."""
        return (
            f"{self.same:,} of {self.n:,} classes as PyTorch's, at most {self.difference:.1e} off,"
            f" accuracy {self.accuracy:.2f} % ({0 - self.lost:+.2f})"
        )


def agreement(said: np.ndarray, expected: np.ndarray, labels: np.ndarray) -> Agreement:
    """Hold what an export says against what PyTorch says.

    Args:
        said: (N, classes), logits or probabilities.
        expected: (N, classes), the same of PyTorch.
        labels: (N,) true classes.
    """
    ours, torchs = said.argmax(1), expected.argmax(1)
    accuracy = 100 * float((ours == labels).mean())
    return Agreement(
        n=len(labels),
        same=int((ours == torchs).sum()),
        difference=float(np.abs(said.astype(np.float64) - expected).max()),
        accuracy=accuracy,
        lost=100 * float((torchs == labels).mean()) - accuracy,
    )


def equal_or_raise(name: str, said: np.ndarray, expected: np.ndarray, labels: np.ndarray) -> Agreement:
    """The agreement of a float export, where it is one.

    Numbers may differ by 1e-4, or by 1e-5 of the largest one where that is more: float32 cannot do better. Classes must
    be the same, but where PyTorch's two likeliest lie closer together than that.

    Args:
        name: of the file, for the message.
        said: (N, classes) of the export.
        expected: (N, classes) of PyTorch.
        labels: (N,) true classes.

    Raises:
        GateError: it says something else.
    """
    if said.shape != expected.shape or not np.isfinite(said).all():
        what = (
            f"gives {said.shape[1:]} numbers" if said.shape != expected.shape else "gives numbers that are not finite"
        )
        raise GateError(f"{name} {what} where the network gives {expected.shape[1]}: it was not written")
    found = agreement(said, expected, labels)
    allowed = max(TOLERANCE, 1e-5 * float(np.abs(expected).max()))
    best = np.sort(expected, axis=1)[:, -2:]
    turned = (said.argmax(1) != expected.argmax(1)) & (best[:, -1] - best[:, 0] > allowed)
    if found.difference > allowed or turned.any():
        worst = int(np.abs(said - expected).max(1).argmax())
        raise GateError(
            f"{name} does not say what the network says: of {found.n} test images {int(turned.sum())} get another"
            f" class, and numbers differ by up to {found.difference:.2g} (image {worst}), allowed is {allowed:.1g}: it"
            " was not written"
        )
    return found
