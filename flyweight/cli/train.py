"""`flyweight train`: a network by a recipe."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from flyweight.cli import begun, job
from flyweight.cli.console import TrainingBar, answer, banner, err, say
from flyweight.cli.options import AllowOption, command
from flyweight.cli.report import write_report
from flyweight.errors import FlyweightError, Orphaned

if TYPE_CHECKING:
    from flyweight.data import Dataset
    from flyweight.recipes.sections import Recipe
    from flyweight.runs.folder import Run

app = command(
    "train",
    "train sprint2",
    "train my_recipe.yaml --epochs 30 --seed 1",
    "train --data photos/  # a folder with a folder of images a class",
    "train sprint2 --set augment.cutout=0.5 --set data.hold_out=5000",
    "train --resume runs/sprint2-20260101-120000",
)


@app.default
def train(
    recipe: str | None = None,
    /,
    *,
    resume: Annotated[Path | None, Parameter(help="Go on with this run folder.")] = None,
    out: Annotated[Path | None, Parameter(help="The new run folder; by default runs/RECIPE-TIME.")] = None,
    data: job.DataOption = None,
    changes: Annotated[
        tuple[str, ...],
        Parameter(
            name="--set", negative="", help="Change a value of the recipe: --set train.epochs=3. May be repeated."
        ),
    ] = (),
    epochs: Annotated[int | None, Parameter(help="Short for --set train.epochs=N.")] = None,
    seed: Annotated[int | None, Parameter(help="Short for --set train.seed=N.")] = None,
    fallback: Annotated[
        Literal["digits"] | None, Parameter(help="What to train on, loudly, if CIFAR-10 cannot be had.")
    ] = None,
    with_report: Annotated[bool, Parameter(name="--report", help="Write the report at the end.")] = True,
    allow_code: AllowOption = False,
) -> int:
    """Train a network by a recipe, with a test pass after each epoch, and write the report.

    Ctrl-C saves the state; --resume goes on from there, on the same machine, but for a GPU, to the same weights as an
    unbroken run.

    Args:
        recipe: A built-in recipe or a YAML file of yours; with --data alone: images.
    """
    from flyweight import recipes

    if recipe is None and resume is None and data is not None:
        recipe = recipes.FOR_IMAGES
    if (recipe is None) == (resume is None):
        raise FlyweightError(
            f"name a recipe ({', '.join(recipes.names())}, or a YAML file), your images with --data, or --resume a run"
            " folder"
        )
    if recipe is not None:
        shorts = (("train.epochs", epochs), ("train.seed", seed))
        changes = (*changes, *(f"{key}={value}" for key, value in shorts if value is not None))
        plan = job.absolute(job.with_data(recipes.load(recipe, changes), data), Path(recipe).parent)
        if allow_code:
            begun.allow_teacher(plan)
        return _fit(*_begin(plan, fallback, out), with_report)
    if changes or any(option is not None for option in (epochs, seed, out, fallback)):
        raise FlyweightError(
            "--resume goes on with the run's own recipe: leave out --set, --epochs, --seed, --out and --fallback"
        )
    assert resume is not None
    folder, plan = begun.open_run(resume, allow_code)
    if allow_code:
        begun.allow_teacher(plan)
    plan = job.with_data(plan, data)
    return _fit(folder, plan, *job.load_data(plan.data, None), with_report)


def _begin(plan: Recipe, fallback: str | None, out: Path | None) -> tuple[Run, Recipe, Dataset, str | None]:
    """A new run folder, its recipe, its data, the note where that is a stand-in; a bad call leaves nothing behind."""
    from flyweight.machine.device import settle
    from flyweight.machine.together import agree_on
    from flyweight.recipes.sections import DataConfig
    from flyweight.runs.card import find_trained
    from flyweight.training import start
    from flyweight.training.checks import check_trainable, try_step
    from flyweight.training.resume import facts

    # before the data where that is possible: a typo should not cost a download
    for trained in (plan.train.start, plan.train.teacher):
        if trained is not None:
            find_trained(trained)
    spec = job.known_spec(plan.data)
    network = None if spec is None else job.check_rules(plan, spec)
    dataset, note = job.load_data(plan.data, fallback)
    if note is not None:
        plan = plan.model_copy(update={"data": DataConfig(name=fallback)})
    plan = plan.model_copy(update={"train": settle(plan.train, len(dataset.train))})
    found = dataset.spec
    if network is None or spec is None or (spec.shape, len(spec.classes)) != (found.shape, len(found.classes)):
        network = job.check_rules(plan, found)
    check_trainable(network, dataset, plan)
    if plan.train.start is not None:
        start.find(plan.train.start, network, found.classes)
    try_step(network, dataset, plan)
    agree_on(facts(plan, dataset))
    return begun.create_run(out, plan, found), plan, dataset, note


def _fit(folder: Run, plan: Recipe, dataset: Dataset, note: str | None, with_report: bool) -> int:
    from accelerate.utils import set_seed

    from flyweight.machine import signals
    from flyweight.machine.together import processes
    from flyweight.training import loop as training

    main = processes().is_main_process
    # a network of the user's own may draw from Python's and NumPy's generators, too
    set_seed(plan.train.seed)
    network = begun.own_copy(folder, plan, dataset.spec)
    how = f"{plan.train.epochs} epochs, {plan.train.batch_size} images a step, seed {plan.train.seed}"
    say(f"run folder {folder.folder}; {dataset.source}; {how}")
    with TrainingBar(err) as bar:
        try:
            result = training.fit(network, dataset, plan, folder, bar, note)
        except KeyboardInterrupt as interrupt:
            signals.end()
            lost = "the steps since the last checkpoint will be done again" if interrupt.args else "nothing is lost"
            why = " with torchrun" if isinstance(interrupt, Orphaned) else ""
            say(f"stopped{why}; {lost}. Go on with: flyweight train --resume {shlex.quote(str(folder.folder))}")
            return signals.code(interrupt)
    if not main:
        return 0
    record = folder.read_environment()
    note, seconds = record.get("data_note"), record.get("seconds")
    last = result.history[-1]
    if with_report:
        write_report(folder, dataset)
    answer(
        f"{dataset.watched[0]} accuracy {last.test_accuracy:.2f} % ({last.test_correct}/{last.test_total})"
        f" at the last epoch, {seconds} s; {folder.folder}"
    )
    if with_report and dataset.validation is not None:
        scores = json.loads(folder.evaluation.read_text(encoding="utf-8"))
        answer(f"test accuracy {scores['accuracy']:.2f} % ({scores['correct']}/{scores['n']})")
    if note is not None:
        banner(note)
    return 0
