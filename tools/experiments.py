"""A row of Markdown for each run folder, for the table of experiments in docs/results.md.

    python tools/experiments.py runs/*

A run that has not ended says how far it came, one with held-out images that its accuracy is theirs.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flyweight import analysis, recipes
from flyweight.data.cifar10 import SPEC
from flyweight.networks.build import build
from flyweight.recipes.sections import Recipe
from flyweight.runs.folder import Run

HEAD = "| recipe, and what differs | seed | parameters | MACs | epochs | last epoch % | loss | minutes | machine |"
RULE = "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |"
SHORT = {"train.seed", "train.epochs", "train.precision", "train.workers", "train.keep", "description"}
"""What has a column of its own or changes no result."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    options = parser.parse_args()
    rows = [row(Run.open(folder)) for folder in options.runs]
    sys.stdout.write("\n".join([HEAD, RULE, *rows]) + "\n")


def row(run: Run) -> str:
    """What a run was and gave; one that has not ended says how far it came."""
    recipe, history, record = run.recipe(), run.history(), run.read_environment()
    facts = analysis.analyze(build(recipe.model, SPEC), SPEC.shape)
    assert facts.macs is not None  # no operator of ours hides any
    if not history:
        return f"| {what(recipe)} | {recipe.train.seed} | no epoch has ended |"
    last = history[-1]
    epochs = recipe.train.epochs
    done = f"{epochs}" if last["epoch"] == epochs else f"{last['epoch']} of {epochs}"
    split = " (held out)" if recipe.data.hold_out else ""
    cells = [
        what(recipe),
        str(recipe.train.seed),
        f"{facts.parameters:,}",
        f"{facts.macs / 1e6:.1f} M",
        done,
        f"{last['test_accuracy']:.2f}{split}",
        f"{last['test_loss']:.4f}",
        f"{sum(epoch['seconds'] for epoch in history) / 60:.0f}",
        machine(record),
    ]
    return f"| {' | '.join(cells)} |"


def machine(record: Mapping[str, Any]) -> str:
    """The accelerator, or the processor with its threads."""
    if record.get("device") in (None, "cpu"):
        return f"{record.get('processor')}, {record.get('threads')} threads"
    return record["device"]


def what(recipe: Recipe) -> str:
    """The recipe's name, and each value in which it differs from the built-in recipe of that name."""
    if recipe.name not in recipes.names():
        return f"{recipe.name} (a file of its own)"
    ours, theirs = (flat(one.model_dump(mode="json")) for one in (recipe, recipes.load(recipe.name)))
    differs = [f"{key} {value}" for key, value in ours.items() if value != theirs.get(key) and key not in SHORT]
    return ", ".join([f"`{recipe.name}`", *differs])


def flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` as ``{"a.b": 1}``."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


if __name__ == "__main__":
    main()
