"""`flyweight evaluate`: a trained network on its test set."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from flyweight.cli import job
from flyweight.cli.console import answer, answer_json, say
from flyweight.cli.options import AllowOption, JsonOption, command
from flyweight.errors import FlyweightError
from flyweight.machine import launched

if TYPE_CHECKING:
    from flyweight.data import Dataset
    from flyweight.evaluation.robustness import Damaged
    from flyweight.evaluation.scores import Evaluation
    from flyweight.runs.card import Trained

app = command(
    "evaluate",
    "evaluate sprint2",
    "evaluate sprint2 --damaged",
    "evaluate sprint2 --against digits  # images of none of its classes",
    "evaluate runs/sprint2-20260101-120000 --json",
    "evaluate runs/tuning --data cifar10  # on the test set",
    "evaluate runs/mine --data new_photos/",
)


@app.default
def evaluate(
    network: str,
    /,
    *,
    data: job.DataOption = None,
    out: Annotated[
        Path | None,
        Parameter(help="Where evaluation.json and mistakes.csv go; by default a run's folder, with --data nowhere."),
    ] = None,
    damaged: Annotated[
        bool, Parameter(negative="", help="Also on damaged images: JPEG, blur, noise, shift (a minute).")
    ] = False,
    against: Annotated[
        str | None,
        Parameter(help="Also images of none of its classes: a data set, or any folder of images. Does it notice?"),
    ] = None,
    allow_code: AllowOption = False,
    as_json: JsonOption = False,
) -> int:
    """Test a trained network: accuracy with its interval, per class, confusions, calibration, list of mistakes.

    Calibration is that of the network as it is, and as it is told: with the temperature that its training has found.

    Args:
        network: A network that ships with its weights, or a run folder.
    """
    from flyweight.evaluation import evaluate as evaluation
    from flyweight.evaluation import robustness, unknown
    from flyweight.machine.allocator import keep_freed_memory
    from flyweight.machine.together import agree_on
    from flyweight.runs.card import find_trained

    keep_freed_memory()
    source = find_trained(network)
    with redirect_stdout(sys.stderr):  # a network of the user's may print
        trained = job.load_network(source, allow_code)
        dataset = job.load_tested(trained, data)
        others = None if against is None else job.load_others(trained.card, against)
        agree_on({"the network's SHA-256": trained.card.sha256, "the data's fingerprint": dataset.fingerprint})
        scores = evaluation.evaluate(trained, dataset, together=True)
        first = launched.rank() == 0  # what the others would compute in vain
        noticed = unknown.measure(trained, scores, *others) if others is not None and first else None
        # the damages follow from one another, image by image: one process alone can tell
        results = _on_damaged(trained, dataset) if damaged and first else []
    asked = out is not None
    if out is None and data is None and not _closed(source):
        out = source
    if as_json:
        extra: dict[str, Any] = {"damaged": [result.as_json() for result in results]} if damaged else {}
        extra |= {} if noticed is None else {"against": noticed.as_json()}
        answer_json(scores.as_json() | extra)
    else:
        parts = [evaluation.render(scores)]
        parts += [robustness.render(results, scores.accuracy)] if damaged else []
        parts += [] if noticed is None else [unknown.render(noticed)]
        answer("\n\n".join(parts))
    if out is not None and first:
        _keep(scores, out, asked)
    return 0


def _closed(source: Path) -> bool:
    """Whether nothing is written beside a network: what ships is not ours, and an export holds its own files alone."""
    from flyweight.runs.card import ships
    from flyweight.runs.names import EXPORT_RECORD

    return ships(source) or (source / EXPORT_RECORD).exists()


def _on_damaged(trained: Trained, dataset: Dataset) -> list[Damaged]:
    """Scores on each kind of damage, told one by one: they take a while."""
    from flyweight.evaluation import robustness

    results = []
    for result in robustness.measure(trained, dataset):
        say(f"{result.damage.label}: {result.accuracy:.2f} %")
        results.append(result)
    return results


def _keep(scores: Evaluation, folder: Path, asked: bool) -> None:
    """Write what has been printed already, so that a folder that cannot be written loses nothing.

    Raises:
        FlyweightError: it cannot, and --out asked for it.
    """
    from flyweight.evaluation import evaluate as evaluation

    try:
        _make(folder)
        evaluation.write(scores, folder)
    except FlyweightError as error:
        if asked:
            raise
        say(f"flyweight: the result is not kept: {error}")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FlyweightError(f"--out {folder}: {error.strerror}; name a folder") from None
