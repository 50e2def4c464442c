"""All that a training changes while it goes on: what a checkpoint holds, and how it comes back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from flyweight.runs.fitting import finite
from flyweight.training.history import Epoch
from flyweight.training.resume import unlike


@dataclass
class State:
    """Where a training stands.

    Attributes:
        network: with the weights of the last step.
        optimizer: with its momentum.
        schedule: of the learning rate.
        average: of the weights; none: the recipe does not average.
        totals: (2,) float32: sums of the loss and of the hits over this process's images of the epoch so far.
        epoch: epochs done.
        step: steps done in the epoch under way.
        seconds: that the epoch under way took before it was interrupted.
        learning_rate: of the last step, of the optimizer's first group.
        history: a row for each epoch done.
    """

    network: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler
    average: AveragedModel | None
    totals: Tensor
    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    learning_rate: float = 0.0
    history: list[Epoch] = field(default_factory=list)

    def __post_init__(self) -> None:
        # a mask of minus infinity that a network keeps in a buffer is no accident
        self._by_design = {name for name, value in self.network.state_dict().items() if not finite(value)}

    @property
    def tested(self) -> nn.Module:
        """The network that the test pass sees and the run ships."""
        return self.network if self.average is None else self.average.module

    def content(self, totals: Tensor) -> dict[str, Any]:
        """What a checkpoint keeps of it: tensors, numbers and containers of them.

        Args:
            totals: those of all processes together.
        """
        generator = _generator(self.totals.device)
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": torch.get_rng_state(),
            "device_random": generator.get_rng_state() if generator is not None else None,
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.seconds,
            "learning_rate": self.learning_rate,
            "totals": totals,
            "history": [vars(row) for row in self.history],
        }

    def load(self, content: Mapping[str, Any]) -> None:
        """Go back to where a checkpoint stands."""
        self.network.load_state_dict(content["network"])
        if self.average is not None:
            self.average.load_state_dict(content["average"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.schedule.load_state_dict(content["schedule"])
        self.epoch, self.step, self.seconds = content["epoch"], content["step"], content["seconds"]
        # of versions before it was kept: it counts only where an epoch had no step left
        self.learning_rate = float(content.get("learning_rate", 0.0))
        self.history = [Epoch(**row) for row in content["history"]]
        torch.set_rng_state(content["random"])
        generator, device_random = _generator(self.totals.device), content.get("device_random")
        if generator is not None and device_random is not None:
            generator.set_rng_state(device_random)
        self.totals.copy_(content["totals"])

    def unlike(self, content: Mapping[str, Any]) -> str | None:
        """The first part of a checkpoint's schedule or optimizer that is not of this training's kind; None: all are."""
        made = self.optimizer.state_dict()["param_groups"]
        wrong = unlike(self.schedule.state_dict(), content["schedule"], "schedule")
        wrong = wrong or unlike(made, content["optimizer"]["param_groups"], "optimizer.param_groups")
        shapes = [parameter.shape for group in self.optimizer.param_groups for parameter in group["params"]]
        kept = content["optimizer"]["state"]
        names = {name for slots in kept.values() for name in slots}
        for number, slots in kept.items():
            if wrong is None and slots.keys() != names:  # torch takes it, and misses it in its next step
                wrong = f"optimizer.state.{number}"
            for name, slot in slots.items():
                fits = isinstance(slot, Tensor) and slot.shape in (shapes[number], torch.Size())
                if wrong is None and slot is not None and not fits:
                    wrong = f"optimizer.state.{number}.{name}"
        return wrong

    def broken(self, content: Mapping[str, Any]) -> str | None:
        """The first number in a checkpoint's content that is not finite, by its name; none: all are."""
        for name, value in _values(content):
            section, _, key = name.partition(".")
            # the average calls them as the network does, inside its module
            own = key.removeprefix("module.") if section == "average" else key
            if not finite(value) and not (section in ("network", "average") and own in self._by_design):
                return name
        return None


def _values(content: Any, name: str = "") -> Iterator[tuple[str, Tensor | float]]:
    """The tensors and numbers in nested containers, each with the way to it, joined by dots."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from _values(value, f"{name}.{key}" if name else str(key))
    elif isinstance(content, list | tuple):
        for place, value in enumerate(content):
            yield from _values(value, f"{name}.{place}")
    elif isinstance(content, Tensor | float):
        yield name, content


def _generator(device: torch.device) -> Any:
    """What knows the random state of a device other than the CPU; None for the CPU."""
    return None if device.type == "cpu" else torch.get_device_module(device)
