"""Whether weights are those of the network that a card describes: found out before it costs time or memory.

A card may come from anybody, and a number in it may ask for a layer that no machine holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flyweight.errors import RunError
from flyweight.images.spec import Spec
from flyweight.networks.build import build, table
from flyweight.networks.builtin import FORMER
from flyweight.recipes.sections import ModelConfig
from flyweight.text import one_line, short

MOST_NUMBERS = 2**30
"""In one map of one image: 4 GiB."""


def misfit(described: ModelConfig, spec: Spec, weights: Mapping[str, Tensor]) -> str | None:
    """What does not fit, in a few words; None where all does, or where only a class of the user's own knows.

    Args:
        described: the network.
        spec: its classes and images.
        weights: by their names.

    Raises:
        FlyweightError: there is no such network.
    """
    rows = table(described)
    if rows is None:
        return None
    if sum(len(block) for block in rows.blocks) > len(weights):
        return f"it has more layers than the {len(weights)} tensors"
    try:
        with torch.device("meta"):  # shapes without numbers
            network = build(described, spec).eval()
            network.load_state_dict({name: torch.empty_like(value, device="meta") for name, value in weights.items()})
            _watch(network)
            said = network(torch.empty(1, *spec.shape))
    except (RuntimeError, ValueError, TypeError, OverflowError, MemoryError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return one_line(RuntimeError(lines[-1]))
    if tuple(said.shape) != (1, len(spec.classes)):
        return f"it gives {tuple(said.shape)[1:]} numbers for {len(spec.classes)} classes"
    return None


def former(described: ModelConfig, spec: Spec, weights: Mapping[str, Tensor]) -> ModelConfig | None:
    """The network that a built-in one's name stood for when these weights were trained; None: it fits today's.

    Args:
        described: the network.
        spec: its classes and images.
        weights: by their names.
    """
    rows = None if described.table else FORMER.get(described.network)
    if rows is None or misfit(described, spec, weights) is None:
        return None
    then = described.model_copy(update={"network": f"first-{described.network}", "table": rows})
    return then if misfit(then, spec, weights) is None else None


def finite(value: Tensor | float) -> bool:
    """Whether a number, or all of a tensor, are finite."""
    if isinstance(value, float):
        return math.isfinite(value)
    # numpy has no number of two bytes like bfloat16
    whole = value.detach().float() if value.dtype.itemsize < 4 else value.detach()
    # and not by torch, which has threads share out each small tensor: 2 ms for a checkpoint of sprint, not 20 to 200
    return bool(np.isfinite(whole.cpu().numpy()).all())


def sound_or_raise(network: nn.Module, weights: Mapping[str, Tensor], file: Path) -> None:
    """Stop before what are no weights of a network: numbers that are not finite, though its own are, or other kinds.

    Whole numbers, truth values and complex numbers torch would cast silently.

    Args:
        network: with fresh weights.
        weights: by their names.
        file: that they come from.

    Raises:
        RunError: which are the first.
    """
    for name, own in network.state_dict().items():
        given = weights.get(name, own)
        floats = own.is_floating_point() and given.is_floating_point()
        if not floats and given.dtype != own.dtype:
            kinds = [str(dtype).removeprefix("torch.") for dtype in (given.dtype, own.dtype)]
            raise RunError(f"{file} does not fit: {short(name, 100)} is {kinds[0]}, it must be {kinds[1]}")
        if floats and not finite(given) and finite(own):
            raise RunError(
                f"{file} is no good: {short(name, 100)} is not finite, so its training failed; train again with a lower"
                " train.learning_rate"
            )


def _watch(network: nn.Module) -> None:
    """Stop at a map that no machine should hold."""

    def stop(module: nn.Module, entries: Any, output: Tensor) -> None:
        if output.numel() > MOST_NUMBERS:
            raise ValueError(f"a map of {output.numel():,} numbers is too large")

    for module in network.modules():
        module.register_forward_hook(stop)
