"""A training goes on from every step, and nothing of its state is there for nothing.

Time goes by steps here, so that the seconds of a history are equal, too: its files are compared whole.
"""

import io
import os
import random
import shutil
import signal
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from conftest import Silent, change, fresh
from ledger import chosen
from torch import Tensor

from flyweight import files
from flyweight.data import Dataset
from flyweight.errors import FlyweightError
from flyweight.recipes.network import Network
from flyweight.recipes.sections import ModelConfig, Recipe
from flyweight.runs.folder import Run
from flyweight.training import loop, trainer
from flyweight.training.trainer import Trainer

ROWS = ({"width": 8, "stride": 2}, {"width": 8}, {"width": 8, "kind": "separable"}, {"width": 8, "dilation": 2})
EPOCHS, STEPS = 3, 6
OWN = """\
import random
import numpy as np
import torch
from torch import nn

class Drawing(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, 2), nn.Linear(8, num_classes)

    def forward(self, x):
        x = self.first(x).relu().mean((2, 3))
        if self.training:
            x = x * (1 + random.random()) * (1 + np.random.rand()) * (1 + torch.rand(()))
        return self.last(x)
"""
VARIANTS: dict[str, dict[str, Any]] = {
    "muon, average, mixup": {"optimizer": "muon", "ema": 0.9, "mixup": 0.8, "label_smoothing_end": 0.0},
    "sgd, average, workers, balanced": {"workers": 2, "ema": 0.9, "sampling": "balanced"},
    "adamw, bfloat16, weights of classes": {
        "optimizer": "adamw", "learning_rate": 0.002, "precision": "bfloat16", "class_weights": "balanced",
    },
    "sgd, teacher, start": {"teacher": "TRAINED", "start": "TRAINED"},
    "a network of the user's own that draws": {},
    "sgd, what a teacher says is kept": {"teacher": "TRAINED", "teacher_cycle": 2},
}  # fmt: skip
INDIFFERENT = {
    "start": "a record of what the training began with, for its reader; all of it is in the weights",
    "schedule._step_count": "torch warns by it, where the schedule is stepped before the optimizer",
    "schedule._last_lr.[1-9]": "a history tells the learning rate of the first group alone",
}
"""Keys, as patterns, that a resumed training does not depend on, and why they are kept; those of torch are its own."""


class Case(NamedTuple):
    """A training that ended."""

    recipe: Recipe
    dataset: Dataset
    folder: Path


@pytest.fixture(autouse=True)
def time_by_steps(monkeypatch):
    monkeypatch.setattr(trainer, "time", SimpleNamespace(perf_counter=lambda: float(Stopping.taken)))


class Stopping(Silent):
    """Asks to stop after a step, as Ctrl-C does; it is the clock as well."""

    taken = 0

    def __init__(self, after=None):
        super().__init__()
        self.after = after

    def step(self, step, loss):
        super().step(step, loss)
        Stopping.taken += 1
        if self.after is not None and len(self.steps) == self.after:
            os.kill(os.getpid(), signal.SIGINT)


def trained(recipe, dataset, folder, after=None):
    """Train, or go on; whether the training has ended."""
    run = Run.open(folder) if folder.exists() else Run.create(folder, recipe)
    torch.manual_seed(random.randrange(2**31))  # whatever the generators do before must not matter
    network = fresh(recipe, dataset)
    try:
        loop.fit(network, dataset, recipe, run, Stopping(after))
    except KeyboardInterrupt:
        return False
    return True


def results(folder):
    """All that a training leaves for its user, but for the record of its machine and its checkpoints."""
    run = Run(folder)
    files_of = (run.weights, run.card, run.history_csv, run.history_jsonl, run.log)
    return {file.name: file.read_bytes() for file in files_of}


def last(folder):
    """The content of the last checkpoint, in a form that can be compared."""
    content, damaged = Run(folder).load_checkpoint()
    assert not damaged
    return {way: value.tolist() if isinstance(value, Tensor) else value for way, value in leaves(content)}


def made(name: str, recipe: Recipe, dataset: Dataset, folder: Path) -> Case:
    """A training of a variant that nothing has interrupted."""
    settings = dict(VARIANTS[name])
    model = ModelConfig(network="tiny", table=Network.model_validate({"blocks": [ROWS]}), dropout=0.1)
    recipe = change(recipe, epochs=EPOCHS, keep=99).model_copy(update={"model": model})
    if "own" in name:
        (folder / "own.py").write_text(OWN)
        recipe = recipe.model_copy(update={"model": ModelConfig(network=f"{folder / 'own.py'}:Drawing")})
    if "TRAINED" in settings.values():
        teacher = change(recipe, epochs=1, seed=5)
        trained(teacher, dataset, folder / "teacher")
        settings = {key: str(folder / "teacher") if value == "TRAINED" else value for key, value in settings.items()}
    recipe = change(recipe, **settings)
    assert trained(recipe, dataset, folder / "whole")
    return Case(recipe, dataset, folder / "whole")


