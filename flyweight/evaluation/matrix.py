"""The confusion matrix: (classes, classes), row: true, column: predicted."""

from __future__ import annotations

from typing import Any

import numpy as np

WHOLE_MATRIX = 100
"""The most classes whose confusion matrix is written whole; of more, whose matrix is nearly empty, the pairs."""


def counted(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes) int64, read-only, of (N,) labels and (N,) predictions."""
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    confusion.setflags(write=False)
    return confusion


def pairs(confusion: np.ndarray) -> list[tuple[int, int, int]]:
    """The (true, predicted, images) that happened, in the matrix's order."""
    true, predicted = np.nonzero(confusion)
    return list(zip(true.tolist(), predicted.tolist(), confusion[true, predicted].tolist(), strict=True))


def as_json(confusion: np.ndarray) -> dict[str, Any]:
    """The whole matrix, or of many classes the pairs that happened."""
    if len(confusion) <= WHOLE_MATRIX:
        return {"confusion": confusion.tolist()}
    return {"confusion_pairs": pairs(confusion)}
