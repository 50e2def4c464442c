"""flyweight: compact image classifiers that make weight.

The public door: `load` a trained network, `check` one of your own against a rule set, `analyze` it, `predict` what is
in images. Each imports what it needs when it is called.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

# onnxruntime 1.32 counts what is done with it, keeps that in the user's home and sends it to its maker; read at import
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from torch import nn

    from flyweight.analysis import Facts
    from flyweight.inference.predict import Picture, Prediction, Predictor
    from flyweight.rules import Judgement

__all__ = ["analyze", "check", "load", "predict"]
__version__ = "0.1.0"


def load(network: str | Path, allow_code: bool = False) -> Predictor:
    """A trained network, ready to be asked, without any network access.

    Its ``predict(images)`` says what is in files, images of Pillow's, or uint8 arrays. What PyTorch runs (a network
    that ships, a run folder) is an ``nn.Module`` as well, a `flyweight.inference.loaded.Loaded`: (N, C, H, W) float ->
    (N, classes) logits, in eval mode, of pixels in 0 to 1, less the mean and divided by the standard deviation on its
    card; its ``model`` is the bare network. What an export holds is run by onnxruntime, without PyTorch.

    Args:
        network: one that ships with its weights, such as ``sprint2``, a run folder, an exported folder, or an ``.onnx``
            file of one.
        allow_code: let the Python file that a run folder from elsewhere names run, now and later: read it first.

    Raises:
        RunError: there is no such network, its files are damaged or do not fit, or its code is not allowed.
    """
    import warnings

    from flyweight.inference.opening import opened

    return opened(str(network), allow_code=allow_code, tell=lambda line: warnings.warn(line, stacklevel=2))


def analyze(network: nn.Module, shape: Sequence[int]) -> Facts:
    """Facts of a network at one size of its images: parameters, MACs, receptive field, layers.

    Args:
        network: (N, C, H, W) -> anything, or what :func:`load` returned; it comes back as it was.
        shape: (channels, height, width) of an image.

    Raises:
        FlyweightError: the network cannot take such images, or cannot be watched.
    """
    from flyweight import analysis

    return analysis.analyze(_bare(network), shape)


def check(network: nn.Module, shape: Sequence[int], rules: str | Path = "brief") -> Judgement:
    """Judge a network by a rule set; ``.passed`` says whether it obeys, ``.verdicts`` what each rule found.

    Args:
        network: (N, C, H, W) -> anything, or what :func:`load` returned; it comes back as it was.
        shape: (channels, height, width) of an image.
        rules: a built-in rule set, or the path of a YAML file.

    Raises:
        FlyweightError: there is no such rule set, or the network cannot take such images.
    """
    from flyweight import rules as rule_sets

    return rule_sets.check(analyze(network, shape), rule_sets.load_ruleset(rules))


def predict(network: str | Path, images: Picture | Sequence[Picture] | np.ndarray, top: int = 3) -> list[Prediction]:
    """What is in images: for each the likeliest classes with their probabilities, or why it cannot be read.

    Args:
        network: as :func:`load` takes it.
        images: one or more of: paths of files, their bytes, images of Pillow's, arrays of (H, W), (H, W, C) or
            (N, H, W, C) uint8 of any size.
        top: how many classes to name.

    Raises:
        RunError: there is no such network, or its files are damaged or do not fit.
    """
    return load(network).predict(images, top)


def _bare(network: nn.Module) -> nn.Module:
    """The network itself, of what :func:`load` returned."""
    from flyweight.inference.loaded import Loaded

    return network.model if isinstance(network, Loaded) else network
