"""Augmented batches of an epoch, in this process or in workers: the same ones either way."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from flyweight.data import Dataset
from flyweight.images.augment import Augmenter


class Batches(TorchDataset[tuple[Tensor, Tensor]]):
    """Augmented batches, addressed by (epoch, step), so that a worker process needs no state."""

    def __init__(self, dataset: Dataset, augmenter: Augmenter, size: int, seed: int, rank: int, world: int) -> None:
        self.split, self.augmenter, self.size, self.seed = dataset.train, augmenter, size, seed
        self.rank, self.world = rank, world
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))

    def __getitem__(self, position: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """(images (N, H, W, C) uint8, labels (N,) int64) of this process."""
        epoch, step = position
        if self._order[0] != epoch:
            order = np.random.default_rng((self.seed, epoch)).permutation(len(self.split.labels))
            self._order = (epoch, order)
        indices = self._order[1][step * self.size : (step + 1) * self.size][self.rank :: self.world]
        images = self.augmenter(self.split.images[indices], indices.tolist(), epoch)
        return torch.from_numpy(images), torch.from_numpy(self.split.labels[indices])


@dataclass
class Positions:
    """A sampler: which (epoch, step) the loader asks for next."""

    steps: int
    epoch: int = 0
    start: int = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self.epoch, step) for step in range(self.start, self.steps))

    def __len__(self) -> int:
        return self.steps - self.start


def loader(batches: Batches, positions: Positions, workers: int) -> DataLoader[tuple[Tensor, Tensor]]:
    """A loader of whole batches: iterating it gives the rest of the epoch that the positions stand at."""
    return DataLoader(
        batches,
        batch_size=None,
        sampler=positions,
        num_workers=workers,
        persistent_workers=bool(workers),
        worker_init_fn=_ignore_interrupts,
        # the loader draws a number for its workers each time it starts; from torch's own generator that would be
        # one draw more in a resumed run, and dropout would go another way
        generator=torch.Generator(),
    )


def _ignore_interrupts(_worker: int) -> None:
    # Ctrl-C reaches every process of the terminal; the workers must live until the main process has saved its state
    signal.signal(signal.SIGINT, signal.SIG_IGN)
