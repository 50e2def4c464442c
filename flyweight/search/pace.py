"""How long a step of a network's training takes on this machine: arithmetic does not say it."""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F

from flyweight.machine.together import processes
from flyweight.networks.build import build
from flyweight.recipes.sections import ModelConfig, TrainConfig
from flyweight.search.legal import Judge
from flyweight.search.space import Candidate
from flyweight.training import optimizer

STEPS = 4
"""Steps that are timed after one that warms up; the fastest counts, for others may be using the machine."""


class Pace:
    """Compares training steps with those of one network.

    Args:
        reference: the network; none: any pace is allowed.
        train: how it is trained, with nothing left ``auto``.
        judge: who knows the space's limit, and the data.
    """

    def __init__(self, reference: Candidate | None, train: TrainConfig, judge: Judge) -> None:
        self.train, self.judge = train, judge
        limit = judge.space.step_time
        self.most = None if reference is None or limit is None else limit * self.seconds(reference)

    def allows(self, candidate: Candidate) -> bool:
        """Whether a step takes no longer than the space allows."""
        return self.most is None or self.seconds(candidate) <= self.most

    def seconds(self, candidate: Candidate) -> float:
        """Of one step on random numbers: forwards, backwards and the optimizer."""
        spec, device = self.judge.spec, processes().device
        model = ModelConfig(network="drawn", table=candidate.network, phases=candidate.phases)
        network = build(model, spec).to(device=device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        made = optimizer.build(network.train(), self.train)
        count = self.train.batch_size or 1
        images = torch.randn(count, *spec.shape, device=device).to(memory_format=torch.channels_last)
        labels = torch.randint(len(spec.classes), (count,), device=device)
        fastest = float("inf")
        for number in range(STEPS + 1):
            began = time.perf_counter()
            with torch.autocast(device.type, torch.bfloat16, enabled=self.train.precision == "bfloat16"):
                loss = F.cross_entropy(network(images).float(), labels)
            loss.backward()
            made.step()
            made.zero_grad()
            loss.item()  # waits for the device
            if number:
                fastest = min(fastest, time.perf_counter() - began)
        return fastest
