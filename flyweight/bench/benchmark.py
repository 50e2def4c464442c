"""All parts of the benchmark in one result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from flyweight.bench import DATA, Part, PeerData
from flyweight.bench.comparisons import Comparison, Tell, TimeToTarget, throughput, time_to_target
from flyweight.bench.costs import Augmentation, Growth, augmentation, growth, inference
from flyweight.machine import environment


@dataclass
class Benchmark:
    """What was measured; a part that was not asked for is empty.

    Attributes:
        machine: where.
        training: images a second on the same network, with dropout and without.
        target: seconds to the target.
        augmentation: its share of a training step.
        inference: images a second, eager PyTorch beside ours.
        growth: how cost and memory grow.
    """

    machine: dict[str, Any]
    training: list[Comparison] = field(default_factory=list)
    target: TimeToTarget | None = None
    augmentation: Augmentation | None = None
    inference: list[Comparison] = field(default_factory=list)
    growth: Growth | None = None

    def as_json(self) -> dict[str, Any]:
        """Everything in it, with the ratios."""
        return {
            "machine": self.machine,
            "training": [comparison.as_json() for comparison in self.training],
            "target": self.target.as_json() if self.target else None,
            "augmentation": self.augmentation.as_json() if self.augmentation else None,
            "inference": [comparison.as_json() for comparison in self.inference],
            "growth": self.growth.as_json() if self.growth else None,
        }

    def text(self) -> str:
        """Aligned plain text for a terminal."""
        lines = []
        for peer, comparisons in (("course loop", self.training), ("eager PyTorch", self.inference)):
            if comparisons:
                lines += [f"{'images a second':44} {peer:28} {'flyweight':28}  ratio"]
                lines += [comparison.line() for comparison in comparisons] + [""]
        lines += [part.text() for part in (self.augmentation, self.growth, self.target) if part]
        return "\n".join(lines)


def run(
    parts: Sequence[Part],
    rounds: int,
    images: int,
    batch_size: int,
    seeds: int,
    tell: Tell,
    data: PeerData = DATA,
) -> Benchmark:
    """Measure; minutes, on a machine that should do nothing else.

    Args:
        parts: what.
        rounds: how often each side is run; a figure is the median.
        images: in an epoch of the comparison of the training loops.
        batch_size: of both training loops.
        seeds: how many trainings to the target.
        tell: called with a line before each measurement.
        data: what the comparison of the training loops trains on.

    Raises:
        FlyweightError: a side failed.
    """
    result = Benchmark(environment.describe())
    if "training" in parts:
        result.training = [throughput(rounds, images, batch_size, dropout, tell, data) for dropout in (True, False)]
    if "augmentation" in parts:
        result.augmentation = augmentation(rounds, tell)
    if "inference" in parts:
        result.inference = inference(rounds, tell)
    if "growth" in parts:
        result.growth = growth(rounds, tell)
    if "target" in parts:
        result.target = time_to_target(seeds, tell)
    return result
