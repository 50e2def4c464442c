"""The report of a run: one page that opens anywhere, the brief's five answers in Markdown, and the figures.

The headline is the last epoch; the best epoch on the test set is shown only as optimistic.
"""

from __future__ import annotations

import base64
import inspect
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from flyweight import analysis, recipes, rules
from flyweight.data.dataset import Dataset, Progress
from flyweight.errors import RunError
from flyweight.evaluation import evaluate, explain
from flyweight.evaluation.scores import Evaluation
from flyweight.files import write_bytes, write_text
from flyweight.images import augment
from flyweight.networks import build as builder
from flyweight.networks import builtin, layers, phases
from flyweight.recipes.sections import Recipe
from flyweight.report import figures
from flyweight.report.pages import render
from flyweight.rules import summary
from flyweight.runs.card import Trained, load_trained
from flyweight.runs.folder import Run
from flyweight.text import printable

TARGET = 85.0
"""Test accuracy in percent that the brief asks for (R7)."""

CAPTIONS = {
    "augmentation": (
        "Augmentation",
        "Training images as they are, under each transform alone, and as epochs see them.",
    ),
    "metrics": (
        "Loss and accuracy by epoch",
        "The training figures are of augmented images, their loss with label smoothing; the test figures are of images"
        " as they are.",
    ),
    "misclassified": ("Misclassified images", "Spread over all mistakes, from the most confident to the least."),
    "gradcam": (
        "Where the network looked",
        "Grad-CAM on the last map: what spoke for the class that was predicted, and what for the true one.",
    ),
    "confusion": ("Confusion matrix", "Orange: mistakes, on a scale that ends at the most frequent one."),
    "calibration": ("Calibration", "How often the network is right when it is so sure."),
}

ENVIRONMENT = {
    "processor": "processor",
    "cores": "processor cores",
    "threads": "threads",
    "device": "device",
    "precision": "precision of the training",
    "platform": "platform",
    "python": "Python",
    "torch": "torch",
    "accelerate": "accelerate",
    "albumentations": "albumentations",
    "opencv": "OpenCV",
    "numpy": "NumPy",
    "flyweight": "flyweight",
    "started": "started (UTC)",
    "finished": "finished (UTC)",
    "command": "command",
}


def write(run: Run, dataset: Dataset, progress: Progress | None = None) -> Path:
    """Evaluate the run's network and write ``evaluation.json``, ``mistakes.csv``, ``images/``, the page, ``REPORT.md``.

    Args:
        run: whose training has ended.
        dataset: what it was trained on.
        progress: called as progress("report", done, total).

    Returns:
        the path of ``report.html``.

    Raises:
        RunError: the training has not ended, the weights are damaged, or the folder cannot be written.
        FlyweightError: the data does not fit the network.
    """
    if not run.weights.is_file():
        raise RunError(
            f"{run.folder} has no weights yet: its training has not ended; go on with:"
            f" flyweight train --resume {shlex.quote(str(run.folder))}"
        )
    recipe, trained = run.recipe(), load_trained(run.folder)
    scores = evaluate.evaluate(trained, dataset)
    evaluate.write(scores, run)
    run.images.mkdir(exist_ok=True)
    pictures: dict[str, bytes] = {}
    drawers = _drawers(run, recipe, trained, dataset, scores)
    for done, (name, draw) in enumerate(drawers.items()):
        if progress is not None:
            progress("report", done, len(drawers))
        figure = draw()
        if figure is not None:
            pictures[name] = figures.png(figure)
            write_bytes(run.images / f"{name}.png", pictures[name])
    facts = _context(run, recipe, trained, dataset, scores, list(pictures))
    uris = {name: f"data:image/png;base64,{base64.b64encode(content).decode()}" for name, content in pictures.items()}
    write_text(run.report_markdown, render("REPORT.md.jinja", facts))
    write_text(run.report_html, render("report.html.jinja", facts | {"uris": uris}))
    if progress is not None:
        progress("report", len(drawers), len(drawers))
    return run.report_html


