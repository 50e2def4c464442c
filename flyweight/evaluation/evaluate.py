"""How good a trained network is: scored, written to files and told on a terminal."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from flyweight.data.dataset import Dataset, Split
from flyweight.errors import FlyweightError, RunError
from flyweight.evaluation.scores import Evaluation, confusions, score
from flyweight.files import write_text
from flyweight.inference import classifier
from flyweight.networks.custom import blamed
from flyweight.runs.card import Trained
from flyweight.runs.folder import Run
from flyweight.text import aligned, cell, ending, printable, share, some

CLASSES_SHOWN = 20
"""The most classes that a terminal gets a line of."""

NAME_SHOWN = 48
"""The most characters of an image's name that a terminal gets, its last ones."""


def evaluate(
    trained: Trained, dataset: Dataset, split: Literal["test", "train"] = "test", together: bool = False
) -> Evaluation:
    """Score a network on one split, as it is: float32, one view of each image, no augmentation.

    Args:
        trained: the network.
        dataset: that has the split.
        split: which.
        together: whether all processes of this job do it, each with some of the images.

    Raises:
        FlyweightError: the data's classes or shape are not those on the network's card, the split is empty, or what the
            network says is not one finite number a class.
    """
    part: Split = getattr(dataset, split)
    fit_or_raise(trained, dataset, split)
    with blamed(trained.card.model, f"on the {split} images", "mend it"):
        logits = classifier.logits(trained.model, part.images, trained.card.mean, trained.card.std, together=together)
    return scored(trained, dataset, logits, split)


def scored(trained: Trained, dataset: Dataset, logits: Tensor, split: Literal["test", "train"] = "test") -> Evaluation:
    """Score what a network has said of the images of one split.

    Args:
        trained: the network.
        dataset: of the images.
        logits: (N, classes).
        split: of the data set.

    Raises:
        FlyweightError: what it said is not one number a class.
        RunError: it is not finite.
    """
    part: Split = getattr(dataset, split)
    if logits.shape != (len(part), len(dataset.classes)):
        raise FlyweightError(
            f"{trained.card.network} says {tuple(logits.shape[1:])} numbers an image: {len(dataset.classes)} classes"
            f" need ({len(dataset.classes)},)"
        )
    broken = int((~logits.isfinite()).any(1).sum())
    if broken:
        raise RunError(
            f"{trained.folder}: for {broken} of {len(part)} images the network's output is not finite: its weights are"
            " of a training that failed; train again with a lower train.learning_rate"
        )
    return score(
        logits.numpy(),
        np.asarray(part.labels),
        dataset.classes,
        network=trained.card.title,
        data=dataset.name,
        split=split,
        fingerprint=dataset.fingerprint,
        weights=trained.card.sha256,
        names=part.names,
        temperature=trained.card.temperature,
        threshold=trained.card.threshold,
    )


def write(evaluation: Evaluation, where: Run | Path) -> None:
    """Write ``evaluation.json`` and ``mistakes.csv`` into a run folder, or into any folder.

    Raises:
        RunError: the folder cannot be written.
    """
    run = where if isinstance(where, Run) else Run(where)
    write_text(run.evaluation, json.dumps(evaluation.as_json(), indent=2, ensure_ascii=False) + "\n")
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    head = ["index", "true", "predicted", "confidence", "true_probability", "true_rank"]
    writer.writerow(head if evaluation.names is None else [*head, "name"])
    names = [cell(name) for name in evaluation.classes]
    for mistake in evaluation.mistakes:
        shares = [f"{mistake.confidence:.4f}", f"{mistake.true_probability:.4f}"]
        row = [mistake.index, names[mistake.true], names[mistake.predicted], *shares, mistake.true_rank]
        name = evaluation.name(mistake)
        writer.writerow(row if name is None else [*row, cell(name)])
    write_text(run.mistakes, table.getvalue())


def render(evaluation: Evaluation) -> str:
    """The scores as aligned plain text for a terminal; of many classes those with the lowest accuracy."""
    names = [printable(name) for name in evaluation.classes]
    tables = [_totals(evaluation), _classes(evaluation, names), _confusions(evaluation, names)]
    tables.append(_mistakes(evaluation, names))
    return "\n\n".join("\n".join(table) for table in tables if table)


