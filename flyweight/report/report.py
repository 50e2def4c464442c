"""Evaluate a run and write its report. The headline is the last epoch; the best epoch is shown only as optimistic."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flyweight import recipes, rules
from flyweight.data import findings
from flyweight.data.dataset import Dataset, Progress
from flyweight.errors import RunError
from flyweight.evaluation import evaluate
from flyweight.evaluation.scores import ClassScore, Evaluation, Mistake
from flyweight.files import read_bytes, reason, sweep, whose_or_raise, write_bytes, write_text
from flyweight.networks import build
from flyweight.networks.custom import unheard
from flyweight.recipes.network import Row
from flyweight.report import brief, figures
from flyweight.report.drawings import DRAWINGS
from flyweight.report.gallery import gallery
from flyweight.report.pages import TEMPLATES, data_uri, render, script_hash
from flyweight.report.sources import own_source
from flyweight.report.subject import Subject
from flyweight.rules import summary
from flyweight.runs import environment as environments
from flyweight.runs.card import Trained, load_trained
from flyweight.runs.folder import COLUMNS, MOST_RECORD, Run
from flyweight.text import ending, lines, printable

HEADINGS = {
    "network": "The network",
    "summary": "Layers and totals",
    "augmentation": "Augmentation of the training images",
    "log": "The training log",
    "figures": "Figures",
}

IN_GALLERY = ("misclassified", "gradcam", "confusion")
"""Figures that the page does not show, for its gallery says the same and more."""

PAGE, GALLERY = 4_600_000, 3_000_000
"""Characters of all images of the page, and of its gallery: with its words the page stays below 5 MB."""

CLASSES_SHOWN = 20
"""The most classes that have a row in the tables of a page: the weakest."""


def write(run: Run, dataset: Dataset, progress: Progress | None = None, tell: Callable[[str], None] = unheard) -> Path:
    """Evaluate the run's network and write ``evaluation.json``, ``mistakes.csv``, ``images/``, the page, ``REPORT.md``.

    Args:
        run: whose training has ended.
        dataset: what it was trained on.
        progress: called as progress("report", done, total).
        tell: called with a line where the file of a network of the user's own has changed since the run.

    Returns:
        the path of ``report.html``.

    Raises:
        RunError: the training has not ended, the weights are damaged, or the folder cannot be written; its `images` is
            a link into another one.
        FlyweightError: the data does not fit the network, or the recipe's rules cannot be read.
    """
    if run.weights.exists() and not run.weights.is_file():
        raise RunError(f"{run.weights} is not a regular file: take it from a backup")
    if not run.weights.is_file():
        raise RunError(
            f"{run.folder} has no weights yet: its training has not ended; go on with:"
            f" flyweight train --resume {shlex.quote(str(run.folder))}"
        )
    whose_or_raise(run.images)
    for line in run.changed():
        tell(f"{line}; the report is of what is there now")
    recipe, trained = run.recipe(), load_trained(run.folder, tell)
    if recipe.model.table is None and trained.card.table is not None:  # the recipe's name has other rows by now
        recipe = recipe.model_copy(update={"model": trained.card.model})
    ruleset = rules.load_ruleset(recipe.rules) if recipe.rules is not None else None
    scores = evaluate.evaluate(trained, dataset)
    subject = Subject(run, recipe, trained, dataset, scores, ruleset)
    evaluate.write(scores, run)
    run.images.mkdir(exist_ok=True)
    sweep(run.images, r"[a-z_]+\.png", age=600)  # of a report that was killed
    drawn: dict[str, bytes] = {}
    for done, (name, drawing) in enumerate(DRAWINGS.items()):
        if progress is not None:
            progress("report", done, len(DRAWINGS))
        figure = drawing.draw(subject)
        if figure is not None:
            drawn[name] = figures.png(figure)
            write_bytes(run.images / f"{name}.png", drawn[name])
    content = _content(subject, list(drawn))
    write_text(run.report_markdown, render("REPORT.md.jinja", content))
    write_text(run.report_html, render("report.html.jinja", content | _page(subject, drawn)))
    if progress is not None:
        progress("report", len(DRAWINGS), len(DRAWINGS))
    return run.report_html


def _page(subject: Subject, drawn: Mapping[str, bytes]) -> dict[str, Any]:
    """What the page shows beyond that: figures where it has no better, the gallery, the script that filters it."""
    uris = {name: data_uri(png) for name, png in drawn.items() if name not in IN_GALLERY}
    script = (TEMPLATES / "gallery.js").read_text(encoding="utf-8")
    room = min(PAGE - sum(map(len, uris.values())), GALLERY)
    return {"uris": uris, "gallery": gallery(subject, room), "script": script, "script_hash": script_hash(script)}


def _content(subject: Subject, drawn: Sequence[str]) -> dict[str, Any]:
    """All that the templates show."""
    run, recipe, scores = subject.run, subject.recipe, subject.scores
    history, environment = run.history(COLUMNS), run.read_environment()
    tested_alike = [row for row in history if row["test_total"] == history[-1]["test_total"]]
    return {
        "title": printable(recipe.name),
        "description": printable(recipe.description),
        "network": printable(recipe.model.network),
        "banners": [
            *_banners(environment, subject.trained, subject.dataset),
            *([] if subject.scan is None else findings.leaks(subject.scan)),
        ],
        "found": subject.found,
        "notes": _notes(scores, history) if subject.dataset.validation is None else [],
        "scores": scores,
        "names": [printable(name) for name in scores.classes],
        "classes": weakest(scores),
        "split": subject.split,
        "watched": subject.dataset.watched[0],
        "best": max(tested_alike, key=lambda row: row["test_accuracy"], default=None),
        "epochs": subject.trained.card.epochs,
        "seconds": sum(row["seconds"] for row in history) if history else None,
        "seed": recipe.train.seed,
        "facts": subject.facts,
        "rules": _verdicts(subject.judgement),
        "summary": _summary(subject),
        "log": _log(run),
        "recipe": recipes.write(recipe),
        "dataset": subject.dataset,
        "machine": environments.rows(environment),
        "moved": environments.moved(environment),
        "confusions": evaluate.confusions(scores, 10),
        "mistakes": [(mistake, _called(scores, mistake)) for mistake in scores.mistakes[:10]],
        "figures": [(name, DRAWINGS[name].heading, DRAWINGS[name].caption) for name in drawn],
        "commands": _commands(subject),
        "transforms": subject.transforms,
        "repeats": recipe.train.sampling == "balanced",
        **_code(subject),
    }


def _code(subject: Subject) -> dict[str, Any]:
    """The sections of REPORT.md and the code in them: the brief asks for all of it, else a network's own is enough."""
    model, asked = subject.recipe.model, brief.asks(subject.recipe)
    network = build.table(model)
    sources = [own_source(subject.trained.model)] if network is None else []
    return {
        "headings": brief.HEADINGS if asked else HEADINGS,
        "rows": []
        if network is None
        else [describe_row(name, number, row) for name, rows in network.named() for number, row in enumerate(rows, 1)],
        "sources": brief.builder_sources() if asked and network is not None else sources,
        "augmentation_source": brief.augmentation_source() if asked else None,
    }


