"""Augmented batches of an epoch, in this process or in workers: the same ones either way.

Which images an epoch has, and in which order, depends on the seed and the epoch alone.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from flyweight.data import Dataset
from flyweight.images.augment import Augmenter
from flyweight.machine.together import Share

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PIPE = 1024 * 1024
"""Bytes that the workers' pipe is to hold: 256 images of 32x32. Linux lets everybody have so many, and no more."""


class Drawn(NamedTuple):
    """The images of an epoch in their order.

    Attributes:
        indices: (N,) int64.
        before: (N,) how often each of them came earlier in the epoch; none: none comes twice.
    """

    indices: np.ndarray
    before: np.ndarray | None = None


class Batches(TorchDataset[tuple[Tensor, Tensor, Tensor]]):
    """Augmented batches, addressed by (epoch, step), so that a worker process needs no state.

    Args:
        dataset: whose training images.
        augmenter: augments them.
        share: of each batch, that this process takes.
        seed: of the run.
        sampling: as in the recipe.
        cycle: after so many epochs the augmented images of the first come again, in another order; none: they never do.
    """

    def __init__(
        self,
        dataset: Dataset,
        augmenter: Augmenter,
        share: Share,
        seed: int,
        sampling: Literal["shuffle", "balanced"] = "shuffle",
        cycle: int | None = None,
    ) -> None:
        self.split, self.augmenter, self.share = dataset.train, augmenter, share
        self.seed, self.sampling, self.cycle = seed, sampling, cycle
        self._epoch, self._drawn = -1, Drawn(np.empty(0, np.int64))

    def __getitem__(self, position: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """(images (N, H, W, C) uint8, labels (N,) int64, indices (N,) int64 in the data set) of this process."""
        epoch, step = position
        if self._epoch != epoch:
            self._epoch, self._drawn = epoch, self._draw(epoch)
        mine = step * self.share.size + self.share.places
        indices, before = self._drawn.indices[mine], self._drawn.before
        images = self.augmented(indices, epoch, None if before is None else before[mine].tolist())
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

    def _draw(self, epoch: int) -> Drawn:
        labels = self.split.labels
        if self.sampling == "shuffle":
            return Drawn(np.random.default_rng((self.seed, epoch)).permutation(len(labels)))
        indices = balanced(labels, len(labels) // self.share.size * self.share.size, self.seed, epoch)
        return Drawn(indices, repetitions(indices))


def balanced(labels: np.ndarray, count: int, seed: int, epoch: int) -> np.ndarray:
    """The images of an epoch in which each class is drawn equally often, shuffled.

    The classes that have images take turns, and the turns go on from one epoch to the next, so that over a training no
    class is drawn more than once more than another. A class gives each of its images before it gives one again, in an
    order that is drawn anew each time: the images of a large class are seen equally often, too.

    Args:
        labels: (N,) of the training images.
        count: images an epoch.
        seed: of the run.
        epoch: counted from 0.

    Returns:
        (count,) int64 indices.
    """
    by_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1])
    present = [images for images in by_class if len(images)]
    drawn, chosen = epoch * count, np.empty(count, np.int64)
    for number, images in enumerate(present):
        own = np.arange((number - drawn) % len(present), count, len(present))
        if not len(own):
            continue
        # turns of this class before the epoch, and after it
        begin = (drawn + int(own[0])) // len(present)
        end = begin + len(own)
        # numpy fills a short seed up with zeros: (seed, number, 0) would be the stream of the epoch of that number
        rounds = [
            np.random.default_rng((seed, number, 1 + one)).permutation(images)
            for one in range(begin // len(images), -(-end // len(images)))
        ]
        chosen[own] = np.concatenate(rounds)[begin % len(images) :][: len(own)]
    return np.random.default_rng((seed, epoch)).permutation(chosen)


def repetitions(indices: np.ndarray) -> np.ndarray:
    """How often each of (N,) indices came before its place: (N,) int64, all zero where none comes twice."""
    places = np.argsort(indices, kind="stable")
    grouped = indices[places]
    # where the first of each group of equal indices stands
    first = np.searchsorted(grouped, grouped, side="left")
    before = np.empty_like(indices)
    before[places] = np.arange(len(indices)) - first
    return before


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


def loader(batches: Batches, positions: Positions, workers: int) -> DataLoader[tuple[Tensor, Tensor, Tensor]]:
    """A loader of whole batches: iterating it gives the rest of the epoch that the positions stand at, as arrays."""
    return _Loader(
        batches,
        batch_size=None,
        sampler=positions,
        collate_fn=_arrays,
        num_workers=workers,
        persistent_workers=bool(workers),
        worker_init_fn=_begin_worker,
        # the loader draws a number for its workers each time it starts; from torch's own generator that would be
        # one draw more in a resumed run, and dropout would go another way
        generator=torch.Generator(),
    )


class _Loader(DataLoader[tuple[Tensor, Tensor, Tensor]]):
    """A loader that takes a batch from its workers at once where the pipe can hold one.

    Through a pipe of 64 kB a batch comes in a dozen pieces, and worker and main process wait for each other at each of
    them. That is nothing beside a step on a CPU, and not far from one on a GPU (docs/performance.md).
    """

    def __iter__(self) -> Any:
        iterator = super().__iter__()
        # torch names neither in its documentation, and without them all is as usual
        reader = getattr(getattr(iterator, "_worker_result_queue", None), "_reader", None)
        if reader is not None and hasattr(fcntl, "F_SETPIPE_SZ"):
            with suppress(OSError):  # this user's pipes hold as much as they may
                fcntl.fcntl(reader.fileno(), fcntl.F_SETPIPE_SZ, PIPE)
        return iterator


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
