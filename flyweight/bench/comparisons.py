"""Ours over the peer's, measured in turn (A B A B ...); a figure is the median over the rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from flyweight.bench import DATA, PeerData, sides
from flyweight.rules import load_ruleset

EPOCH_IMAGES = 50_000

Tell = Callable[[str], None]


def target_accuracy() -> float:
    """Test accuracy in percent that the brief asks for."""
    accuracy = load_ruleset("brief").accuracy
    assert accuracy is not None
    return accuracy


@dataclass(frozen=True)
class Comparison:
    """One figure of both sides; more is better.

    Attributes:
        name: what was measured.
        peer: the peer's images a second in each round.
        ours: our images a second in each round.
    """

    name: str
    peer: tuple[float, ...]
    ours: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Median of ours over median of the peer's."""
        return median(self.ours) / median(self.peer)

    def as_json(self) -> dict[str, Any]:
        """Everything in it, and the ratio."""
        return {**vars(self), "ratio": self.ratio}

    def line(self) -> str:
        """Medians, spread and ratio in one line of text."""
        both = [f"{median(side):9,.1f} ({min(side):,.1f} to {max(side):,.1f})" for side in (self.peer, self.ours)]
        return f"{self.name:44} {both[0]:28} {both[1]:28} {self.ratio:6.2f} x"


def throughput(
    rounds: int, images: int, batch_size: int, dropout: bool, tell: Tell, data: PeerData = DATA
) -> Comparison:
    """Images a second of training on the same network, batch size and augmentation.

    Args:
        rounds: how often each side is run.
        images: trained on in an epoch; the second of two epochs counts.
        batch_size: of both sides.
        dropout: with the network's dropout, or without on both sides.
        tell: called with a line before each process.
        data: what both sides train on.
    """
    peer, ours = [], []
    plain = ("--batch-size", str(batch_size), "--data", data, *([] if dropout else ["--no-dropout"]))
    settings: dict[str, object] = {
        "data__name": data,
        "data__train_images": images,
        "train__batch_size": batch_size,
    }
    if data == DATA:  # both sides test on so many; of the digits there are fewer
        settings["data__test_images"] = 1000
    if not dropout:
        settings["model__dropout"] = 0
    for number in range(1, rounds + 1):
        what = f"training {number}/{rounds}, {'with' if dropout else 'without'} dropout"
        tell(f"{what}: the course loop")
        peer.append(sides.peer("course_loop", 2, images, *plain)[-1]["images_per_second"])
        tell(f"{what}: flyweight")
        ours.append(sides.ours("course", train__epochs=2, **settings)[0][-1]["images_per_second"])
    name = f"training, course, batch {batch_size}, {'dropout' if dropout else 'no dropout'}"
    return Comparison(name, tuple(peer), tuple(ours))


@dataclass(frozen=True)
class TimeToTarget:
    """Seconds of the recipe sprint2 to the target, beside one epoch of each peer.

    Attributes:
        seconds: for each seed; None where the last epoch is below the target.
        accuracy: of each seed's last epoch, in percent.
        course_epoch: seconds of one epoch of the course loop, its test pass left out.
        resnet8_epoch: seconds of one epoch of MLPerf Tiny's ResNet-8, its test pass left out.
    """

    seconds: tuple[float | None, ...]
    accuracy: tuple[float, ...]
    course_epoch: float
    resnet8_epoch: float

    @property
    def median(self) -> float | None:
        """Median seconds; None where a seed missed the target."""
        reached = [seconds for seconds in self.seconds if seconds is not None]
        return median(reached) if len(reached) == len(self.seconds) else None

    def as_json(self) -> dict[str, Any]:
        """Everything in it, and the two ratios."""
        ratios = (None, None) if self.median is None else self._ratios(self.median)
        return {**vars(self), "course_epochs": ratios[0], "resnet8_epochs": ratios[1]}

    def text(self) -> str:
        """Seeds, times and ratios in one line."""
        times = ", ".join("never" if seconds is None else f"{seconds:.0f} s" for seconds in self.seconds)
        accuracies = ", ".join(f"{accuracy:.2f}" for accuracy in self.accuracy)
        line = f"time to {target_accuracy():.0f} %: {times} (last epoch {accuracies} %): "
        if self.median is None:
            return line + "not reached"
        course, resnet8 = self._ratios(self.median)
        return (
            line
            + f"{course:.2f} course epochs of {self.course_epoch:.0f} s,"
            + f" {resnet8:.2f} ResNet-8 epochs of {self.resnet8_epoch:.0f} s"
        )

    def _ratios(self, seconds: float) -> tuple[float, float]:
        return seconds / self.course_epoch, seconds / self.resnet8_epoch


def time_to_target(seeds: int, tell: Tell) -> TimeToTarget:
    """Train the recipe sprint2 to its end with several seeds, beside each of them a part of an epoch of both peers.

    Args:
        seeds: how many, from 0.
        tell: called with a line before each process.
    """
    seconds, accuracy, course, resnet8 = [], [], [], []
    for seed in range(seeds):
        tell(f"target {seed + 1}/{seeds}: the course loop")
        course.append(sides.peer("course_loop", 2, 6400)[-1]["images_per_second"])
        tell(f"target {seed + 1}/{seeds}: ResNet-8 of MLPerf Tiny")
        resnet8.append(sides.peer("resnet8_loop", 2, 3200)[-1]["images_per_second"])
        tell(f"target {seed + 1}/{seeds}: sprint2, seed {seed}")
        history, _ = sides.ours("sprint2", train__seed=seed)
        seconds.append(seconds_to(target_accuracy(), history))
        accuracy.append(history[-1]["test_accuracy"])
    return TimeToTarget(tuple(seconds), tuple(accuracy), EPOCH_IMAGES / median(course), EPOCH_IMAGES / median(resnet8))


def seconds_to(target: float, history: Sequence[dict[str, Any]]) -> float | None:
    """Seconds to the end of the first of the last epochs that all reach the target; None where the last does not."""
    total = sum(row["seconds"] for row in history)
    reached = None
    for row in reversed(history):
        if row["test_accuracy"] < target:
            break
        reached = total
        total -= row["seconds"]
    return reached
