"""Whether weights are those of the network that a card describes: found out before it costs time or memory.

A card may come from anybody, and a number in it may ask for a layer that no machine holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from flyweight.images.spec import Spec
from flyweight.networks.build import build, table
from flyweight.recipes.sections import ModelConfig
from flyweight.text import one_line

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


def _watch(network: nn.Module) -> None:
    """Stop at a map that no machine should hold."""

    def stop(module: nn.Module, entries: Any, output: Tensor) -> None:
        if output.numel() > MOST_NUMBERS:
            raise ValueError(f"a map of {output.numel():,} numbers is too large")

    for module in network.modules():
        module.register_forward_hook(stop)
