"""flyweight: compact image classifiers that make weight.

The public door: `load` a trained network, `check` one of your own against a rule set, `analyze` it, `predict` what is
in image files. Each imports what it needs when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import nn

    from flyweight.analysis import Facts
    from flyweight.inference.predict import Prediction
    from flyweight.rules import Judgement

__all__ = ["analyze", "check", "load", "predict"]
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


def analyze(network: nn.Module, shape: Sequence[int]) -> Facts:
    """Facts of a network at one size of its images: parameters, MACs, receptive field, layers.

    Args:
        network: (N, C, H, W) -> anything; it comes back as it was.
        shape: (channels, height, width) of an image.

    Raises:
        FlyweightError: the network cannot take such images, or cannot be watched.
    """
    from flyweight import analysis

    return analysis.analyze(network, shape)


def check(network: nn.Module, shape: Sequence[int], rules: str | Path = "brief") -> Judgement:
    """Judge a network by a rule set; ``.passed`` says whether it obeys, ``.verdicts`` what each rule found.

    Args:
        network: (N, C, H, W) -> anything; it comes back as it was.
        shape: (channels, height, width) of an image.
        rules: a built-in rule set, or the path of a YAML file.

    Raises:
        FlyweightError: there is no such rule set, or the network cannot take such images.
    """
    from flyweight import rules as rule_sets

    return rule_sets.check(analyze(network, shape), rule_sets.load_ruleset(rules))


def predict(network: str, paths: Sequence[Path], top: int = 3) -> list[Prediction]:
    """What is in image files: for each the likeliest classes with their probabilities, or why it cannot be read.

    Args:
        network: one that ships with its weights, such as ``sprint``, or a run folder.
        paths: image files.
        top: how many classes to name.

    Raises:
        RunError: there is no such network, or its weights are damaged.
    """
    from flyweight.inference import predict as prediction
    from flyweight.runs.card import find_trained, load_trained

    return list(prediction.predict(load_trained(find_trained(network)), paths, top))