@pytest.mark.parametrize("name", chosen(list(VARIANTS), list(VARIANTS)[:2] + list(VARIANTS)[4:]))
def test_a_training_goes_on_from_every_step(ledger, striped, recipe, tmp_path, name):
    case = made(name, recipe, striped, tmp_path)
    expected, content, broken = results(case.folder), last(case.folder), []
    # stopped after each step, one after the other
    steps, chain = ledger.count(1, 7), tmp_path / "chain"
    stops = 0
    while not trained(case.recipe, striped, chain, after=steps):
        stops += 1
    if (results(chain), last(chain)) != (expected, content):
        broken.append(f"{name}: stopped after every {steps} steps it ends differently")
    # and from each of these checkpoints to the end, with all after it taken away
    made_by = sorted((chain / "checkpoints").iterdir())
    checked = random.Random(name).sample(made_by[:-1], ledger.count(len(made_by) - 1, 1))
    for file in checked:
        resumed = Run.create(tmp_path / f"from-{file.stem}", case.recipe)
        resumed.checkpoints.mkdir()
        shutil.copy(file, resumed.checkpoints)
        trained(case.recipe, striped, resumed.folder)
        if (results(resumed.folder), last(resumed.folder)) != (expected, content):
            broken.append(f"{name}: from {file.name} on it ends differently")
    ledger.record("every-step", f"stopped and resumed: {name}", stops + len(checked), broken)


def leaves(content: Any, way: str = "") -> Iterator[tuple[str, Any]]:
    """The values in nested containers, each with the way to it; an empty container is one."""
    inner: Any = None
    if isinstance(content, Mapping):
        inner = content.items()
    elif isinstance(content, list | tuple):
        inner = enumerate(content)
    if not inner:
        yield way, content
        return
    for key, value in inner:
        yield from leaves(value, f"{way}/{key}" if way else str(key))


def shown(way: str) -> str:
    return way.replace("/", ".")


GONE = object()


def changed(content: Any, way: list[str], value: Any) -> Any:
    """A copy of nested containers in which a value is another one, or is not there."""
    key, *rest = way
    if isinstance(content, Mapping):
        own = next(name for name in content if str(name) == key)
        new = dict(content)
        if not rest and value is GONE:
            del new[own]
        else:
            new[own] = changed(content[own], rest, value) if rest else value
        return new
    items = list(content)
    items[int(key) : int(key) + 1] = [changed(items[int(key)], rest, value) if rest else value]
    if not rest and value is GONE:
        del items[int(key)]
    return items


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return type(one) is type(other) and one == other


def outcome(case: Case, content: Any, folder: Path) -> str:
    """What becomes of a training whose checkpoint says this: refused, other, equal, or what is wrong with it."""
    run = Run.create(folder, case.recipe)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    run.checkpoints.mkdir()
    (run.checkpoints / f"epoch-{EPOCHS - 1:04d}-step-{STEPS:06d}.pt").write_bytes(files.sealed(buffer.getvalue()))
    try:
        trained(case.recipe, case.dataset, folder)
    except FlyweightError as error:
        return "refused" if "\n" not in str(error) else f"refused in several lines: {error}"
    except Exception as error:
        return f"a traceback: {type(error).__name__}: {error}"
    found = "equal" if results(folder) == results(case.folder) else "other"
    shutil.rmtree(folder)
    return found


def stopped(case: Case, folder: Path, step: int) -> dict[str, Any]:
    """The content of the checkpoint of the last epoch's step."""
    assert not trained(case.recipe, case.dataset, folder, after=(EPOCHS - 1) * STEPS + step)
    content, _ = Run(folder).load_checkpoint()
    assert (content["epoch"], content["step"]) == (EPOCHS - 1, step)
    return content


@pytest.mark.parametrize("name", chosen(list(VARIANTS)[:4], list(VARIANTS)[:1]))
def test_nothing_of_a_checkpoint_is_there_for_nothing(ledger, striped, recipe, tmp_path, name):
    """Each value is taken out, and set back to that of a fresh start: the training refuses, or ends otherwise.

    A value that a fresh start has, too, follows from the recipe (torch keeps settings beside a state): where it is
    taken out the training may end equally, for it is there again.
    """
    case = made(name, recipe, striped, tmp_path)
    # all is felt with a step to go, but the last learning rate where there is none
    contents = {step: stopped(case, tmp_path / str(step), step) for step in (STEPS - 1, STEPS)}
    # what is as it was is taken, so that a refusal is one of what was changed
    assert {outcome(case, content, tmp_path / f"whole{step}") for step, content in contents.items()} == {"equal"}
    begun = Trainer(fresh(case.recipe, striped), striped, case.recipe, Run(tmp_path / "begun"), Silent())
    (tmp_path / "begun").mkdir()
    begun.restore()
    begun.save()
    start = dict(leaves(Run(tmp_path / "begun").load_checkpoint()[0]))
    tries = [
        (way, step, what, value)
        for way, own in leaves(contents[STEPS - 1])
        for step in [STEPS if way == "learning_rate" else STEPS - 1]
        for what, value in [("taken out", GONE), ("as at a fresh start", start.get(way, GONE))]
        if what == "taken out" or (way in start and not equal(own, value))
    ]
    tries = random.Random(name).sample(tries, ledger.count(len(tries), 8))
    broken, refused, settled = [], 0, 0
    for number, (way, step, what, value) in enumerate(tries):
        found = outcome(case, changed(contents[step], way.split("/"), value), tmp_path / f"try{number}")
        refused += found == "refused"
        followed = what == "taken out" and way in start and equal(start[way], dict(leaves(contents[step]))[way])
        settled += found == "equal" and followed
        named = any(fnmatchcase(shown(way), pattern) for pattern in INDIFFERENT)
        if found not in ("refused", "other") and not (found == "equal" and (followed or named)):
            broken.append(f"{name}: {shown(way)} {what}, at step {step}: {found}")
    figures = {"refused": refused, "follow_from_the_recipe": settled}
    ledger.record("every-step", f"values of a checkpoint: {name}", len(tries), broken, **figures)
