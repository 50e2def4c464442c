"""Our training loop beside the course's, in one run on this machine, as ratios.

Both sides run as processes of their own, in turn (A B A B ...), so that neither warms or changes the other: our
allocator settings would speed the peer up, too. A figure is the median over the rounds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from flyweight.errors import FlyweightError

PEER = Path(__file__).parents[1] / "benchmarks" / "course_loop.py"
EPOCH_IMAGES = 50_000
TARGET = 85.0

Report = Callable[[str], None]


@dataclass(frozen=True)
class Comparison:
    """One figure of both sides.

    Attributes:
        name: what was measured.
        unit: of the figures; more is better.
        peer: the peer's figure in each round.
        ours: our figure in each round.
    """

    name: str
    unit: str
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
        sides = [f"{median(side):9,.1f} ({min(side):,.1f} to {max(side):,.1f})" for side in (self.peer, self.ours)]
        return f"{self.name:44} {sides[0]:28} {sides[1]:28} {self.ratio:6.2f} x"


def throughput(rounds: int, images: int, batch_size: int, dropout: bool, tell: Report) -> Comparison:
    """Images a second of training on the same network, batch size and augmentation.

    Args:
        rounds: how often each side is run.
        images: trained on in an epoch; the second of two epochs counts.
        batch_size: of both sides.
        dropout: with the network's dropout, or without on both sides.
        tell: called with a line before each process.

    Raises:
        FlyweightError: the peer is not there, or a side failed.
    """
    peer, ours = [], []
    for number in range(1, rounds + 1):
        what = f"round {number}/{rounds}, {'with' if dropout else 'without'} dropout"
        tell(f"{what}: the course loop")
        peer.append(peer_epochs(2, images, batch_size, dropout)[-1]["images_per_second"])
        tell(f"{what}: flyweight")
        ours.append(our_epochs(2, images, batch_size, dropout)[-1]["images_per_second"])
    name = f"training, course, batch {batch_size}, {'dropout' if dropout else 'no dropout'}"
    return Comparison(name, "images/s", tuple(peer), tuple(ours))


def peer_epochs(epochs: int, images: int, batch_size: int, dropout: bool) -> list[dict[str, Any]]:
    """Run the course's loop; a record for each epoch.

    Raises:
        FlyweightError: the peer is not there (it comes with the source checkout only), or it failed.
    """
    if not PEER.is_file():
        raise FlyweightError(f"the peer {PEER} is not there: run the benchmark from a source checkout of flyweight")
    options = ["--epochs", str(epochs), "--images", str(images), "--batch-size", str(batch_size), "--json"]
    output = _run([str(PEER), *options, *([] if dropout else ["--no-dropout"])])
    return [json.loads(line) for line in output.splitlines()]


def our_epochs(epochs: int, images: int, batch_size: int, dropout: bool) -> list[dict[str, Any]]:
    """Train the course network with our loop; a record for each epoch.

    Raises:
        FlyweightError: it failed.
    """
    settings = [f"train.epochs={epochs}", f"train.batch_size={batch_size}", f"data.train_images={images}"]
    settings += ["data.test_images=1000", *([] if dropout else ["model.dropout=0"])]
    return _train("course", settings)


@dataclass(frozen=True)
class TimeToTarget:
    """Seconds of the sprint recipe to the target, beside one epoch of the course loop.

    Attributes:
        seconds: for each seed; None where the last epoch is below the target.
        accuracy: of each seed's last epoch, in percent.
        peer_epoch: seconds of one epoch of the course loop, its test pass left out.
    """

    seconds: tuple[float | None, ...]
    accuracy: tuple[float, ...]
    peer_epoch: float

    @property
    def ratio(self) -> float | None:
        """Median seconds over the peer's epoch; None where a seed missed the target."""
        reached = [seconds for seconds in self.seconds if seconds is not None]
        return median(reached) / self.peer_epoch if len(reached) == len(self.seconds) else None

    def as_json(self) -> dict[str, Any]:
        """Everything in it, and the ratio."""
        return {**vars(self), "ratio": self.ratio}

    def line(self) -> str:
        """Seeds, times and ratio in one line of text."""
        times = ", ".join("never" if seconds is None else f"{seconds:.0f} s" for seconds in self.seconds)
        ratio = "not reached" if self.ratio is None else f"{self.ratio:.2f} course epochs of {self.peer_epoch:.0f} s"
        accuracies = ", ".join(f"{accuracy:.2f}" for accuracy in self.accuracy)
        return f"time to {TARGET:.0f} %: {times} (last epoch {accuracies} %): {ratio}"


def time_to_target(seeds: int, peer_rate: float, tell: Report) -> TimeToTarget:
    """Train the sprint recipe to its end with several seeds.

    Args:
        seeds: how many, from 0.
        peer_rate: images a second of the course loop, with dropout, from the same run.
        tell: called with a line before each process.
    """
    seconds, accuracy = [], []
    for seed in range(seeds):
        tell(f"sprint, seed {seed}")
        history = _train("sprint", [f"train.seed={seed}"])
        seconds.append(seconds_to(TARGET, history))
        accuracy.append(history[-1]["test_accuracy"])
    return TimeToTarget(tuple(seconds), tuple(accuracy), EPOCH_IMAGES / peer_rate)


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


def _train(recipe: str, settings: Sequence[str]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        options = [option for setting in settings for option in ("--set", setting)]
        _run(["-m", "flyweight", "train", recipe, "--out", f"{folder}/run", "--no-report", *options])
        lines = Path(f"{folder}/run/history.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _run(arguments: Sequence[str]) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise FlyweightError(f"{' '.join(arguments[:4])} failed with exit code {done.returncode}: {last}")
    return done.stdout