def _drawers(
    run: Run, recipe: Recipe, trained: Trained, dataset: Dataset, scores: Evaluation
) -> dict[str, Callable[[], figures.Figure | None]]:
    target = TARGET if recipe.rules == "brief" else None
    return {
        "augmentation": lambda: figures.augmentation(dataset, recipe.augment, recipe.train.seed),
        "metrics": lambda: figures.metrics(run.history(), target, _split(recipe)),
        "misclassified": lambda: figures.misclassified(scores, dataset.test.images),
        "gradcam": lambda: _gradcam(trained, dataset, scores),
        "confusion": lambda: figures.confusion(scores),
        "calibration": lambda: figures.calibration(scores.calibration, scores.n),
    }


def _gradcam(trained: Trained, dataset: Dataset, scores: Evaluation) -> figures.Figure | None:
    """None where there is no mistake, or no map to look at."""
    mistakes = figures.spread(scores.mistakes, 8)
    if not mistakes:
        return None
    images = np.stack([dataset.test.images[mistake.index] for mistake in mistakes])
    predicted = explain.gradcam(trained, images, [mistake.predicted for mistake in mistakes])
    true = explain.gradcam(trained, images, [mistake.true for mistake in mistakes])
    if predicted is None or true is None:
        return None
    return figures.gradcam(scores, images, mistakes, predicted, true)


def _context(
    run: Run, recipe: Recipe, trained: Trained, dataset: Dataset, scores: Evaluation, pictures: Sequence[str]
) -> dict[str, Any]:
    """All that the templates show."""
    facts = analysis.analyze(trained.model, trained.card.input_shape)
    checked = rules.check(facts, rules.load_ruleset(recipe.rules)) if recipe.rules is not None else None
    history, environment = run.history(), run.read_environment()
    best = max(history, key=lambda row: row["test_accuracy"], default=None)
    folder = shlex.quote(run.folder.name)
    return {
        "title": printable(recipe.name),
        "description": printable(recipe.description),
        "network": printable(recipe.model.network),
        "banners": _banners(environment, trained, dataset),
        "notes": _notes(scores, history),
        "scores": scores,
        "names": [printable(name) for name in scores.classes],
        "split": _split(recipe),
        "best": best,
        "epochs": trained.card.epochs,
        "seconds": sum(row["seconds"] for row in history) if history else None,
        "seed": recipe.train.seed,
        "facts": facts,
        "rules": _verdicts(recipe, dataset, scores, checked),
        "summary": _summary(facts, checked),
        "log": run.log.read_text(encoding="utf-8") if run.log.is_file() else "(the log is missing)",
        "recipe": recipes.write(recipe),
        "augment": recipe.augment,
        "dataset": dataset,
        "machine": [
            (label, environment[key]) for key, label in ENVIRONMENT.items() if environment.get(key) is not None
        ],
        "confusions": evaluate.confusions(scores, 10),
        "mistakes": scores.mistakes[:10],
        "figures": [(name, *CAPTIONS[name]) for name in pictures],
        "commands": [
            f"flyweight check {shlex.quote(recipe.model.network)}{_rules_option(recipe)}",
            f"flyweight train {folder}/{run.config.name}",
            f"flyweight evaluate {folder}",
            f"flyweight report {folder}",
        ],
        "rows": builtin.NETWORKS[recipe.model.network].blocks if recipe.model.network in builtin.NETWORKS else (),
        "sources": _sources(trained.model),
        "augmentation_source": inspect.getsource(augment.transforms),
    }


def _summary(facts: analysis.Facts, checked: rules.Judgement | None) -> str:
    if checked is None:
        return f"{summary.render_layers(facts)}\n\n{summary.render_totals(facts)}"
    return summary.render(facts, checked)


def _split(recipe: Recipe) -> str:
    return "held-out" if recipe.data.hold_out else "test"


