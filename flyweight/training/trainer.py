"""The steps of a training: accelerate for the devices, a short loop of our own for the rest.

All that a step depends on is its position (seed, epoch, step) and the state in the checkpoint, so a resumed run is
equal to the unbroken one to the bit (one process, same machine, same build, same number of threads). Of several
processes the first one's random state is kept; the others draw anew after a resume.
"""

from __future__ import annotations

import shlex
import time
from contextlib import AbstractContextManager

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from flyweight.data import Dataset
from flyweight.errors import DivergedError
from flyweight.images.augment import Augmenter
from flyweight.images.preprocess import normalize
from flyweight.inference import classifier
from flyweight.machine.device import batch_size, processes
from flyweight.networks.custom import blamed
from flyweight.recipes.sections import Recipe
from flyweight.runs.folder import Run
from flyweight.training import optimizer, start
from flyweight.training.batches import Batches, Positions, loader
from flyweight.training.checks import checked_logits
from flyweight.training.history import Epoch, Observer
from flyweight.training.interrupt import Stop
from flyweight.training.objective import Objective
from flyweight.training.resume import check_resumable, decisive
from flyweight.training.schedule import one_cycle
from flyweight.training.state import State


class Trainer:
    """Takes a training's steps; what they change is in its ``state``.

    Args:
        network: with fresh weights.
        dataset: images, labels and statistics.
        recipe: what to do, with nothing left ``auto``.
        run: where history and checkpoints go.
        observer: who is told.
    """

    def __init__(self, network: nn.Module, dataset: Dataset, recipe: Recipe, run: Run, observer: Observer) -> None:
        self.dataset, self.recipe, self.run, self.observer = dataset, recipe, run, observer
        self.config = config = recipe.train
        self.accelerator = Accelerator(cpu=processes().device.type == "cpu")
        self.device = self.accelerator.device
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        augmenter = Augmenter(recipe.augment, dataset.mean, config.seed)
        self.size = config.batch_size or batch_size(len(dataset.train))
        batches = Batches(dataset, augmenter, self.size, config.seed, rank, world, config.sampling)
        self.objective = Objective(config, dataset, self.device)
        self.start_sha256: str | None = None
        self.steps = len(dataset.train.labels) // self.size
        self.positions = Positions(self.steps)
        self.loader = loader(batches, self.positions, config.workers or 0)
        network = network.to(device=self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        made = optimizer.build(network, config)
        schedule = one_cycle(made, config, self.steps * config.epochs)
        self.parallel, self.stepper = self.accelerator.prepare(network, made)
        average = (
            AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True)
            if config.ema
            else None
        )
        self.state = State(network, made, schedule, average, torch.zeros(2, device=self.device))
        if world > 1:
            # the processes built equal networks; from here on their dropout must differ
            torch.manual_seed(config.seed + 1 + rank)

    @property
    def progress(self) -> float:
        """The share of all steps that is done."""
        return (self.state.epoch * self.steps + self.state.step) / (self.config.epochs * self.steps)

    def run_epoch(self, stop: Stop) -> None:
        """Train to the end of the epoch, test, write history and checkpoint; or stop after a step and write that.

        Raises:
            DivergedError: the loss or the weights are no longer finite; the checkpoint before stays.
            KeyboardInterrupt: somebody asked to stop, and all is saved.
        """
        config, state = self.config, self.state
        self.observer.start(state.epoch, config.epochs, state.step, self.steps, self.size)
        self.positions.epoch, self.positions.start = state.epoch, state.step
        self.parallel.train()
        began = time.perf_counter() - state.seconds
        for images, labels in self.loader:
            loss = self._train_step(images, labels)
            state.step += 1
            told = loss.item() if state.step % config.loss_every == 0 or state.step == self.steps else None
            if told is not None and not np.isfinite(told):
                raise self._diverged(f"the loss became {told} in epoch {state.epoch + 1}, step {state.step}")
            self.observer.step(state.step, told)
            if self._agreed(stop.asked):
                state.seconds = time.perf_counter() - began
                self.save()
                raise KeyboardInterrupt
        self._finish_epoch(began)

    def _train_step(self, images: Tensor, labels: Tensor) -> Tensor:
        images, labels = images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)
        inputs = normalize(images, self.dataset.mean, self.dataset.std)
        share = self.objective.share_of_another(self.progress)
        inputs = self.objective.mixed(inputs, share)
        state = self.state
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            with self._blamed(f"in epoch {state.epoch + 1}, step {state.step + 1}"):
                outputs = self.parallel(inputs)
            # some networks return more in training than in eval mode
            shape = (len(inputs), len(self.dataset.classes))
            outputs = checked_logits(outputs, shape, type(state.network).__name__).float()
            loss = self.objective.loss(outputs, inputs, labels, share, self.progress)
        with self._blamed(f"on the way back in epoch {state.epoch + 1}, step {state.step + 1}"):
            self.accelerator.backward(loss)
        self.stepper.step()
        state.learning_rate = float(state.schedule.get_last_lr()[0])
        state.schedule.step()
        self.stepper.zero_grad()
        if state.average is not None:
            state.average.update_parameters(state.network)
        with torch.no_grad():
            correct = (outputs.argmax(1) == labels).sum()
            state.totals += torch.stack((loss.detach() * len(labels), correct.float()))
        return loss.detach()

    def _blamed(self, when: str) -> AbstractContextManager[None]:
        """A network of the user's own may raise at any step, in training alone or for a whole batch alone."""
        cure = f"mend it, and flyweight train --resume {shlex.quote(str(self.run.folder))} goes on"
        return blamed(self.recipe.model, when, cure)

    def _agreed(self, asked: bool) -> bool:
        # all processes must stop after the same step, or the others would wait for gradients that never come
        if self.accelerator.num_processes == 1:
            return asked
        return bool(self.accelerator.reduce(torch.tensor(float(asked), device=self.device)).item())

    def _finish_epoch(self, began: float) -> None:
        trained = time.perf_counter() - began
        (_, test), state = self.dataset.watched, self.state
        with self._blamed(f"in the test pass after epoch {state.epoch + 1}"):
            outputs = classifier.logits(state.tested, test.images, self.dataset.mean, self.dataset.std)
        labels = torch.from_numpy(np.array(test.labels))
        correct = int((outputs.argmax(1) == labels).sum())
        loss, hits = self.accelerator.reduce(state.totals).tolist()
        seen = self.steps * self.size
        state.history.append(
            Epoch(
                epoch=state.epoch + 1,
                train_loss=loss / seen,
                train_accuracy=100 * hits / seen,
                test_loss=F.cross_entropy(outputs, labels).item(),
                test_correct=correct,
                test_total=len(labels),
                test_accuracy=100 * correct / len(labels),
                learning_rate=state.learning_rate,
                seconds=time.perf_counter() - began,
                images_per_second=seen / trained,
            )
        )
        state.epoch, state.step, state.seconds = state.epoch + 1, 0, 0.0
        state.totals.zero_()
        self.save()
        self.observer.epoch(self._line(state.history[-1]))

    def _line(self, row: Epoch) -> str:
        return row.line(self.config.epochs, f"{self.dataset.watched[0]} set")

    def save(self) -> None:
        """Write a checkpoint and the history.

        Raises:
            DivergedError: something in it is not finite; what was saved before stays.
        """
        # of all processes: each has counted its own images
        totals = self.accelerator.reduce(self.state.totals)
        if not self.accelerator.is_main_process:
            return
        state = self.state
        content = state.content(totals) | {
            "fingerprint": self.dataset.fingerprint,
            "teacher": self.objective.teacher_sha256,
            "start": self.start_sha256,
            "recipe": decisive(self.recipe),
        }
        broken = state.broken(content)
        if broken is not None:
            raise self._diverged(
                f"{broken} is not finite any more after epoch {state.epoch}, step {state.step}, and what was saved"
                " before is kept"
            )
        self.run.save_checkpoint(content, state.epoch, state.step, self.config.keep)
        self._write_history()

    def _diverged(self, what: str) -> DivergedError:
        rates = f"train.learning_rate (it is {self.config.learning_rate:g})"
        if self.config.optimizer == "muon":
            rates += f" or train.muon_learning_rate (it is {self.config.muon_learning_rate:g})"
        return DivergedError(f"{what}: lower {rates}")

    def _write_history(self) -> None:
        rows = self.state.history
        self.run.write_history([vars(row) for row in rows], [self._line(row) for row in rows])

    def _begin(self) -> None:
        """Take the weights that the recipe begins with, and tell which did not fit."""
        if self.config.start is None:
            return
        found = start.find(self.config.start, self.state.network, self.dataset.classes)
        start.apply(found, self.state.network)
        self.start_sha256 = found.sha256
        self.observer.note(str(found))

    def restore(self) -> None:
        """Go on from the newest whole checkpoint; without one, begin with the weights that the recipe names, if any.

        Raises:
            RunError: it was made by another recipe or on other data, or none is whole; or there is no such network.
            FlyweightError: none of that network's weights fits.
        """
        content, damaged = self.run.load_checkpoint()
        for message in damaged:
            self.observer.note(message)
        check_resumable(self.run, self.recipe, self.dataset, self.objective.teacher_sha256, content)
        if content is None:
            self._begin()
            return
        state = self.state
        # all of the network that it began with is in the checkpoint: that one may be gone by now
        self.start_sha256 = content.get("start")
        state.load(content)
        if not self.accelerator.is_main_process:
            # the state is the main process's: with it, all would draw the same dropout and count its images again
            done = state.epoch * self.steps + state.step
            torch.manual_seed(self.config.seed + 1 + self.accelerator.process_index + 1_000_003 * done)
            return
        state.load_own(content)
        # a run that was killed between checkpoint and history, or whose history was damaged, gets it here
        self._write_history()
