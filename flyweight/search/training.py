"""One trial: a run folder of its own, trained from where it ended, and what it has found."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch

from flyweight import files
from flyweight.data import Dataset
from flyweight.errors import RunError
from flyweight.images.spec import Spec
from flyweight.inference.classifier import Classifier
from flyweight.networks.build import build
from flyweight.networks.builtin import NETWORKS
from flyweight.networks.modes import evaluating
from flyweight.recipes.sections import ModelConfig, Recipe, TrainConfig
from flyweight.runs import code
from flyweight.runs.folder import DamagedError, Run
from flyweight.search.arithmetic import TableFacts
from flyweight.search.halving import Aim, Rung
from flyweight.search.legal import known_cost
from flyweight.search.space import Candidate
from flyweight.search.trials import Taken
from flyweight.training import loop
from flyweight.training.history import Epoch, Observer

ASKED = 50
"""Single images by which a latency is measured."""


class InUseError(Exception):
    """Another process trains in the folder of this trial."""


@dataclass(frozen=True)
class Trainer:
    """Trains the trials of one worker.

    Attributes:
        recipe: how, with nothing left ``auto``; its network and epochs are the trials' own.
        dataset: whose watched images are held out of the training images.
        out: the folder of the search, with the run folders in `trials`.
        note: what a reader of a run must know of the data.
    """

    recipe: Recipe
    dataset: Dataset
    out: Path
    note: str | None

    def train(self, taken: Taken, observer: Observer) -> list[Epoch]:
        """Train a trial from where its run folder ended; its history.

        Raises:
            InUseError: another process does so now.
            DivergedError: the loss or the weights are no longer finite.
            KeyboardInterrupt: somebody asked to stop, and all is saved.
            RunError: its folder cannot be read now; nothing of it is changed.
        """
        folder, locks = self.out / "trials" / taken.folder, self.out / "workers"
        for needed in (folder.parent, locks):
            needed.mkdir(parents=True, exist_ok=True)
        files.whose_or_raise(folder)
        with _only(locks / f"{taken.folder}.lock"):
            run = self._run(folder, taken)
            try:
                content, _ = run.load_checkpoint()
                lost = content is None and (run.weights.is_file() or run.history_jsonl.is_file())
            except DamagedError:
                lost = True
            if lost:
                # all checkpoints are damaged or gone: nothing of the trial can be gone on with
                kept = _set_aside(folder)
                observer.note(f"{folder} has no whole checkpoint; it is kept as {kept}, and the trial begins anew")
                run = self._run(folder, taken)
            return self._fit(run, observer)

    def clear(self, taken: Taken) -> None:
        """Delete the checkpoints of a finished trial: 3 MB each, of which nothing is ever read again."""
        shutil.rmtree(Run(self.out / "trials" / taken.folder).checkpoints, ignore_errors=True)

    def _run(self, folder: Path, taken: Taken) -> Run:
        if _is_there(Run(folder).config):
            return Run.open(folder)
        if _is_there(Run(folder).checkpoints):  # its recipe is lost, and it is not ours to delete
            _set_aside(folder)
        elif folder.exists():  # whoever began it was killed before it had a recipe
            shutil.rmtree(folder)
        plan = recipe_for(self.recipe, taken.name, taken.candidate)
        return Run.create(folder, plan.model_copy(update={"train": _trained_for(plan, taken.rung)}))

    def _fit(self, run: Run, observer: Observer) -> list[Epoch]:
        # that of the folder: another machine may have chosen another precision
        plan = run.recipe()
        torch.manual_seed(plan.train.seed)
        network = build(code.runnable(run.folder, plan.model), self.dataset.spec)
        return loop.fit(network, self.dataset, plan, run, observer, self.note).history


def _is_there(path: Path) -> bool:
    """Whether there is something.

    Raises:
        RunError: nobody can tell now; `Path.exists` of later versions of Python would say no.
    """
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise RunError(f"cannot read {path}: {files.reason(error)}") from None
    return True


def _set_aside(folder: Path) -> Path:
    """Rename a damaged run folder, so that its owner can still look into it; where it is now.

    Raises:
        RunError: that is refused.
    """
    names = (f"{folder.name}-damaged{'' if number == 1 else f'-{number}'}" for number in itertools.count(1))
    aside = next(folder.with_name(name) for name in names if not folder.with_name(name).exists())
    try:
        return folder.rename(aside)
    except OSError as error:
        raise RunError(f"cannot rename {folder}, which is damaged: {files.reason(error)}") from None


def recipe_for(recipe: Recipe, name: str, candidate: Candidate) -> Recipe:
    """The recipe with a network of the search in it."""
    built_in = NETWORKS.get(name) == candidate.network
    table = None if built_in else candidate.network
    model = ModelConfig(network=name, table=table, phases=candidate.phases)
    return recipe.model_copy(update={"name": name, "model": model})


def _trained_for(plan: Recipe, rung: Rung) -> TrainConfig:
    seed = (plan.train.seed + rung.seed) % 2**32
    return plan.train.model_copy(update={"epochs": rung.epochs, "seed": seed, "keep": 1})


@contextmanager
def _only(lock: Path) -> Iterator[None]:
    def busy() -> None:
        raise InUseError

    with files.locked(lock, busy):
        yield


def cost(aim: Aim, candidate: Candidate, facts: TableFacts, spec: Spec) -> float:
    """What is minimised, of a network: known before its training, for it does not hang on the weights."""
    known = known_cost(aim, facts)
    return latency(candidate, spec) if known is None else known


def latency(candidate: Candidate, spec: Spec) -> float:
    """Median milliseconds for one image on this machine, as `flyweight predict` asks the network."""
    network = build(ModelConfig(network="drawn", table=candidate.network, phases=candidate.phases), spec)
    channels, height, width = spec.shape
    image = np.zeros((1, height, width, channels), np.uint8)
    with evaluating(network):
        ask = Classifier(network, spec.shape, spec.preprocessing.mean, spec.preprocessing.std)
        ask(image)
        taken = []
        for _ in range(ASKED):
            began = time.perf_counter()
            ask(image)
            taken.append(1000 * (time.perf_counter() - began))
    return round(median(taken), 4)
