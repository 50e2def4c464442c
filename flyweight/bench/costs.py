"""What our own costs depend on: augmentation, inference, growth with images and MACs, memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np

from flyweight import data, recipes
from flyweight.analysis import analyze
from flyweight.bench import sides
from flyweight.bench.asking import BATCHES, WAYS, Batches
from flyweight.bench.comparisons import Comparison, Tell
from flyweight.data.cifar10 import SPEC
from flyweight.images.augment import Augmenter
from flyweight.networks.build import build
from flyweight.recipes import sections

SIZES = (5_000, 10_000, 20_000, 50_000)
NETWORKS = ("sprint", "strided", "dilated", "course")


@dataclass(frozen=True)
class Augmentation:
    """The brief's augmentation as the sprint recipe sets it.

    Attributes:
        ours: microseconds an image of the batched way, in each round.
        albumentations: microseconds an image of albumentations itself, in each round.
        step: microseconds an image of a whole training step of sprint, in each round.
    """

    ours: tuple[float, ...]
    albumentations: tuple[float, ...]
    step: tuple[float, ...]

    @property
    def share(self) -> float:
        """Of a training step, in percent."""
        return 100 * median(self.ours) / median(self.step)

    def as_json(self) -> dict[str, Any]:
        """Everything in it, and the share."""
        return {**asdict(self), "share": self.share}

    def text(self) -> str:
        """One line."""
        return (
            f"augmentation: {median(self.ours):.0f} us an image ({median(self.albumentations):.0f} by albumentations),"
            f" {self.share:.1f} % of a training step of sprint\n"
        )


def augmentation(rounds: int, tell: Tell) -> Augmentation:
    """Time the augmentation alone, both ways, and a training step of which it is a part, in turn."""
    recipe = recipes.load("sprint")
    dataset = data.load(recipe.data.name)
    images = np.array(dataset.train.images[:2560])
    augmenter = Augmenter(recipe.augment, dataset.mean)

    def cost(way: Callable[..., np.ndarray]) -> float:
        began = time.perf_counter()
        for start in range(0, len(images), 256):
            way(images[start : start + 256], range(start, start + 256), 0)
        return 1e6 * (time.perf_counter() - began) / len(images)

    cost(augmenter)  # the first call imports albumentations
    ours, library, step = [], [], []
    for number in range(1, rounds + 1):
        tell(f"augmentation {number}/{rounds}")
        ours.append(cost(augmenter))
        library.append(cost(augmenter.by_albumentations))
        history, _ = sides.ours("sprint", train__epochs=2, data__train_images=6400, data__test_images=1000)
        step.append(1e6 / history[-1]["images_per_second"])
    return Augmentation(tuple(ours), tuple(library), tuple(step))


def inference(
    rounds: int, tell: Tell, networks: Sequence[str] = ("sprint", "dilated"), batches: Batches = BATCHES
) -> list[Comparison]:
    """Images a second from uint8 images to logits: eager PyTorch beside ours, by batch size and precision."""
    comparisons = []
    for name in networks:
        measured: dict[str, list[dict[int, float]]] = {way: [] for way in WAYS}
        for number in range(1, rounds + 1):
            tell(f"inference {number}/{rounds}, {name}")
            for way in WAYS:
                measured[way].append(sides.asking(way, name, batches))
        for size, _ in batches:
            eager, *ours = (tuple(rates[size] for rates in measured[way]) for way in WAYS)
            for way, rates in zip(WAYS[1:], ours, strict=True):
                comparisons.append(Comparison(f"inference, {name}, batch {size}, {way}", eager, rates))
    return comparisons


@dataclass(frozen=True)
class Growth:
    """How the cost of training grows.

    Attributes:
        images: microseconds an image in each round, by the number of training images.
        networks: microseconds an image in each round, by network.
        macs: of a forward pass, in millions, by network.
        memory: peak of the process in MiB, by the number of training images.
        memory_by_epochs: peak of the process in MiB, by the number of epochs.
    """

    images: dict[int, tuple[float, ...]]
    networks: dict[str, tuple[float, ...]]
    macs: dict[str, float]
    memory: dict[int, float]
    memory_by_epochs: dict[int, float]

    @property
    def deviation(self) -> float:
        """Largest distance of a size's cost an image from the mean over the sizes, in percent."""
        costs = [median(rounds) for rounds in self.images.values()]
        mean = sum(costs) / len(costs)
        return 100 * max(abs(cost - mean) for cost in costs) / mean

    def as_json(self) -> dict[str, Any]:
        """Everything in it, and the deviation from a straight line."""
        return {**asdict(self), "deviation": self.deviation}

    def text(self) -> str:
        """A small table for each of images, networks and epochs."""
        lines = ["training images   us an image (spread)   peak memory"]
        lines += [
            f"{size:15,}   {_spread(costs):20}   {self.memory[size]:7,.0f} MiB" for size, costs in self.images.items()
        ]
        lines += [f"linear within {self.deviation:.1f} %", "", "network      million MACs   us an image (spread)"]
        lines += [f"{name:12} {self.macs[name]:12.1f}   {_spread(costs)}" for name, costs in self.networks.items()]
        epochs = ", ".join(f"{memory:,.0f} MiB after {count}" for count, memory in self.memory_by_epochs.items())
        return "\n".join([*lines, "", f"peak memory by epochs (5,000 images): {epochs}", ""])


def _spread(costs: tuple[float, ...]) -> str:
    return f"{median(costs):.0f} ({min(costs):.0f} to {max(costs):.0f})"


def growth(rounds: int, tell: Tell) -> Growth:
    """Train on more and more images, on networks of more and more MACs, and for more epochs; in turn."""
    images: dict[int, list[float]] = {size: [] for size in SIZES}
    networks: dict[str, list[float]] = {name: [] for name in NETWORKS}
    memory, memory_by_epochs = dict.fromkeys(SIZES, 0.0), {}
    for number in range(1, rounds + 1):
        for size in SIZES:
            tell(f"growth {number}/{rounds}, {size:,} images")
            history, record = sides.ours("sprint", train__epochs=2, data__train_images=size, data__test_images=10_000)
            images[size].append(1e6 / history[-1]["images_per_second"])
            memory[size] = max(memory[size], record["peak_memory_mib"])
        for name in NETWORKS:
            tell(f"growth {number}/{rounds}, {name}")
            # all phases: the MACs that stand beside the cost are those of the whole map
            settings = {"model__network": name, "model__dropout": 0, "model__phases": "all", "data__train_images": 5000}
            history, _ = sides.ours("sprint", train__epochs=2, data__test_images=1000, **settings)
            networks[name].append(1e6 / history[-1]["images_per_second"])
    for epochs in (2, 4, 8):
        tell(f"memory, {epochs} epochs")
        _, record = sides.ours("sprint", train__epochs=epochs, data__train_images=5000, data__test_images=10_000)
        memory_by_epochs[epochs] = record["peak_memory_mib"]
    macs = {name: _macs(name) for name in NETWORKS}
    return Growth(
        {size: tuple(costs) for size, costs in images.items()},
        {name: tuple(costs) for name, costs in networks.items()},
        macs,
        memory,
        memory_by_epochs,
    )


def _macs(name: str) -> float:
    macs = analyze(build(sections.ModelConfig(network=name), SPEC), SPEC.shape).macs
    assert macs is not None  # every operator of the built-in networks is known
    return macs / 1e6
