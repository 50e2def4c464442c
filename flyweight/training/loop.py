"""A training from its first step, or from where its run folder left off, to the network that it ships."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from flyweight.data import Dataset
from flyweight.machine.allocator import keep_freed_memory
from flyweight.machine.together import processes
from flyweight.recipes.sections import Recipe
from flyweight.runs.card import Card
from flyweight.runs.folder import Run
from flyweight.training import record
from flyweight.training.calibrate import calibrated
from flyweight.training.checks import check_trainable
from flyweight.training.history import Epoch, Observer
from flyweight.training.interrupt import stop_on_signal
from flyweight.training.trainer import Trainer


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
        network: with fresh weights; those of a checkpoint, or else of what the recipe begins with, replace them.
        dataset: images, labels and statistics.
        recipe: what to do; ``auto`` settings must have been settled by :func:`flyweight.machine.device.settle`.
        run: where history, checkpoints and the weights go.
        observer: who is told.
        note: what a reader of the run must know, such as that the data is a stand-in.

    Raises:
        FlyweightError: the network cannot learn these classes.
        DivergedError: the loss or the weights are no longer finite; what was saved before stays.
        RunError: the run folder was made by another recipe or on other data, or is in use.
        PeerError: one of several processes has ended; what was saved before stays.
        KeyboardInterrupt: the user asked to stop; unless it says "at once", nothing is lost.
    """
    keep_freed_memory()
    check_trainable(network, dataset, recipe)
    if not processes().is_main_process:
        return _fit(Trainer(network, dataset, recipe, run, observer), note)
    with run.locked():
        return _fit(Trainer(network, dataset, recipe, run, observer), note)


def _fit(trainer: Trainer, note: str | None) -> Result:
    trainer.restore()
    main, run = trainer.main, trainer.run
    made = record.begin(run, trainer.recipe, trainer.dataset, note, trainer.observer.note) if main else {}
    with stop_on_signal(patient=trainer.share.world > 1) as stop:
        while trainer.state.epoch < trainer.config.epochs:
            trainer.run_epoch(stop)
        network, history = trainer.state.tested.cpu().eval(), trainer.state.history
        network.zero_grad()  # captured steps leave zeros
        card = calibrated(network, _card(trainer.recipe, trainer.dataset), trainer.dataset, trainer.recipe)
        if main:
            run.save_model(network, card)
            record.end(run, made, sum(row.seconds for row in history))
            trainer.teacher.end()
        if stop.asked:
            raise KeyboardInterrupt
    return Result(network, card, history)


def _card(recipe: Recipe, dataset: Dataset) -> Card:
    teacher, start = recipe.train.teacher, recipe.train.start
    return Card(
        network=recipe.model.network,
        dropout=recipe.model.dropout,
        table=recipe.model.table,
        classes=dataset.classes,
        input_shape=dataset.spec.shape,
        mean=dataset.mean,
        std=dataset.std,
        data=recipe.data.name or dataset.name,
        fingerprint=dataset.fingerprint,
        epochs=recipe.train.epochs,
        resize=dataset.resize,
        # of a run the folder's name: a card that ships tells nobody where on a disk it came from
        teacher=teacher and Path(teacher).name,
        start=start and Path(start).name,
    )
