"""Pictures in, logits out: the one path that the test pass, the evaluation and every prediction take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from flyweight.blocks import normalize


@contextmanager
def evaluating(network: nn.Module) -> Iterator[nn.Module]:
    """The network in eval mode; each of its modules gets its own mode back afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield network
    finally:
        for module, training in modes:
            module.training = training


def logits(
    network: nn.Module, images: np.ndarray, mean: Sequence[float], std: Sequence[float], batch_size: int = 500
) -> Tensor:
    """What the network says about each picture, in float32.

    Args:
        network: (N, C, H, W) -> (N, classes); its mode is left as it was.
        images: (N, H, W, C) uint8.
        mean: of each channel in 0 to 1, from the network's card.
        std: of each channel in 0 to 1, from the network's card.
        batch_size: pictures at once.

    Returns:
        (N, classes) float32 on the CPU.
    """
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    parts = []
    with evaluating(network), torch.inference_mode():
        for start in range(0, len(images), batch_size):
            # the copy makes read-only memory-mapped pictures writable, as torch wants them
            batch = torch.from_numpy(np.array(images[start : start + batch_size])).to(device)
            parts.append(network(normalize(batch, tuple(mean), tuple(std))).float().cpu())
    return torch.cat(parts)
