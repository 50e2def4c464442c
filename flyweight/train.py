"""One training loop for every recipe: accelerate for the devices, a short loop of our own for the rest.

All that a step depends on is its position (seed, epoch, step) and the state in the checkpoint, so a resumed run is
equal to the unbroken one to the bit (same machine, same build, same number of threads).
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator, PartialState
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from flyweight import inference
from flyweight.allocator import keep_freed_memory
from flyweight.augment import Augmenter
from flyweight.blocks import normalize
from flyweight.checkpoint import Card, Run
from flyweight.config import Recipe, TrainConfig
from flyweight.data import Dataset
from flyweight.errors import FlyweightError


class Observer(Protocol):
    """Who is told how a training goes; the command line draws a progress bar with it."""

    def start(self, epoch: int, epochs: int, step: int, steps: int, images: int) -> None:
        """An epoch (from 0) begins at a step; ``images`` go into each step."""

    def step(self, step: int, loss: float | None) -> None:
        """So many steps of the epoch are done; the loss is told now and then."""

    def epoch(self, line: str) -> None:
        """An epoch has ended; the line is the one in the log."""

    def note(self, message: str) -> None:
        """Something that the user should know."""


@dataclass
class Epoch:
    """A row of the history.

    Losses are means a picture, accuracies are in percent, the rate is the last step's; the seconds are those of the
    training and the test pass together, the images a second those of the training alone.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_correct: int
    test_total: int
    test_accuracy: float
    rate: float
    seconds: float
    images_per_second: float

    def line(self, epochs: int, split: str) -> str:
        """The row as a line of the log."""
        return (
            f"Epoch {self.epoch}/{epochs} | train: loss {self.train_loss:.4f}, accuracy {self.train_accuracy:.2f}% |"
            f" {split}: average loss {self.test_loss:.4f},"
            f" accuracy {self.test_correct}/{self.test_total} ({self.test_accuracy:.2f}%) |"
            f" rate {self.rate:.6f} | {self.seconds:.1f} s, {self.images_per_second:,.0f} images/s"
        )


@dataclass(frozen=True)
class Result:
    """A finished training.

    Attributes:
        model: the network that is shipped: the averaged one where the recipe averages. On the CPU, in eval mode.
        card: what travels with its weights.
        history: a row for each epoch.
    """

    model: nn.Module
    card: Card
    history: list[Epoch]