def _totals(evaluation: Evaluation) -> list[str]:
    low, high = evaluation.interval
    calibration, wrong, five = evaluation.calibration, len(evaluation.mistakes), evaluation.top5_accuracy
    even = (
        f"  balanced     {evaluation.balanced_accuracy:.2f} %: mean of the classes' accuracies, each counting as much"
    )
    top5 = [] if five is None else [f"  top 5        {five:.2f} %: the true class is among the five likeliest"]
    return [
        f"{printable(evaluation.network)} on {evaluation.data}, {evaluation.split} split",
        f"  accuracy     {evaluation.accuracy:.2f} % ({evaluation.correct} of {evaluation.n});"
        f" 95 % interval {low:.2f} to {high:.2f} %",
        *([even] if evaluation.uneven else []),
        *top5,
        f"  loss         {evaluation.loss:.4f} nats an image",
        f"  calibration  off by {calibration.error:.2f} points (ECE, {len(calibration.bins)} bins);"
        f" mean confidence {calibration.confidence:.2f} %",
        *_told(evaluation),
        f"  mistakes     {wrong}; in {evaluation.near_misses} of them the true class came second",
    ]


def _told(evaluation: Evaluation) -> list[str]:
    """What the temperature and the threshold of the network's card make of it."""
    told, unknown = evaluation.scaled, evaluation.unknown
    lines = []
    if evaluation.temperature != 1:
        lines.append(
            f"  as told      off by {told.error:.2f} points; mean confidence {told.confidence:.2f} %: with its card's"
            f" temperature, {evaluation.temperature:g}"
        )
    if unknown is not None:
        wrong = evaluation.unknown_wrong
        mistaken = "" if wrong is None else f"; {wrong:.1f} % of them are mistakes"
        lines.append(
            f"  refused      {unknown:.2f} %, as none of its classes: their confidence is below its card's threshold,"
            f" {100 * (evaluation.threshold or 0):.1f} %{mistaken}"
        )
    return lines


def _classes(evaluation: Evaluation, names: Sequence[str]) -> list[str]:
    shown, note = list(zip(names, evaluation.per_class, strict=True)), []
    if len(shown) > CLASSES_SHOWN:
        # a class without images has no accuracy and comes last
        shown.sort(key=lambda row: math.inf if row[1].accuracy is None else row[1].accuracy)
        shown = shown[:CLASSES_SHOWN]
        note = [f"The {CLASSES_SHOWN} of {len(names)} classes with the lowest accuracy (--json: all of them)"]
    rows = [
        [
            name,
            str(score.n),
            str(score.correct),
            share(score.accuracy),
            "-" if score.interval is None else f"{score.interval[0]:.1f} to {score.interval[1]:.1f} %",
            share(score.precision),
        ]
        for name, score in shown
    ]
    return [*note, *aligned(["class", "images", "correct", "accuracy", "95 % interval", "precision"], rows)]


def _confusions(evaluation: Evaluation, names: Sequence[str]) -> list[str]:
    rows = [
        [names[true], names[predicted], str(count), share(100 * count / evaluation.per_class[true].n)]
        for true, predicted, count in confusions(evaluation, 10)
    ]
    return aligned(["true class", "taken for", "images", "of its class"], rows, left=2) if rows else []


def _mistakes(evaluation: Evaluation, names: Sequence[str]) -> list[str]:
    head = ["most confident mistakes", "true class", "taken for", "confidence"]
    rows: list[list[str]] = []
    for mistake in evaluation.mistakes[:10]:
        name = evaluation.name(mistake)
        shown = str(mistake.index) if name is None else ending(name, NAME_SHOWN)
        rows.append([shown, names[mistake.true], names[mistake.predicted], share(mistake.confidence)])
    return aligned(head, rows, left=3) if rows else []


def fit_or_raise(trained: Trained, dataset: Dataset, split: Literal["test", "train"] = "test") -> None:
    """Go on only where a network can be asked about a split.

    Raises:
        FlyweightError: the data's classes or shape are not those on the network's card, or the split is empty.
    """
    card = trained.card
    if dataset.classes != card.classes:
        raise FlyweightError(
            f"{card.network} knows the {len(card.classes)} classes ({some(card.classes)}); {dataset.name} has the"
            f" {len(dataset.classes)} classes ({some(dataset.classes)}): evaluate it on the data it was trained for"
        )
    if dataset.spec.shape != card.input_shape:
        raise FlyweightError(
            f"{card.network} takes images of {card.input_shape} (channels, height, width); those of {dataset.name} are"
            f" {dataset.spec.shape}"
        )
    if len(getattr(dataset, split)) == 0:
        raise FlyweightError(f"{dataset.name} has no images in its {split} split: there is nothing to evaluate on")
