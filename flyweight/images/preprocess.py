"""Pixels as a network wants them."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


def normalize(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Pixels as a network wants them; training, evaluation and prediction all come through here.

    Args:
        images: (N, H, W, C) uint8.
        mean: of each channel, in 0 to 1.
        std: of each channel, in 0 to 1.

    Returns:
        (N, C, H, W) float32 in the channels-last memory format, which the layout of `images` gives for free.
    """
    scale, shift = _affine(mean, std, images.device)
    return torch.addcmul(shift, images.float(), scale).permute(0, 3, 1, 2)


# whoever copies numbers of Python's to a GPU waits for all that was queued there before
@lru_cache(maxsize=16)
def _affine(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """By what a grey level is multiplied, and what is added to it: (C,) float32 each."""
    scale = torch.tensor([1 / (255 * s) for s in std], device=device)
    return scale, torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=device)
