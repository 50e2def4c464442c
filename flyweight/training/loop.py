"""One training loop for every recipe: accelerate for the devices, a short loop of our own for the rest.

All that a step depends on is its position (seed, epoch, step) and the state in the checkpoint, so a resumed run is
equal to the unbroken one to the bit (one process, same machine, same build, same number of threads). Of several
processes the first one's random state is kept; the others draw anew after a resume.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from flyweight.data import Dataset
from flyweight.errors import FlyweightError, RunError
from flyweight.images.augment import Augmenter
from flyweight.images.preprocess import normalize
from flyweight.inference import classifier
from flyweight.machine import environment
from flyweight.machine.allocator import keep_freed_memory
from flyweight.machine.device import processes
from flyweight.networks import modes
from flyweight.recipes.sections import Recipe
from flyweight.runs.card import Card
from flyweight.runs.folder import Run
from flyweight.text import one_line
from flyweight.training import optimizer
from flyweight.training.batches import Batches, Positions, loader
from flyweight.training.history import Epoch, Observer
from flyweight.training.interrupt import Stop, stop_on_signal
from flyweight.training.objective import Objective, load_teacher


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


def fit(
    network: nn.Module, dataset: Dataset, recipe: Recipe, run: Run, observer: Observer, note: str | None = None
) -> Result:
    """Train a network from where its run folder left off, with a test pass after each epoch.

    The weights are those of the last epoch; the test set chooses nothing.

    Args:
        network: with fresh weights; where there is a checkpoint its weights replace them.
        dataset: images, labels and statistics.
        recipe: what to do; ``auto`` settings must have been settled by :func:`device.settle`.
        run: where history, checkpoints and the weights go.
        observer: who is told.
        note: what a reader of the run must know, such as that the data is a stand-in.

    Raises:
        FlyweightError: the network cannot learn these classes, or the loss is no longer finite.
        RunError: the run folder was made by another recipe or on other data, or is in use.
        KeyboardInterrupt: the user asked to stop; unless it says "at once", nothing is lost.
    """
    keep_freed_memory()
    check_trainable(network, dataset, recipe)
    if not processes().is_main_process:
        return _fit(_Trainer(network, dataset, recipe, run, observer), note)
    with run.locked():
        return _fit(_Trainer(network, dataset, recipe, run, observer), note)


def _fit(trainer: _Trainer, note: str | None) -> Result:
    trainer.restore()
    trainer.record(note)
    with stop_on_signal() as stop:
        while trainer.epoch < trainer.config.epochs:
            trainer.run_epoch(stop)
        result = trainer.result()
        if stop.asked:
            raise KeyboardInterrupt
    return result


def check_trainable(network: nn.Module, dataset: Dataset, recipe: Recipe) -> None:
    """Refuse what could only fail after the training has begun, or would be lost after it.

    Raises:
        FlyweightError: a batch is larger than the training set or the hole than an image; the network cannot take the
            images, does not return one logit a class, has nothing to learn, or weights that are not its parameters;
            the teacher has seen other data.
        RunError: there is no such teacher.
    """
    config, name = recipe.train, type(network).__name__
    count, classes = len(dataset.train.labels), len(dataset.classes)
    if config.batch_size > count:
        raise FlyweightError(
            f"train.batch_size: {config.batch_size} is more than the {count} training images; lower it"
        )
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise FlyweightError(f"{name} has no parameter that can be trained")
    if config.teacher is not None:
        load_teacher(config.teacher, dataset)
    pictures = Augmenter(recipe.augment, dataset.mean, config.seed)(np.array(dataset.train.images[:2]), [0, 1], 0)
    with modes.evaluating(network):
        inputs = normalize(torch.from_numpy(pictures), dataset.mean, dataset.std)
        try:
            output = network(inputs)
        except Exception as error:  # a user's network may raise anything
            shape = "x".join(str(size) for size in inputs.shape)
            raise FlyweightError(f"{name} cannot take a batch of {shape} numbers: {one_line(error)}") from error
    if not isinstance(output, Tensor) or output.shape != (len(inputs), classes):
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise FlyweightError(f"{name} returns {got} for a batch of 2: it must be (2, {classes}), one logit a class")
    registered = {id(parameter) for parameter in network.parameters()}
    strangers = [tensor for tensor in _leaves(output) if id(tensor) not in registered]
    if strangers:
        raise FlyweightError(
            f"{name} computes with {sum(tensor.numel() for tensor in strangers):,} weights that are not among its"
            " parameters, so that nobody would train or save them: keep layers in an nn.ModuleList and not in a plain"
            " list, tensors in an nn.Parameter"
        )


def _leaves(output: Tensor) -> list[Tensor]:
    """The tensors that a gradient of the output would be gathered in.

    The analysis finds unregistered weights as well, for the rules; a training may have none, and its network may be one
    that the analysis refuses to watch, such as TorchScript.
    """
    seen, waiting, found = set(), [output.grad_fn], []
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        waiting += [before for before, _ in node.next_functions]
    return found


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
        self.objective = Objective(self.config, dataset, self.device)
        self.steps = len(dataset.train.labels) // self.config.batch_size
        self.positions = Positions(self.steps)
        self.loader = loader(batches, self.positions, self.config.workers or 0)
        self.network = network.to(device=self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = optimizer.build(self.network, self.config)
        total = self.steps * self.config.epochs + 1
        self.schedule = OneCycleLR(
            self.optimizer,
            [group["lr"] for group in self.optimizer.param_groups],
            # the scheduler counts the state before the first step, too
            total_steps=total,
            # with so few steps that the rise would take less than one, it divides by zero
            pct_start=max(self.config.warmup, min(1.0, 2 / total)),
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
        self.totals = torch.zeros(2, device=self.device)  # loss, correct; of the epoch so far
        if self.accelerator.num_processes > 1:
            # the processes built equal networks; from here on their dropout must differ
            torch.manual_seed(self.config.seed + 1 + self.accelerator.process_index)
        self.history: list[Epoch] = []

    @property
    def tested(self) -> nn.Module:
        """The network that the test pass sees and the run ships."""
        return self.network if self.average is None else self.average.module

    def run_epoch(self, stop: Stop) -> None:
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
        share = self.objective.share_of_another(self.progress)
        inputs = self.objective.mixed(inputs, share)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            outputs = self.parallel(inputs).float()
            loss = self.objective.loss(outputs, inputs, labels, share, self.progress)
        self.accelerator.backward(loss)
        self.stepper.step()
        self.rate = float(self.schedule.get_last_lr()[0])
        self.schedule.step()
        self.stepper.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.network)
        with torch.no_grad():
            correct = (outputs.argmax(1) == labels).sum()
            self.totals += torch.stack((loss.detach() * len(labels), correct.float()))
        return loss.detach()

    @property
    def progress(self) -> float:
        """The share of all steps that is done."""
        return (self.epoch * self.steps + self.step) / (self.config.epochs * self.steps)

    def _agreed(self, asked: bool) -> bool:
        # all processes must stop after the same step, or the others would wait for gradients that never come
        if self.accelerator.num_processes == 1:
            return asked
        return bool(self.accelerator.reduce(torch.tensor(float(asked), device=self.device)).item())

    def _finish_epoch(self, began: float) -> None:
        trained = time.perf_counter() - began
        test = self.dataset.test
        logits = classifier.logits(self.tested, test.images, self.dataset.mean, self.dataset.std)
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
        # of all processes: each has counted its own images
        totals = self.accelerator.reduce(self.totals)
        if not self.accelerator.is_main_process:
            return
        generator = _generator(self.device)
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": torch.get_rng_state(),
            "device_random": generator.get_rng_state() if generator is not None else None,
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.seconds,
            "totals": totals,
            "history": [vars(row) for row in self.history],
            "fingerprint": self.dataset.fingerprint,
            "teacher": self.objective.teacher_sha256,
            "recipe": _decisive(self.recipe),
        }
        self.run.save_checkpoint(state, self.epoch, self.step, self.config.keep)
        self._write_history()

    def _write_history(self) -> None:
        self.run.write_history(
            [vars(row) for row in self.history], [row.line(self.config.epochs, self.split) for row in self.history]
        )

    def restore(self) -> None:
        """Go on from the newest whole checkpoint, if there is one."""
        state, damaged = self.run.load_checkpoint()
        for message in damaged:
            self.observer.note(message)
        trained_on = state["fingerprint"] if state else self.run.read_environment().get("data_fingerprint")
        if trained_on not in (None, self.dataset.fingerprint):
            raise RunError(
                f"{self.run.folder} was trained on other data: its fingerprint is {trained_on[:12]}, that of"
                f" {self.dataset.source} is {self.dataset.fingerprint[:12]}"
            )
        if state is None:
            if self.run.weights.is_file() or self.run.history_jsonl.is_file():
                raise RunError(f"{self.run.folder} has results but no checkpoint to go on from: start a new run")
            return
        # what a setting was before it existed
        defaults = _decisive(Recipe(name="", model=self.recipe.model))
        for key, value in _decisive(self.recipe).items():
            made_with = state["recipe"].get(key, defaults[key])
            if made_with != value:
                raise RunError(
                    f"{self.run.config}: {key} is {value!r}, the run was made with {made_with!r}:"
                    " set it back, or start a new run"
                )
        if state.get("teacher") != self.objective.teacher_sha256:
            raise RunError(f"{self.run.config}: the weights of the teacher {self.config.teacher} have changed since")
        self.network.load_state_dict(state["network"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.epoch, self.step, self.seconds = state["epoch"], state["step"], state["seconds"]
        self.history = [Epoch(**row) for row in state["history"]]
        if not self.accelerator.is_main_process:
            # the state is the main process's: with it, all would draw the same dropout and count its images again
            done = self.epoch * self.steps + self.step
            torch.manual_seed(self.config.seed + 1 + self.accelerator.process_index + 1_000_003 * done)
            return
        torch.set_rng_state(state["random"])
        generator, device_random = _generator(self.device), state.get("device_random")
        if generator is not None and device_random is not None:
            generator.set_rng_state(device_random)
        self.totals.copy_(state["totals"])
        # a run that was killed between checkpoint and history, or whose history was damaged, gets it here
        self._write_history()

    def record(self, note: str | None) -> None:
        """Write down on what machine and data the run was made; a resumed run keeps its first record."""
        if not self.accelerator.is_main_process:
            return
        now, earlier = environment.describe(), self.run.read_environment()
        if earlier:
            self._record = {**earlier, "resumed": [*earlier.get("resumed", []), now]}
        else:
            source = {"data_source": self.dataset.source, "data_fingerprint": self.dataset.fingerprint}
            self._record = {**now, "precision": self.config.precision, **source, "data_note": note}
        self.run.write_json(self.run.environment, self._record)

    def result(self) -> Result:
        """The network to ship, written to the run folder."""
        card = Card(
            network=self.recipe.model.network,
            dropout=self.recipe.model.dropout,
            classes=self.dataset.classes,
            input_shape=self.dataset.spec.shape,
            mean=self.dataset.mean,
            std=self.dataset.std,
            data=self.recipe.data.name or self.dataset.name,
            fingerprint=self.dataset.fingerprint,
            epochs=self.config.epochs,
            # of a run the folder's name: a card that ships tells nobody where on a disk it came from
            teacher=self.config.teacher and Path(self.config.teacher).name,
        )
        network = self.tested.cpu().eval()
        if self.accelerator.is_main_process:
            self.run.save_model(network, card)
            seconds = round(sum(row.seconds for row in self.history), 1)
            ending = {
                "finished": environment.now(),
                "seconds": seconds,
                "peak_memory_mib": environment.peak_memory_mib(),
            }
            self.run.write_json(self.run.environment, self._record | ending)
        return Result(network, card, self.history)


def _generator(device: torch.device) -> Any:
    """What knows the random state of a device other than the CPU; None for the CPU."""
    return None if device.type == "cpu" else torch.get_device_module(device)


def _decisive(recipe: Recipe) -> dict[str, Any]:
    """Every setting that the weights depend on, by its key in the recipe."""
    settings = recipe.model_dump(mode="json", include={"model", "augment", "train"})
    settings["train"] = {key: value for key, value in settings["train"].items() if key not in ("workers", "keep")}
    return {f"{section}.{key}": value for section, values in settings.items() for key, value in values.items()}
