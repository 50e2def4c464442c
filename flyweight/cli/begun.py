"""Run folders of `flyweight train`: made, gone on with, and the network that they keep the code of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flyweight.cli.console import say
from flyweight.errors import FlyweightError

if TYPE_CHECKING:
    from torch import nn

    from flyweight.images.spec import Spec
    from flyweight.recipes.sections import ModelConfig, Recipe
    from flyweight.runs.folder import Run


def create_run(folder: Path | None, plan: Recipe, spec: Spec) -> Run:
    """One run folder for all processes of a training, made by the first one, on its machine.

    Raises:
        FlyweightError: the network cannot be built by a copy of its code; nothing is left behind.
    """
    from flyweight.machine.together import from_first, processes
    from flyweight.networks.code import gathered
    from flyweight.runs import code
    from flyweight.runs.folder import Run

    if processes().is_main_process and code.is_own(plan.model):
        found = gathered(plan.model.network)
        _built(plan.model.model_copy(update={"network": found.placed(found.root)}), spec)
    made = str(Run.create(folder, plan).folder) if processes().is_main_process else ""
    return Run(Path(from_first(made)))


def open_run(folder: Path, allow_code: bool) -> tuple[Run, Recipe]:
    """A run folder that exists and its recipe, read by the first process: the others' machines may not have it.

    Args:
        folder: of the run.
        allow_code: run the file of a network of the user's own as it is now, in place of the copy that the run keeps.
    """
    from flyweight.machine.together import from_first, processes
    from flyweight.runs import code
    from flyweight.runs.folder import Run

    recipe = None
    if processes().is_main_process:
        recipe = Run.open(folder).recipe()
        if allow_code:
            code.renew(folder, recipe.model)
        # before the data is read
        code.runnable(folder, recipe.model, say)
    recipe = from_first(recipe)
    assert recipe is not None
    return Run(folder), recipe


def own_copy(folder: Run, plan: Recipe, spec: Spec) -> nn.Module:
    """The network of a run with fresh weights, built by the copy of its code that the run keeps.

    Where other processes' machines do not have the folder, they have the file.
    """
    from flyweight.machine.together import processes
    from flyweight.runs import code

    kept = processes().is_main_process or folder.config.is_file()
    return _built(code.runnable(folder.folder, plan.model) if kept else plan.model, spec)


def allow_teacher(plan: Recipe) -> None:
    """Allow the code of the trained network that a recipe learns from."""
    from flyweight.runs import allowing
    from flyweight.runs.card import find_trained

    if plan.train.teacher is not None:
        allowing.allow(find_trained(plan.train.teacher))


def _built(model: ModelConfig, spec: Spec) -> nn.Module:
    from flyweight.networks.build import build
    from flyweight.networks.code import shown

    try:
        return build(model, spec)
    except FlyweightError as error:
        error.args = (shown(str(error)),)
        raise
