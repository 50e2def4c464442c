"""How many images to ask a network about at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# somewhat less than the last cache, 32 MiB, of the processor that docs/performance.md measured it on
CACHE_BYTES = 24 * 2**20
# fewer than 16 at once gain next to nothing more
FEWEST, MOST = 16, 256


def images_at_once(network: nn.Module, image: Tensor) -> int:
    """As many as let what a layer reads and writes stay in the processor's cache.

    A map of 88 channels of 32x32 takes 46 MB for 128 images: each layer would fetch it from memory.

    Args:
        network: in eval mode.
        image: (1, C, H, W).

    Returns:
        A power of two from 16 to 256.
    """
    largest = 1

    def look(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal largest
        maps = [one for one in (*inputs, output) if isinstance(one, Tensor)]
        largest = max(largest, sum(one.numel() * one.element_size() for one in maps))

    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(look) for module in leaves]
    try:
        with torch.inference_mode():
            network(image)
    finally:
        for hook in hooks:
            hook.remove()
    count = MOST
    while count > FEWEST and count * largest > CACHE_BYTES:
        count //= 2
    return count
