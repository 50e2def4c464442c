"""How fast a network answers, in a process of its own: ``python -m flyweight.bench.asking WAY NETWORK SIZE:COUNT ...``.

Prints a JSON object with images a second, from uint8 images to logits, by batch size.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from flyweight import data
from flyweight.inference.classifier import Classifier
from flyweight.machine.allocator import keep_freed_memory
from flyweight.networks.build import build
from flyweight.recipes import sections

WAYS = ("eager", "float32", "auto")
Batches = Sequence[tuple[int, int]]
BATCHES: Batches = ((256, 20), (1, 300))
"""Batch size, and how many such batches are timed."""


def rates(way: str, name: str, batches: Batches) -> dict[int, float]:
    """Images a second (median over the batches) by batch size.

    Args:
        way: ``eager``: plain PyTorch in float32 and NCHW. ``float32``, ``auto``: ours, in that precision, with the
            allocator's settings that `flyweight evaluate` and `flyweight predict` make.
        name: of a built-in network; its weights are fresh.
        batches: (batch size, how many such batches are timed).
    """
    dataset = data.load("cifar10")
    torch.manual_seed(0)
    network = build(sections.ModelConfig(network=name), dataset.spec).eval()
    if way == "eager":
        ask = eager(network, dataset.mean, dataset.std)
    else:
        keep_freed_memory()
        ask = Classifier(
            network, dataset.spec.shape, dataset.mean, dataset.std, precision="auto" if way == "auto" else "float32"
        )
    return {size: _rate(ask, np.array(dataset.test.images[:size]), count) for size, count in batches}


def eager(network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> Callable[[np.ndarray], Tensor]:
    """Plain PyTorch in float32 and NCHW: (N, H, W, C) uint8 to (N, classes) logits."""
    means, deviations = (torch.tensor(each)[:, None, None] for each in (mean, std))

    @torch.inference_mode()
    def ask(images: np.ndarray) -> Tensor:
        pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        return network((pixels.float() / 255 - means) / deviations)

    return ask


def _rate(ask: Callable[[np.ndarray], Tensor], pixels: np.ndarray, count: int) -> float:
    times = []
    for number in range(count + 3):
        began = time.perf_counter()
        ask(pixels)
        if number >= 3:  # the first ones warm up
            times.append(time.perf_counter() - began)
    return len(pixels) / median(times)


if __name__ == "__main__":
    way, name, *texts = sys.argv[1:]
    pairs = (text.split(":") for text in texts)
    sys.stdout.write(json.dumps(rates(way, name, [(int(size), int(count)) for size, count in pairs])) + "\n")
