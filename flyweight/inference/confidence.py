"""How sure a network may be: the temperature and the threshold that its card gets. Arithmetic alone."""

from __future__ import annotations

import numpy as np

ACCEPTED = 0.9
"""Share of the images of a network's classes whose highest probability is not below its threshold.

With 0.95 hardly any image of something else is noticed, and half of the answers that are given up with 0.9 were wrong:
docs/results.md.
"""

_PRIOR = 0.5
"""Standard deviation of the logarithm of a temperature, before any image is seen."""


def probabilities(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """``softmax(logits / temperature)``: what is told of an image everywhere.

    Args:
        logits: (N, classes).
        temperature: of the network's card; it changes no order.

    Returns:
        (N, classes) float64.
    """
    return np.exp(_logarithms(logits, temperature))


def find_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature whose probabilities fit these images best (Guo et al. 2017, section 4.2: temperature scaling).

    The negative log-likelihood is minimised. A weak prior, that of a temperature between 0.4 and 2.7 in most cases,
    keeps a few images that are all recognised from making every probability 1; of a thousand images it is not seen.

    Args:
        logits: (N, classes), finite, of images that the network was not fitted to.
        labels: (N,) int64.
    """
    from scipy.optimize import minimize_scalar  # here, for probabilities are wanted where nothing but NumPy is

    chosen = np.arange(len(labels)), labels

    def cost(logarithm: float) -> float:
        likelihood = _logarithms(logits, float(np.exp(logarithm)))[chosen].sum()
        return float(logarithm**2 / (2 * _PRIOR**2) - likelihood)

    return float(np.exp(minimize_scalar(cost, bounds=(-4, 4), method="bounded").x))


def find_threshold(logits: np.ndarray, temperature: float, accepted: float = ACCEPTED) -> float:
    """The highest probability that so many images of the network's classes reach.

    Args:
        logits: (N, classes), finite, of images of the classes.
        temperature: what the logits are divided by.
        accepted: share of the images that are to reach it.
    """
    return float(np.quantile(probabilities(logits, temperature).max(1), 1 - accepted))


def _logarithms(logits: np.ndarray, temperature: float) -> np.ndarray:
    scaled = logits.astype(np.float64) / temperature
    with np.errstate(invalid="ignore"):
        scaled -= scaled.max(1, keepdims=True)
        return scaled - np.log(np.exp(scaled).sum(1, keepdims=True))
