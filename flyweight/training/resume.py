"""Whether a run folder can be gone on with: the same data, the same recipe, the same teacher."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from flyweight.data import Dataset
from flyweight.errors import RunError
from flyweight.machine.device import gains_from_bfloat16
from flyweight.machine.together import processes
from flyweight.recipes.sections import Recipe
from flyweight.runs.fitting import former
from flyweight.runs.folder import Run

INDIFFERENT = {"workers", "keep", "epoch_test_images", "loss_every"}
"""Settings of a training that change none of its weights."""
ROUNDING = {"train.precision"}
"""Settings by which weights are rounded otherwise, as they are on another machine: a run may go on with another."""


def decisive(recipe: Recipe) -> dict[str, Any]:
    """Every setting that the weights depend on, by its key in the recipe."""
    settings = recipe.model_dump(mode="json", include={"model", "augment", "train"})
    settings["train"] = {key: value for key, value in settings["train"].items() if key not in INDIFFERENT}
    return {f"{section}.{key}": value for section, values in settings.items() for key, value in values.items()}


def facts(recipe: Recipe, dataset: Dataset) -> dict[str, Any]:
    """What all processes of a training must have alike, by what a person calls it."""
    return decisive(recipe) | {"the data's fingerprint": dataset.fingerprint}


def check_content(run: Run, content: Mapping[str, Any], epochs: int, steps: int) -> None:
    """Refuse a checkpoint that is whole and says what no training of this recipe writes.

    Args:
        run: whose it is.
        content: of the checkpoint.
        epochs: of the recipe.
        steps: of an epoch.

    Raises:
        RunError: the first key that is missing, of another kind, or out of its range.
    """
    kinds: dict[str, Any] = {
        "network": Mapping, "optimizer": Mapping, "schedule": Mapping, "recipe": Mapping, "fingerprint": str,
        "history": list, "random": Tensor, "totals": Tensor, "epoch": int, "step": int, "seconds": (int, float),
    }  # fmt: skip
    wrong = next(
        (key for key, kind in kinds.items() if not isinstance(content.get(key), kind) or content[key] is True), None
    )
    if wrong is None:
        ranges = {"epoch": epochs, "step": steps, "seconds": float("inf")}
        wrong = next((key for key, most in ranges.items() if not 0 <= content[key] <= most), None)
    if wrong is None and len(content["history"]) != content["epoch"]:
        wrong = "history"
    rows = content["history"] if wrong is None else []
    if not all(isinstance(row, Mapping) and all(map(_is_number, row.values())) for row in rows):
        wrong = "history"
    if wrong is None and content["step"] == steps:
        wrong = "step" if content["epoch"] == epochs else None
    if wrong is not None:
        raise unfit(run, f"{wrong} says what this training does not write")


def _is_number(value: Any) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


ADDED = {"_get_lr_called_within_step", "_is_initial"}
"""Of a schedule's state: some versions of torch have them, and nothing hangs on them."""


def unlike(own: Any, given: Any, name: str) -> str | None:
    """The first place in nested containers that is missing or of another kind than one's own; None: there is none.

    Args:
        own: as a training has it that has just begun.
        given: as a checkpoint has it.
        name: of the place.
    """
    if isinstance(own, Mapping | list | tuple):
        kind = Mapping if isinstance(own, Mapping) else list | tuple
        if not isinstance(given, kind) or (kind is not Mapping and len(given) != len(own)):
            return name
        for key in [key for key in own if key not in ADDED] if isinstance(own, Mapping) else range(len(own)):
            inner = f"{name}.{key}"
            wrong = inner if kind is Mapping and key not in given else unlike(own[key], given[key], inner)
            if wrong is not None:
                return wrong
        return None
    if isinstance(own, Tensor):
        return None if isinstance(given, Tensor) and given.shape == own.shape else name
    if isinstance(own, int | float) and not isinstance(own, bool):
        return None if _is_number(given) else name
    return None if own is None or type(given) is type(own) else name


def unfit(run: Run, why: str) -> RunError:
    """The error of a checkpoint that is whole and cannot be gone on from."""
    return RunError(f"the newest checkpoint in {run.checkpoints} does not fit: {why}; start a new run, or remove it")


def check_resumable(
    run: Run,
    recipe: Recipe,
    dataset: Dataset,
    teacher: str | None,
    content: Mapping[str, Any] | None,
    tell: Callable[[str], None],
) -> None:
    """Refuse a run folder whose training was another one.

    Args:
        run: the folder.
        recipe: to train by.
        dataset: to train on.
        teacher: SHA-256 of the teacher's weights; none: the recipe has none.
        content: of its newest checkpoint; none: it has none.
        tell: called with a line on what differs and may.

    Raises:
        RunError: what differs, or that there are results but no checkpoint.
    """
    trained_on = content["fingerprint"] if content else run.read_environment().get("data_fingerprint")
    if trained_on not in (None, dataset.fingerprint):
        raise RunError(
            f"{run.folder} was trained on other data: its fingerprint is {trained_on[:12]}, that of"
            f" {dataset.source} is {dataset.fingerprint}"
        )
    if content is None:
        if run.weights.is_file() or run.history_jsonl.is_file():
            raise RunError(f"{run.folder} has results but no checkpoint to go on from: start a new run")
        return
    if former(recipe.model, dataset.spec, content["network"]) is not None:
        raise RunError(
            f"{run.config}: {recipe.model.network} was another network when this run was begun: go on with the version"
            " of flyweight that began it, or start a new run"
        )
    # what a setting was before it existed
    defaults = decisive(Recipe(name="", model=recipe.model))
    for key, value in decisive(recipe).items():
        made_with = content["recipe"].get(key, defaults[key])
        if made_with != value and key in ROUNDING:
            tell(f"{key} was {made_with!r} until here and is {value!r} now: the weights will be rounded otherwise")
        elif made_with != value:
            raise RunError(
                f"{run.config}: {key} is {value!r}, the run was made with {made_with!r}:"
                " set it back, or start a new run"
            )
    if content.get("teacher") != teacher:
        raise RunError(f"{run.config}: the weights of the teacher {recipe.train.teacher} have changed since")
    slow = processes().device.type == "cpu" and not gains_from_bfloat16(processes().device)
    if recipe.train.precision == "bfloat16" and slow and content["epoch"] < recipe.train.epochs:
        tell(f"bfloat16 slows this machine down: it goes on faster with train.precision: float32 in {run.config}")
