"""What the processes of a training do together: sums, words of the first one to all, one voice for an error.

With one process all of it does nothing. A process that is gone is a `PeerError` in those that wait for it.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor

from flyweight.errors import FlyweightError, PeerError
from flyweight.machine import launched
from flyweight.text import one_line, short

T = TypeVar("T")


def processes() -> PartialState:
    """The processes of this training: one, or those that torchrun started, with gloo where there is no accelerator.

    Raises:
        PeerError: one of them ended before all had met.
    """
    with _met():
        # without being told so, accelerate takes processes on a machine without an accelerator for unrelated ones
        return PartialState(cpu=not torch.accelerator.is_available())


@dataclass(frozen=True)
class Share:
    """The images of each batch that one process takes.

    With the image at place i it takes the one at size - 1 - i, which mixup mixes it with; in the middle of an odd
    batch is one that is mixed with itself. The shares of two processes differ by one pair at most.

    Attributes:
        size: images of a whole batch.
        rank: of the process, from 0.
        world: how many processes there are.
    """

    size: int
    rank: int = 0
    world: int = 1

    @cached_property
    def places(self) -> np.ndarray:
        """(N,) int64: where its images stand in the whole batch, in their order."""
        pairs = (self.size + 1) // 2
        first = np.arange(pairs * self.rank // self.world, pairs * (self.rank + 1) // self.world)
        return np.unique(np.concatenate([first, self.size - 1 - first]))

    @property
    def weight(self) -> float:
        """Which part of the whole batch it is."""
        return len(self.places) / self.size


def my_share(size: int) -> Share:
    """What this process takes of each batch.

    Args:
        size: images of a whole batch.

    Raises:
        FlyweightError: there are more processes than pairs of images.
    """
    state = processes()
    if (size + 1) // 2 < state.num_processes:
        raise FlyweightError(
            f"train.batch_size: {size} images are too few for {state.num_processes} processes, each of which takes a"
            f" pair at least: choose {2 * state.num_processes - 1} or more, or fewer processes"
        )
    return Share(size, state.process_index, state.num_processes)


def summed(tensor: Tensor) -> Tensor:
    """The sum over all processes, the same to the bit in each; in place."""
    if processes().num_processes > 1:
        with _met():
            dist.all_reduce(tensor)
    return tensor


def from_first(value: T) -> T:
    """What the first process gives: numbers, tensors on the CPU, containers of them; in the others that, too."""
    if processes().num_processes == 1:
        return value
    told = [value]
    with _met():
        dist.broadcast_object_list(told)
    return told[0]


def of_all(value: T) -> list[T]:
    """What each process gives, in the order of their ranks."""
    state = processes()
    if state.num_processes == 1:
        return [value]
    told: list[Any] = [None] * state.num_processes
    with _met():
        dist.all_gather_object(told, value)
    return told


def agree_on(facts: Mapping[str, Any]) -> None:
    """Go on only where all processes are about to do the same.

    Args:
        facts: what must be equal, by what a person calls it.

    Raises:
        FlyweightError: one is another in two of them; all raise it.
    """
    first, *others = of_all(dict(facts))
    for number, other in enumerate(others, start=2):
        for name, value in first.items():
            if other.get(name) != value:
                raise FlyweightError(
                    f"{name} is {short(repr(value), 60)} in the first process and {short(repr(other.get(name)), 60)} in"
                    f" process {number}: give all machines the same call and the same data"
                )


def to_be_told(message: str) -> str | None:
    """What this process should say where it ends by an error: one that does takes all others of its job with it.

    The reason is the message of the first one that fails. One process of each machine tells it.

    Args:
        message: why this one ends.

    Returns:
        what to print; none: another process of this machine does.
    """
    if launched.rank() > 0:
        message = f"{message} (process {launched.rank() + 1} of {launched.world()}, on {platform.node()})"
    try:
        # torchrun's own store, which outlives the processes
        store = dist.TCPStore(
            os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), timeout=timedelta(seconds=5),
            wait_for_workers=False,
        )  # fmt: skip
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        why, machine = f"flyweight/{attempt}/why", f"flyweight/{attempt}/{os.environ.get('GROUP_RANK', '0')}"
        reason = store.compare_set(why, "", message).decode()
        return reason if store.add(machine, 1) == 1 else None
    except (KeyError, ValueError, RuntimeError):
        return message


def leave() -> None:
    """Close what connects this process to the others of its job.

    Where it is Python's end that does so, torch's threads may still run: on a busy machine it then now and then says
    "terminate called without an active exception" and aborts.
    """
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def _met() -> Iterator[None]:
    """Where processes wait for each other: what torch raises when one has gone is told as that."""
    try:
        yield
    except RuntimeError as error:
        if launched.world() == 1:
            raise
        # of what gloo says, without its source's line and its guesses
        reason = short(one_line(error).rpartition("] ")[2].partition(". ")[0].removeprefix("]: "), 100)
        raise PeerError(
            f"another process of this job has ended, and this one with it ({reason}); the last checkpoint is whole:"
            " start all of them again with --resume and the run folder"
        ) from None