def _banners(environment: dict[str, Any], trained: Trained, dataset: Dataset) -> list[str]:
    """What must be read before any figure: this is not the whole CIFAR-10."""
    banners = [printable(str(environment["data_note"]))] if environment.get("data_note") else []
    if dataset.name.startswith("digits") and not banners:
        banners.append(
            "Stand-in data: handwritten digits and not CIFAR-10. No figure here says anything about CIFAR-10."
        )
    if dataset.name.startswith("cifar10-modified"):
        banners.append("These are not the 50,000 and 10,000 images of CIFAR-10: some are missing, added or changed.")
    if "-subset" in dataset.name:
        banners.append(
            f"Only a part of the data: {len(dataset.train):,} training and {len(dataset.test):,} test images."
            " The figures are not those of the whole data set."
        )
    if "-holdout" in dataset.name:
        banners.append(
            f"Not the test set: accuracy is of {len(dataset.test):,} images held out of the training set, to choose by."
        )
    if dataset.fingerprint != trained.card.fingerprint:
        banners.append(
            f"Evaluated on other data than it was trained on: {dataset.fingerprint[:12]} here,"
            f" {trained.card.fingerprint[:12]} in the training."
        )
    return banners


def _notes(scores: Evaluation, history: Sequence[dict[str, Any]]) -> list[str]:
    notes = []
    if history and history[-1]["test_correct"] != scores.correct:
        notes.append(
            f"The last epoch's test pass counted {history[-1]['test_correct']} of {history[-1]['test_total']};"
            f" the evaluation for this report, {scores.correct} of {scores.n}."
            " Another device or number of threads rounds differently, by a few images and no more."
        )
    return notes


def _verdicts(
    recipe: Recipe, dataset: Dataset, scores: Evaluation, checked: rules.Judgement | None
) -> list[dict[str, str]]:
    """A row for each rule: those about the network, and the brief's two about its training."""
    if checked is None:
        return []
    rows = [_row(rule, "pass", "FAIL") for rule in checked.verdicts]
    if recipe.rules == "brief":
        rows += [_augmentation_row(recipe), _accuracy_row(dataset, scores)]
        # by their numbers in the brief; those of one number stay in order
        rows.sort(key=lambda row: row["name"].split()[0])
    return rows + [_row(bonus, "yes", "no") for bonus in checked.bonuses]


def _row(verdict: rules.Verdict, passed: str, failed: str) -> dict[str, str]:
    # the cure of a bonus would ask for another network
    cure = f"; cure: {verdict.cure}" if verdict.cure and failed == "FAIL" else ""
    return {
        "name": printable(verdict.name),
        "verdict": passed if verdict.passed else failed,
        "detail": printable(verdict.detail + cure),
    }


def _rules_option(recipe: Recipe) -> str:
    return "" if recipe.rules in (None, "brief") else f" --rules {shlex.quote(str(recipe.rules))}"


def _augmentation_row(recipe: Recipe) -> dict[str, str]:
    chosen = recipe.augment
    settings = ("flip", "shift_scale_rotate", "shift", "scale", "rotate", "cutout")
    off = [name for name in settings if getattr(chosen, name) == 0]
    detail = (
        f"with probability {chosen.flip:g}, {chosen.shift_scale_rotate:g} and {chosen.cutout:g};"
        f" the hole is {chosen.cutout_size}x{chosen.cutout_size} pixels of the data set's mean"
    )
    if off:
        detail = f"off in the recipe: {', '.join(off)}"
    elif chosen.cutout_size != 16:
        detail += "; it must be 16x16"
    return {
        "name": "R6 flip, shift-scale-rotate, coarse dropout",
        "verdict": "FAIL" if off or chosen.cutout_size != 16 else "pass",
        "detail": detail,
    }


def _accuracy_row(dataset: Dataset, scores: Evaluation) -> dict[str, str]:
    margin = scores.accuracy - TARGET
    verdict, detail = "pass", f"{margin:.2f} points to spare"
    if margin < 0:
        verdict, detail = "FAIL", f"{-margin:.2f} points too few"
    if dataset.name != "cifar10":
        verdict, detail = "does not count", f"{dataset.name} is not the test set of CIFAR-10"
    return {
        "name": f"R7 at least {TARGET:g} % test accuracy",
        "verdict": verdict,
        "detail": f"{scores.accuracy:.2f} % at the last epoch: {detail}",
    }


def _sources(network: nn.Module) -> list[tuple[str, str]]:
    """(file name, text) of what builds the network: a user's own file, or our builder and its layers."""
    own = sys.modules[type(network).__module__]
    modules = [builtin, builder, phases, layers] if own is builder else [own]
    return [(Path(inspect.getsourcefile(module) or "network.py").name, inspect.getsource(module)) for module in modules]
