"""The steps of a training.

All that a step depends on is its position (seed, epoch, step) and the state in the checkpoint, so a resumed run is
equal to the unbroken one to the bit (same machine, same build, same number of processes and threads; on a GPU up to
rounding), and one of another number of processes up to rounding: see :mod:`flyweight.training.pooled`.
"""

from __future__ import annotations

import shlex
import time
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from flyweight.data import Dataset, Split, stratified_part
from flyweight.errors import DivergedError
from flyweight.images.augment import Augmenter
from flyweight.images.preprocess import normalize
from flyweight.inference import classifier
from flyweight.machine.device import batch_size, sent
from flyweight.machine.together import agree_on, from_first, my_share, processes, summed
from flyweight.networks.build import table
from flyweight.networks.custom import blamed
from flyweight.recipes.sections import Recipe
from flyweight.runs.fitting import sound_or_raise
from flyweight.runs.folder import Run
from flyweight.text import one_line
from flyweight.training import optimizer, pooled, start
from flyweight.training.batches import Batches, Positions, loader
from flyweight.training.checks import checked_logits
from flyweight.training.graphs import CapturedSteps, capturable, cuda_capture
from flyweight.training.history import Epoch, Observer
from flyweight.training.interrupt import Stop
from flyweight.training.objective import Objective
from flyweight.training.resume import check_content, check_resumable, decisive, facts, unfit
from flyweight.training.schedule import one_cycle
from flyweight.training.state import State
from flyweight.training.teaching import Teacher


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
        self.device, self.main = processes().device, processes().is_main_process
        augmenter = Augmenter(recipe.augment, dataset.mean, config.seed)
        self.size = config.batch_size or batch_size(len(dataset.train))
        self.share = my_share(self.size)
        batches = Batches(dataset, augmenter, self.share, config.seed, config.sampling, config.cycle)
        self.teacher = Teacher(recipe, dataset, batches, run, observer)
        self.objective = Objective(config, dataset, self.device)
        self.start_sha256: str | None = None
        self.steps = len(dataset.train.labels) // self.size
        self.positions = Positions(self.steps)
        self.loader = loader(batches, self.positions, config.workers or 0)
        network = network.to(device=self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        made = optimizer.build(network, config)
        schedule = one_cycle(made, config, self.steps * config.epochs)
        pooled.prepare(network, self.share)
        average = (
            AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True)
            if config.ema
            else None
        )
        self.state = State(network, made, schedule, average, torch.zeros(2, device=self.device))
        gains = capturable(recipe, self.share, self.device)
        self.captured = CapturedSteps(network, made, cuda_capture()) if gains else None

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
        state.network.train()
        began = time.perf_counter() - state.seconds
        self.teacher.begin(state.epoch, stop)
        for batch in self.loader:
            images, labels, indices = (torch.from_numpy(array) for array in batch)
            loss, asked = self._train_step(images, labels, indices, stop)
            state.step += 1
            told = loss.item() if state.step % config.loss_every == 0 or state.step == self.steps else None
            if told is not None and not np.isfinite(told):
                raise self._diverged(f"the loss became {told} in epoch {state.epoch + 1}, step {state.step}")
            self.observer.step(state.step, told)
            if asked or (self.share.world == 1 and stop.wanted):
                state.seconds = time.perf_counter() - began
                self.save()
                raise KeyboardInterrupt
        self._finish_epoch(began)

    def _train_step(self, images: Tensor, labels: Tensor, indices: Tensor, stop: Stop) -> tuple[Tensor, bool]:
        """Take a step; the loss of the whole batch, and whether a process had been asked to stop before its end."""
        images, labels = sent(images, self.device), sent(labels, self.device)
        share = self.objective.share_of_another(self.progress)
        answers = self.teacher.kept(indices, self.device)
        state = self.state
        place = (self.config.seed, state.epoch, state.step)
        with pooled.step(self.share, place, custom=table(self.recipe.model) is None):
            if self.captured is None:
                loss, hits = self._passes(images, labels, answers, share)
            else:
                loss, hits = self.captured.backward(self._passes, images, labels, answers)
        whole, asked = self._pooled(loss, stop)
        state.totals += torch.stack((loss * len(labels), hits))
        if self.captured is None:
            state.optimizer.step()
            state.optimizer.zero_grad()
        else:
            self.captured.update()
        state.learning_rate = float(state.schedule.get_last_lr()[0])
        state.schedule.step()
        if state.average is not None:
            state.average.update_parameters(state.network)
        return whole, asked

    def _passes(
        self, images: Tensor, labels: Tensor, answers: Tensor | None, share: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """The way forwards and back, which leaves the gradients: the loss, and how many are right, as a float32."""
        state = self.state
        inputs = self.objective.mixed(normalize(images, self.dataset.mean, self.dataset.std), share)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            with self._blamed(f"in epoch {state.epoch + 1}, step {state.step + 1}"):
                outputs = state.network(inputs)
            # some networks return more in training than in eval mode
            shape = (len(inputs), len(self.dataset.classes))
            outputs = checked_logits(outputs, shape, type(state.network).__name__).float()
            answers = self.teacher.answers(inputs) if answers is None else answers
            loss = self.objective.loss(outputs, labels, share, self.progress, answers)
        with self._blamed(f"on the way back in epoch {state.epoch + 1}, step {state.step + 1}"):
            (loss if self.share.world == 1 else loss * self.share.weight).backward()
        return loss.detach(), (outputs.argmax(1) == labels).sum().float()

    def _pooled(self, loss: Tensor, stop: Stop) -> tuple[Tensor, bool]:
        """Sum up gradients and loss over the processes; and whether one of them was asked to stop: all do, then."""
        if self.share.world == 1:
            return loss, False
        own = torch.stack((loss * self.share.weight, torch.full_like(loss, stop.wanted)))
        whole, asked = pooled.pool(self.state.network.parameters(), own)
        return whole, bool(asked)

    def _blamed(self, when: str) -> AbstractContextManager[None]:
        """A network of the user's own may raise at any step, in training alone or for a whole batch alone."""
        again = f"flyweight train --resume {shlex.quote(str(self.run.folder))} --allow-code"
        cure = f"mend it, and {again} goes on with the mended file"
        return blamed(self.recipe.model, when, cure)

    def _finish_epoch(self, began: float) -> None:
        trained = time.perf_counter() - began
        test, state = self._test_images(), self.state
        pooled.agree([state.network, *([] if state.average is None else [state.average])], random=False)
        with self._blamed(f"in the test pass after epoch {state.epoch + 1}"):
            outputs = classifier.logits(state.tested, test.images, self.dataset.mean, self.dataset.std, together=True)
        labels = torch.from_numpy(np.array(test.labels))
        correct = int((outputs.argmax(1) == labels).sum())
        loss, hits = summed(state.totals.clone()).tolist()
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

    def _test_images(self) -> Split:
        """The images that are tested after this epoch: all after the last one."""
        images, count = self.dataset.watched[1], self.config.epoch_test_images
        last = self.state.epoch + 1 == self.config.epochs
        return images if last or count is None or count >= len(images) else stratified_part(images, count)

    def _line(self, row: Epoch) -> str:
        return row.line(self.config.epochs, f"{self.dataset.watched[0]} set")

    def save(self) -> None:
        """Write a checkpoint and the history.

        Raises:
            DivergedError: something in it is not finite; what was saved before stays.
        """
        # of all processes: each has counted its own images
        totals = summed(self.state.totals.clone())
        if not self.main:
            return
        state = self.state
        content = state.content(totals) | {
            "fingerprint": self.dataset.fingerprint,
            "teacher": self.teacher.sha256,
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
        content = from_first(self._found() if self.main else None)
        agree_on(facts(self.recipe, self.dataset))
        if content is None:
            self._begin()
            pooled.agree([self.state.network], random=True)
            return
        state = self.state
        # all of the network that it began with is in the checkpoint: that one may be gone by now
        self.start_sha256 = content.get("start")
        try:
            sound_or_raise(state.network, content["network"], self.run.checkpoints)
            if (wrong := state.unlike(content)) is not None:
                raise ValueError(f"{wrong} says what this training does not write")
            state.load(content)
            if state.schedule.last_epoch != state.epoch * self.steps + state.step:
                raise ValueError("schedule.last_epoch is not the number of steps done")
        # torch and the rows of the history raise what they like at what is of another training
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise unfit(self.run, one_line(error)) from error
        if not self.main:
            # what all have counted together is in the first process's totals
            state.totals.zero_()
            return
        # a run that was killed between checkpoint and history, or whose history was damaged, gets it here
        self._write_history()

    def _found(self) -> dict[str, Any] | None:
        """The newest whole checkpoint, if there is one and it is of this training; read by the first process alone."""
        content, damaged = self.run.load_checkpoint()
        for message in damaged:
            self.observer.note(message)
        if content is not None:
            check_content(self.run, content, self.config.epochs, self.steps)
        check_resumable(self.run, self.recipe, self.dataset, self.teacher.sha256, content, self.observer.note)
        return content
