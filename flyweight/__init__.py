"""flyweight: compact image classifiers that make weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__version__ = "0.1.0"


def load(network: str) -> nn.Module:
    """A trained network, ready to be asked, without any network access.

    Args:
        network: one that ships with its weights, such as ``sprint``, or a run folder.

    Returns:
        (N, C, H, W) float -> (N, classes) logits, in eval mode. Its pixels are in 0 to 1, less the mean and divided by
        the standard deviation on its card; ``flyweight.inference.classifier.Classifier`` does that for uint8 images.

    Raises:
        RunError: there is no such network, or its weights are damaged or not those that its card describes.
    """
    from flyweight.runs.card import find_trained, load_trained

    return load_trained(find_trained(network)).model