class Batches(TorchDataset[tuple[Tensor, Tensor]]):
    """Augmented batches, addressed by (epoch, step), so that a worker process needs no state."""

    def __init__(self, dataset: Dataset, augmenter: Augmenter, size: int, seed: int, rank: int, world: int) -> None:
        self.split, self.augmenter, self.size, self.seed = dataset.train, augmenter, size, seed
        self.rank, self.world = rank, world
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))

    def __getitem__(self, position: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """(images (N, H, W, C) uint8, labels (N,) int64) of this process."""
        epoch, step = position
        if self._order[0] != epoch:
            order = np.random.default_rng((self.seed, epoch)).permutation(len(self.split.labels))
            self._order = (epoch, order)
        indices = self._order[1][step * self.size : (step + 1) * self.size][self.rank :: self.world]
        images = self.augmenter(self.split.images[indices], indices.tolist(), epoch)
        return torch.from_numpy(images), torch.from_numpy(self.split.labels[indices])


def fit(network: nn.Module, dataset: Dataset, recipe: Recipe, run: Run, observer: Observer) -> Result:
    """Train a network from where its run folder left off, with a test pass after each epoch.

    The weights are those of the last epoch; the test set chooses nothing.

    Args:
        network: with fresh weights; where there is a checkpoint its weights replace them.
        dataset: pictures, labels and statistics.
        recipe: what to do; ``auto`` settings must have been settled by :func:`settle`.
        run: where history, checkpoints and the weights go.
        observer: who is told.

    Raises:
        FlyweightError: the loss is no longer finite.
        KeyboardInterrupt: the user asked to stop; everything up to the last step is in the run folder.
    """
    keep_freed_memory()
    trainer = _Trainer(network, dataset, recipe, run, observer)
    trainer.restore()
    with _stop_on_signal() as stop:
        while trainer.epoch < recipe.train.epochs:
            trainer.run_epoch(stop)
    return trainer.result()


def processes() -> PartialState:
    """The processes of this training: one, or those that torchrun started, with gloo where there is no accelerator."""
    # without being told so, accelerate takes processes on a machine without an accelerator for unrelated ones
    return PartialState(cpu=not torch.accelerator.is_available())


def settle(config: TrainConfig) -> TrainConfig:
    """Replace ``auto`` by what this machine gains from, so that a resumed run repeats the choice.

    Measured on two cores with AVX-512 BF16: bfloat16 autocast in channels-last trains 1.5 times as fast as float32;
    a worker process for the augmentation pays only where there is a core to spare.
    """
    precision = config.precision
    if precision == "auto":
        precision = "bfloat16" if _gains_from_bfloat16() else "float32"
    workers = config.workers
    if workers is None:
        workers = 0 if torch.get_num_threads() <= 2 and not torch.cuda.is_available() else 2
    return config.model_copy(update={"precision": precision, "workers": workers})


def _gains_from_bfloat16() -> bool:
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if torch.backends.mps.is_available():
        return False
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


class _Trainer:
    """The state of a training and its steps."""

    def __init__(self, network: nn.Module, dataset: Dataset, recipe: Recipe, run: Run, observer: Observer) -> None:
        self.dataset, self.recipe, self.run, self.observer = dataset, recipe, run, observer
        self.config = recipe.train
        self.accelerator = Accelerator(cpu=processes().device.type == "cpu")
        self.device = self.accelerator.device
        batches = Batches(
            dataset,
            Augmenter(recipe.augment, dataset.mean, self.config.seed),
            self.config.batch_size,
            self.config.seed,
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )
        count = len(dataset.train.labels)
        self.steps = count // self.config.batch_size
        if self.steps == 0:
            raise FlyweightError(
                f"train.batch_size: {self.config.batch_size} is more than the {count} training images; lower it"
            )
        self.positions = _Positions(self.steps)
        self.loader = DataLoader(
            batches,
            batch_size=None,
            sampler=self.positions,
            num_workers=self.config.workers or 0,
            persistent_workers=bool(self.config.workers),
            worker_init_fn=_ignore_interrupts,
            # the loader draws a number for its workers each time it starts; from torch's own generator that would be
            # one draw more in a resumed run, and dropout would go another way
            generator=torch.Generator(),
        )
        self.network = network.to(device=self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = _optimizer(self.network, self.config)
        self.schedule = OneCycleLR(
            self.optimizer,
            self.config.peak_rate,
            # the scheduler counts the state before the first step, too
            total_steps=self.steps * self.config.epochs + 1,
            pct_start=self.config.warmup,
            anneal_strategy="linear",
            cycle_momentum=False,
            div_factor=25,
            final_div_factor=1e4,
        )
        self.parallel, self.stepper = self.accelerator.prepare(self.network, self.optimizer)
        self.average = (
            AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(self.config.ema), use_buffers=True)
            if self.config.ema
            else None
        )
        self.epoch, self.step, self.seconds, self.rate = 0, 0, 0.0, 0.0
        self.totals = torch.zeros(2, dtype=torch.float64, device=self.device)  # loss, correct; of the epoch so far
        self.history: list[Epoch] = []

    @property
    def tested(self) -> nn.Module:
        """The network that the test pass sees and the run ships."""
        return self.network if self.average is None else self.average.module

    def run_epoch(self, stop: _Stop) -> None:
        """Train to the end of the epoch, test, write history and checkpoint; or stop after a step and write that."""
        config = self.config
        self.observer.start(self.epoch, config.epochs, self.step, self.steps, config.batch_size)
        self.positions.epoch, self.positions.start = self.epoch, self.step
        self.parallel.train()
        began = time.perf_counter() - self.seconds
        for images, labels in self.loader:
            loss = self._train_step(images, labels)
            self.step += 1
            told = loss.item() if self.step % 20 == 0 or self.step == self.steps else None
            if told is not None and not np.isfinite(told):
                raise FlyweightError(
                    f"the loss became {told} in epoch {self.epoch + 1}, step {self.step}: lower train.peak_rate"
                    f" (it is {config.peak_rate})"
                )
            self.observer.step(self.step, told)
            if self._agreed(stop.asked):
                self.seconds = time.perf_counter() - began
                self._save()
                raise KeyboardInterrupt
        self._finish_epoch(began)

    def _train_step(self, images: Tensor, labels: Tensor) -> Tensor:
        images, labels = images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)
        inputs = normalize(images, self.dataset.mean, self.dataset.std)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            outputs = self.parallel(inputs).float()
            loss = F.cross_entropy(outputs, labels, label_smoothing=self.config.label_smoothing)
        self.accelerator.backward(loss)
        self.stepper.step()
        self.rate = float(self.schedule.get_last_lr()[0])
        self.schedule.step()
        self.stepper.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.network)
        with torch.no_grad():
            correct = (outputs.argmax(1) == labels).sum()
            self.totals += torch.stack((loss.detach().double() * len(labels), correct.double()))
        return loss.detach()

    def _agreed(self, asked: bool) -> bool:
        # all processes must stop after the same step, or the others would wait for gradients that never come
        if self.accelerator.num_processes == 1:
            return asked
        return bool(self.accelerator.reduce(torch.tensor(float(asked), device=self.device)).item())

    def _finish_epoch(self, began: float) -> None:
        trained = time.perf_counter() - began
        test = self.dataset.test
        logits = inference.logits(self.tested, test.images, self.dataset.mean, self.dataset.std)
        labels = torch.from_numpy(np.array(test.labels))
        correct = int((logits.argmax(1) == labels).sum())
        loss, hits = self.accelerator.reduce(self.totals).tolist()
        seen = self.steps * self.config.batch_size
        self.history.append(
            Epoch(
                epoch=self.epoch + 1,
                train_loss=loss / seen,
                train_accuracy=100 * hits / seen,
                test_loss=F.cross_entropy(logits, labels).item(),
                test_correct=correct,
                test_total=len(labels),
                test_accuracy=100 * correct / len(labels),
                rate=self.rate,
                seconds=time.perf_counter() - began,
                images_per_second=seen / trained,
            )
        )
        self.epoch, self.step, self.seconds = self.epoch + 1, 0, 0.0
        self.totals.zero_()
        self._save()
        self.observer.epoch(self.history[-1].line(self.config.epochs, self.split))

    @property
    def split(self) -> str:
        """What the test pass reads: the test set, or the images held out of the training set."""
        return "held-out set" if self.recipe.data.hold_out else "test set"

    def _save(self) -> None:
        if not self.accelerator.is_main_process:
            return
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": torch.get_rng_state(),
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.seconds,
            "totals": self.totals,
            "history": [vars(row) for row in self.history],
            "fingerprint": self.dataset.fingerprint,
        }
        self.run.save_checkpoint(state, self.epoch, self.step, self.config.keep)
        self.run.write_history(
            [vars(row) for row in self.history], [row.line(self.config.epochs, self.split) for row in self.history]
        )

    def restore(self) -> None:
        """Go on from the newest whole checkpoint, if there is one."""
        state, damaged = self.run.load_checkpoint()
        for message in damaged:
            self.observer.note(message)
        if state is None:
            return
        if state["fingerprint"] != self.dataset.fingerprint:
            raise FlyweightError(
                f"{self.run.folder} was trained on other data: its fingerprint is {state['fingerprint'][:12]}, that of"
                f" {self.dataset.source} is {self.dataset.fingerprint[:12]}"
            )
        self.network.load_state_dict(state["network"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["random"])
        self.epoch, self.step, self.seconds = state["epoch"], state["step"], state["seconds"]
        self.totals.copy_(state["totals"])
        self.history = [Epoch(**row) for row in state["history"]]

    def result(self) -> Result:
        """The network to ship, written to the run folder."""
        card = Card(
            network=self.recipe.model.network,
            dropout=self.recipe.model.dropout,
            classes=self.dataset.classes,
            input_shape=self.dataset.shape,
            mean=self.dataset.mean,
            std=self.dataset.std,
            data=self.recipe.data.name,
            fingerprint=self.dataset.fingerprint,
            epochs=self.config.epochs,
        )
        network = self.tested.cpu().eval()
        if self.accelerator.is_main_process:
            self.run.save_model(network, card)
        return Result(network, card, self.history)


def _optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    # a norm's scale and a bias are vectors; decaying them only fights the norm (Goyal et al. 2017, section 5.3)
    decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    free = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": free, "weight_decay": 0.0}]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.peak_rate, betas=(config.momentum, 0.999), fused=True)
    return torch.optim.SGD(
        groups, lr=config.peak_rate, momentum=config.momentum, nesterov=config.momentum > 0, fused=True
    )


@dataclass
class _Positions:
    """The sampler: which (epoch, step) the loader asks for next."""

    steps: int
    epoch: int = 0
    start: int = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self.epoch, step) for step in range(self.start, self.steps))

    def __len__(self) -> int:
        return self.steps - self.start


@dataclass
class _Stop:
    asked: bool = False
    previous: dict[int, Any] = field(default_factory=dict)


@contextmanager
def _stop_on_signal() -> Iterator[_Stop]:
    """Ctrl-C and SIGTERM ask to stop after the step under way; a second one stops at once."""
    stop = _Stop()

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            stop.previous[number] = signal.signal(number, ask)
    except ValueError:  # not in the main thread: signals are somebody else's business there
        pass
    try:
        yield stop
    finally:
        for caught, handler in stop.previous.items():
            signal.signal(caught, handler)


def _ignore_interrupts(_worker: int) -> None:
    # Ctrl-C reaches every process of the terminal; the workers must live until the main process has saved its state
    signal.signal(signal.SIGINT, signal.SIG_IGN)