def _log(run: Run) -> str:
    """The log as it was printed, whatever lies in its place."""
    try:
        return lines(read_bytes(run.log, MOST_RECORD).decode("utf-8", "backslashreplace"))
    except FileNotFoundError:
        return "(the log is missing)"
    except OSError as error:
        return f"(the log cannot be read: {reason(error)})"


def describe_row(block: str, number: int, row: Row) -> dict[str, str]:
    """A row of a network's table in words.

    Args:
        block: its name.
        number: of the row in its block, from 1.
        row: the layer.
    """
    return {
        "layer": f"{block}.{number}",
        "channels": f"{row.width:,}",
        "kind": f"{row.kind} {row.kernel}x{row.kernel}",
        "stride": str(row.stride),
        "dilation": str(row.dilation),
        "padding": str(row.zeros),
        "residual": "yes" if row.residual else "",
    }


def weakest(scores: Evaluation, most: int = CLASSES_SHOWN) -> list[tuple[str, ClassScore]]:
    """(name, score) of each class in their order; of more than so many, those with the lowest accuracy come alone.

    A class without images has no accuracy and comes last.
    """
    rows = [(printable(name), score) for name, score in zip(scores.classes, scores.per_class, strict=True)]
    if len(rows) <= most:
        return rows
    return sorted(rows, key=lambda row: 101.0 if row[1].accuracy is None else row[1].accuracy)[:most]


def _called(scores: Evaluation, mistake: Mistake) -> str:
    """A mistaken image in a table: the end of its name, or its number."""
    name = scores.name(mistake)
    return str(mistake.index) if name is None else ending(name, 40)


def _summary(subject: Subject) -> str:
    if subject.judgement is None:
        return f"{summary.render_layers(subject.facts)}\n\n{summary.render_totals(subject.facts)}"
    return summary.render(subject.facts, subject.judgement)


def _banners(environment: dict[str, Any], trained: Trained, dataset: Dataset) -> list[str]:
    """What must be read before any figure."""
    recorded = environment.get("data_note")
    notes = ([str(recorded)] if recorded else []) + list(dataset.notes)
    banners = list(dict.fromkeys(printable(note) for note in notes))
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


def _verdicts(judgement: rules.Judgement | None) -> list[dict[str, str]]:
    """A row for each rule and each bonus."""
    if judgement is None:
        return []
    rows = [_verdict(rule, "pass", "FAIL") for rule in judgement.verdicts]
    rows += [_verdict(bonus, "yes", "no") for bonus in judgement.bonuses]
    return rows + [{"name": printable(name), "verdict": "not judged", "detail": ""} for name in judgement.pending]


def _verdict(verdict: rules.Verdict, passed: str, failed: str) -> dict[str, str]:
    # the cure of a bonus would ask for another network
    cure = f"; cure: {verdict.cure}" if verdict.cure and failed == "FAIL" else ""
    return {
        "name": printable(verdict.name),
        "verdict": {True: passed, False: failed, None: "does not count"}[verdict.passed],
        "detail": printable(verdict.detail + cure),
    }


def _commands(subject: Subject) -> list[str]:
    """How to repeat it, from the folder that holds the run."""
    folder, card = shlex.quote(subject.run.folder.name), subject.trained.card
    commands = [
        f"flyweight train {folder}/{subject.run.config.name}",
        f"flyweight evaluate {folder}",
        f"flyweight report {folder}",
    ]
    model, ruleset = subject.recipe.model, subject.ruleset
    if ruleset is None:
        return commands
    if model.table is not None:  # the recipe holds the rows, and names the rules
        checked = f"{folder}/{subject.run.config.name}"
    else:
        named = "" if brief.asks(subject.recipe) else f" --rules {shlex.quote(str(subject.recipe.rules))}"
        checked = f"{shlex.quote(model.network)}{named}"
    shape = ",".join(map(str, card.input_shape))
    options = f" --input {shape}" if shape != ruleset.input else ""
    options += f" --classes {len(card.classes)}" if len(card.classes) != ruleset.classes else ""
    return [f"flyweight check {checked}{options}", *commands]
