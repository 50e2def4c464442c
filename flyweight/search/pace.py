"""How long a step of a network's training takes on this machine, beside another's: arithmetic does not say it."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from flyweight.images.spec import Spec
from flyweight.machine.together import processes
from flyweight.networks.build import build
from flyweight.recipes.sections import ModelConfig, TrainConfig
from flyweight.search.legal import Judge
from flyweight.search.space import Candidate
from flyweight.training import optimizer

STEPS = 5
"""Steps of each network that are timed after one that warms up."""


class Pace:
    """Compares training steps with those of one network.

    Args:
        reference: the network; none: any pace is allowed.
        train: how it is trained, with nothing left ``auto``.
        judge: who knows the space's limit, and the data.
    """

    def __init__(self, reference: Candidate | None, train: TrainConfig, judge: Judge) -> None:
        self.reference, self.train, self.judge = reference, train, judge

    def allows(self, candidate: Candidate) -> bool:
        """Whether a step takes no longer than the space allows."""
        limit = self.judge.space.step_time
        if self.reference is None or limit is None:
            return True
        one, other = (
            ModelConfig(network="drawn", table=network.network, phases=network.phases)
            for network in (candidate, self.reference)
        )
        return ratio(one, other, self.judge.spec, self.train) <= limit


def ratio(one: ModelConfig, other: ModelConfig, spec: Spec, train: TrainConfig) -> float:
    """How many times as long a step of one network's training takes as one of another's.

    They take steps in turn, and the fastest of each counts, for others may be using the machine.

    Args:
        one: a network.
        other: that it is compared with.
        spec: of the images and classes.
        train: how both are trained, with nothing left ``auto``.
    """
    steps = [_step(model, spec, train) for model in (one, other)]
    timed = [[step() for step in steps] for _ in range(1 + STEPS)][1:]
    mine, theirs = map(min, zip(*timed, strict=True))
    return mine / theirs


def _step(model: ModelConfig, spec: Spec, train: TrainConfig) -> Callable[[], float]:
    """What takes a step on random numbers, forwards, backwards and the optimizer, and gives its seconds."""
    device = processes().device
    network = build(model, spec).to(device=device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    made, count = optimizer.build(network.train(), train), train.batch_size or 1
    images = torch.randn(count, *spec.shape, device=device).to(memory_format=torch.channels_last)
    labels = torch.randint(len(spec.classes), (count,), device=device)

    def step() -> float:
        began = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=train.precision == "bfloat16"):
            loss = F.cross_entropy(network(images).float(), labels)
        loss.backward()
        made.step()
        made.zero_grad()
        loss.item()  # waits for the device
        return time.perf_counter() - began

    return step
