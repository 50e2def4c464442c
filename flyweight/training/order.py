"""Which images each epoch shows, and in which order: by the seed, the epoch and the losses so far, and nothing else."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from flyweight.machine.together import summed
from flyweight.recipes.sections import TrainConfig

WHOLE = 8
"""Of the epochs the first one and the last of so many parts leave nothing out."""

NEVER_SHOWN = 1e9
"""In place of the loss of an image that no epoch has shown yet: it is none of the easy ones."""


class Drawn(NamedTuple):
    """The images of an epoch in their order.

    Attributes:
        indices: (M,) int64 in the data set; whole batches of them are shown, and what is left over is not.
        before: (M,) int64, how often each of them came earlier in the epoch; none: none comes twice.
        weights: (N,) float32, what each image of the data set counts in the loss, on average 1; none: all count 1.
    """

    indices: np.ndarray
    before: np.ndarray | None = None
    weights: np.ndarray | None = None


class Order:
    """Draws the images of each epoch.

    With ``skip_easy`` an epoch leaves out a share of the images: half of the easy ones, which are twice that share and
    had the smallest losses when they were last shown. The half is drawn anew each time, and the other half counts
    twice as much as the hard ones, so that the mean gradient is on average that of all images. The first epoch, which
    knows no losses, and the last eighth of the epochs show every image (Qin et al. 2024, "InfoBatch: lossless training
    speed up by unbiased dynamic data pruning", which takes the losses below the mean; a fixed share makes epochs of a
    length that is known before).

    Args:
        labels: (N,) of the training images.
        size: images of a whole batch.
        config: ``epochs``, ``seed``, ``sampling`` and ``skip_easy``.
    """

    def __init__(self, labels: np.ndarray, size: int, config: TrainConfig) -> None:
        self.labels, self.size, self.config = labels, size, config
        self.left_out = round(config.skip_easy * len(labels))

    def skips(self, epoch: int) -> bool:
        """Whether an epoch, counted from 0, leaves images out."""
        whole = -(-self.config.epochs // WHOLE)
        return self.left_out > 0 and 0 < epoch < self.config.epochs - whole

    def steps(self, epoch: int) -> int:
        """Of an epoch, counted from 0."""
        return (len(self.labels) - self.left_out * self.skips(epoch)) // self.size

    def steps_before(self, epoch: int) -> int:
        """Of all epochs before one; before the one after the last: of the whole training."""
        return sum(map(self.steps, range(epoch)))

    def draw(self, epoch: int, losses: Tensor | None) -> Drawn:
        """The images of an epoch.

        Args:
            epoch: counted from 0.
            losses: of the images, see :func:`unknown_losses`; none: nothing is ever left out.
        """
        count, seed = len(self.labels), self.config.seed
        if self.config.sampling == "balanced":
            indices = balanced(self.labels, count // self.size * self.size, seed, epoch)
            return Drawn(indices, repetitions(indices))
        indices = np.random.default_rng((seed, epoch)).permutation(count)
        if losses is None or not self.skips(epoch):
            return Drawn(indices)
        easy = np.argsort(losses[0].cpu().numpy(), kind="stable")[: 2 * self.left_out]
        # numpy fills a short seed up with zeros: (seed, epoch, 0) would be the stream of the order
        gone = np.random.default_rng((seed, epoch, 1)).permutation(easy)[: self.left_out]
        # their mean over what is shown is 1, so that a learning rate keeps its meaning
        weights = np.full(count, 1 - self.left_out / count, np.float32)
        weights[easy] *= 2
        kept = np.ones(count, bool)
        kept[gone] = False
        return Drawn(indices[kept[indices]], None, weights)

    def unknown_losses(self, device: torch.device) -> Tensor | None:
        """(2, N) float32: of each image the loss when an earlier epoch last showed it, and this process's of this one.

        None where nothing is left out. Zero stands for what this epoch, or this process, has not shown.
        """
        if not self.left_out:
            return None
        return torch.stack((torch.full((len(self.labels),), NEVER_SHOWN), torch.zeros(len(self.labels)))).to(device)

    def end(self, epoch: int, drawn: Drawn, losses: Tensor | None) -> None:
        """Let the losses of an epoch that has ended, those of all processes, be the last ones known."""
        if losses is None:
            return
        shown = torch.from_numpy(drawn.indices[: self.steps(epoch) * self.size]).to(losses.device)
        losses[0, shown] = summed(losses[1].clone())[shown]
        losses[1].zero_()


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
