"""On what machine and data a run was made: its ``environment.json``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flyweight.data import Dataset
from flyweight.machine import environment
from flyweight.recipes.sections import Recipe
from flyweight.runs.environment import ALWAYS
from flyweight.runs.folder import Run


def begin(run: Run, recipe: Recipe, dataset: Dataset, note: str | None, tell: Callable[[str], None]) -> dict[str, Any]:
    """Write the record and return it; a resumed run keeps its first one and is noted in it.

    Args:
        run: where it goes.
        recipe: whose precision is settled.
        dataset: that is trained on.
        note: what a reader of the run must know.
        tell: called with a line where the first record is damaged.
    """
    now, earlier = environment.describe() | {"precision": recipe.train.precision}, run.read_environment()
    if not earlier and run.environment.exists():
        tell(f"{run.environment} is damaged, and is begun anew")
    source = {"data_source": dataset.source, "data_fingerprint": dataset.fingerprint}
    record = {**now, **source, "data_note": note}
    if earlier:
        # that of a version before a key was kept gets it now
        lacking = {key: record[key] for key in ALWAYS if earlier.get(key) is None}
        record = {**earlier, **lacking, "resumed": [*earlier.get("resumed", []), now]}
    run.write_environment(record)
    return record


def end(run: Run, record: dict[str, Any], seconds: float) -> None:
    """Write down when and after how many seconds of its epochs a training ended, and the memory it took."""
    ending = {
        "finished": environment.now(),
        "seconds": round(seconds, 1),
        "peak_memory_mib": environment.peak_memory_mib(),
    }
    run.write_environment(record | ending, ended=True)
