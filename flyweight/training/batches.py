"""Augmented batches of an epoch, in this process or in workers: the same ones either way."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from multiprocessing.connection import wait
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from flyweight.data import Dataset
from flyweight.images.augment import Augmenter
from flyweight.machine.together import Share
from flyweight.training.order import Drawn


class Asked(NamedTuple):
    """What a batch is made of, so that a worker process needs no state.

    Attributes:
        epoch: counted from 0.
        indices: (N,) int64 of its images in the data set.
        before: how often each of them came earlier in the epoch; none: never.
    """

    epoch: int
    indices: np.ndarray
    before: list[int] | None = None


class Batches(TorchDataset[tuple[Tensor, Tensor, Tensor]]):
    """Augmented batches.

    Args:
        dataset: whose training images.
        augmenter: augments them.
        cycle: after so many epochs the augmented images of the first come again, in another order; none: they never do.
    """

    def __init__(self, dataset: Dataset, augmenter: Augmenter, cycle: int | None = None) -> None:
        self.split, self.augmenter, self.cycle = dataset.train, augmenter, cycle

    def __getitem__(self, asked: Asked) -> tuple[Tensor, Tensor, Tensor]:
        """(images (N, H, W, C) uint8, labels (N,) int64, indices (N,) int64 in the data set)."""
        epoch, indices, before = asked
        images = self.augmented(indices, epoch, before)
        return torch.from_numpy(images), torch.from_numpy(self.split.labels[indices]), torch.from_numpy(indices)

    def augmented(self, indices: np.ndarray, epoch: int, before: list[int] | None = None) -> np.ndarray:
        """Images as they are in an epoch: (N, H, W, C) uint8.

        Args:
            indices: (N,) of them in the data set.
            epoch: counted from 0.
            before: how often each of them came earlier in the epoch; none: never.
        """
        drawn = epoch if self.cycle is None else epoch % self.cycle
        return self.augmenter(self.split.images[indices], indices.tolist(), drawn, before)


class Asking:
    """A sampler: what the loader is to make next, from the images of an epoch.

    Args:
        share: of each batch, that this process takes.
    """

    def __init__(self, share: Share) -> None:
        self.share = share
        self.begin(0, Drawn(np.empty(0, np.int64)), range(0))

    def begin(self, epoch: int, drawn: Drawn, steps: range) -> None:
        """Ask for these steps of an epoch from now on."""
        self._epoch, self._drawn, self._steps = epoch, drawn, steps

    def __iter__(self) -> Iterator[Asked]:
        indices, before = self._drawn.indices, self._drawn.before
        for step in self._steps:
            mine = step * self.share.size + self.share.places
            yield Asked(self._epoch, indices[mine], None if before is None else before[mine].tolist())

    def __len__(self) -> int:
        return len(self._steps)


def loader(batches: Batches, asking: Asking, workers: int) -> DataLoader[tuple[Tensor, Tensor, Tensor]]:
    """A loader of whole batches: iterating it gives the rest of the epoch that is asked for, as arrays."""
    return DataLoader(
        batches,
        batch_size=None,
        sampler=asking,
        collate_fn=_arrays,
        num_workers=workers,
        persistent_workers=bool(workers),
        worker_init_fn=_begin_worker,
        # the loader draws a number for its workers each time it starts; from torch's own generator that would be
        # one draw more in a resumed run, and dropout would go another way
        generator=torch.Generator(),
    )


def _end_with_parent() -> None:
    # torch has a worker look for its parent every five seconds, and never end where the pipe to a dead one is full
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _arrays(batch: Iterable[Tensor]) -> tuple[np.ndarray, ...]:
    # a tensor goes from process to process by a socket in the folder for temporary files, without end where the name of
    # that is long, and by shared memory, of which a container has 64 MB; a kill may leave both. An array goes by a pipe
    return tuple(tensor.numpy() for tensor in batch)


def _begin_worker(_worker: int) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Ctrl-C and the end of a terminal reach every process of it; the workers must live until the main process has saved
    # its state
    for number in ("SIGINT", "SIGHUP"):
        if hasattr(signal, number):
            signal.signal(getattr(signal, number), signal.SIG_IGN)
    # torchrun, a batch system and a service manager send SIGTERM to them, too, and kill what is left half a minute
    # later
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(30))
