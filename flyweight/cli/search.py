"""`flyweight search`: the best networks that a rule set allows."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from flyweight.cli import begun, job
from flyweight.cli.console import TrainingBar, answer, banner, err, say
from flyweight.cli.options import AllowOption, command
from flyweight.errors import FlyweightError
from flyweight.text import short

if TYPE_CHECKING:
    from flyweight.data import Dataset
    from flyweight.recipes.sections import Recipe
    from flyweight.search.halving import Aim
    from flyweight.search.legal import Judge
    from flyweight.search.space import Candidate
    from flyweight.search.trials import Trials
    from flyweight.search.worker import Plan, Worker

app = command(
    "search",
    "search brief --hours 0.5",
    "search mcu-64k --reference nano --hours 0.5",
    "search my_rules.yaml --data photos/ --trials 100 --minimise latency",
    "search brief --space my_space.yaml --epochs 12 --hours 8",
    "search brief --hours 8 --storage postgresql://me@host/flyweight",
)

WHOLE: dict[str, Any] = {"hold_out": 0, "train_images": None, "test_images": None}
"""Of a recipe's data: all of it."""


@app.default
def search(
    rules: str,
    /,
    *,
    data: job.DataOption = None,
    trials: Annotated[int | None, Parameter(help="Trainings in all, those of other workers included.")] = None,
    hours: Annotated[float | None, Parameter(help="Time that this call takes at most.")] = None,
    minimise: Annotated[
        Literal["macs", "memory", "latency"],
        Parameter(help="Beside the errors: MACs, bytes of activations in 8 bits, or ms an image measured here."),
    ] = "macs",
    space: Annotated[Path | None, Parameter(help="A YAML file with the choices; by default all that fits.")] = None,
    recipe: Annotated[
        str | None, Parameter(help="How to train, built-in or YAML; by default sprint2, with --data images.")
    ] = None,
    changes: Annotated[
        tuple[str, ...],
        Parameter(name="--set", negative="", help="Change a value of that recipe: --set train.batch_size=128."),
    ] = (),
    epochs: Annotated[int | None, Parameter(help="Of the longest training; by default the recipe's.")] = None,
    lengths: Annotated[int, Parameter(help="Lengths of training, each a third of the next; 1: all are long.")] = 3,
    seeds: Annotated[int, Parameter(help="Longest trainings of the best networks, each with another seed.")] = 3,
    hold_out: Annotated[
        int | None, Parameter(help="Training images to choose by; by default a tenth, or the set's validation images.")
    ] = None,
    seed: Annotated[int, Parameter(help="Of what is drawn; that of the trainings is the recipe's.")] = 0,
    reference: Annotated[
        str | None, Parameter(help="The built-in network to beat; by default the first that the rules allow.")
    ] = None,
    out: Annotated[Path | None, Parameter(help="The folder of the search; by default searches/RULES.")] = None,
    storage: Annotated[
        str | None, Parameter(help="A database for many workers, postgresql://...; by default a journal in --out.")
    ] = None,
    study: Annotated[str | None, Parameter(help="Name of the search in the database; by default the rules'.")] = None,
    allow_code: AllowOption = False,
) -> int:
    """Search the networks that a rule set allows for accurate ones with few MACs, little memory or low latency.

    Illegal ones are rejected by arithmetic, and what is trained is proved. The same call goes on with a search; several
    at once share it. Ctrl-C loses nothing. It chooses by images held out of the training set, never by the test set.

    Args:
        rules: A built-in rule set or a YAML file of yours.
    """
    from flyweight.search.storage import reached

    training = {"--epochs": epochs, "--lengths": lengths, "--seeds": seeds, "--hold-out": hold_out}
    _check_call({"--trials": trials, "--hours": hours, **training}, storage)
    plan = _recipe(recipe, changes if epochs is None else (*changes, f"train.epochs={epochs}"), data, rules)
    if allow_code:
        begun.allow_teacher(plan)
    found = _subject(plan, space, hold_out, reference)
    place = out or Path("searches") / re.sub(r"[^\w.-]+", "_", Path(rules).stem)
    with reached(storage):
        return _search(found, _plan(found, place, minimise, (lengths, seeds), trials, hours), seed, storage, study)


def _check_call(counts: dict[str, int | float | None], storage: str | None) -> None:
    """Refuse a call that cannot be meant before anything is read."""
    from flyweight.machine import launched
    from flyweight.search.storage import hidden

    if launched.world() > 1:
        raise FlyweightError(
            "a search shares its trials by itself: start the same call several times, without torchrun"
        )
    if storage is not None:
        hidden(storage)
    if counts["--trials"] is None and counts["--hours"] is None:
        raise FlyweightError("say how long to search: --trials 100, --hours 0.5, or both")
    for option, value in counts.items():
        if value is not None and not value > 0:
            raise FlyweightError(f"{option} {value}: it must be more than 0")


@dataclass(frozen=True)
class _Subject:
    """What is searched, whatever is minimised: rules and space, the recipe as asked for and as trials have it, data."""

    judge: Judge
    asked: Recipe
    recipe: Recipe
    dataset: Dataset
    note: str | None
    known: tuple[tuple[str, Candidate], ...]


def _recipe(name: str | None, changes: tuple[str, ...], data: str | None, rules: str) -> Recipe:
    """How the networks are trained, on which data and under which rules."""
    from flyweight import recipes
    from flyweight.data import registry

    for change in changes:
        section = change.partition("=")[0].partition(".")[0].strip()
        if section == "model":
            raise FlyweightError(
                f"--set {short(change, 80)}: a search draws the networks itself; say which it may draw with --space"
            )
        if section == "rules":
            raise FlyweightError(f"--set {short(change, 80)}: name the rules first: flyweight search RULES")
    if name is None:
        name = "sprint2" if data in (None, registry.READERS[0].name) else recipes.FOR_IMAGES
    plan = job.with_data(recipes.load(name, changes), data)
    if plan.model.dropout or plan.model.phases != "one":
        say(f"note: the network of {short(name, 200)}, its dropout and phases do not count: a search draws its own")
    return job.absolute(plan.model_copy(update={"rules": rules}), Path(name).parent)


def _subject(plan: Recipe, space: Path | None, hold_out: int | None, reference: str | None) -> _Subject:
    """Rules, space and data, looked at before anything is written."""
    from flyweight.rules import load_ruleset
    from flyweight.search.legal import Judge, known_legal
    from flyweight.search.space import load

    assert plan.rules is not None
    ruleset = load_ruleset(plan.rules)
    narrowed = load(space).narrowed(ruleset)
    whole, note = job.load_data(plan.data.model_copy(update=WHOLE), None)
    if hold_out is None and not plan.data.hold_out and whole.validation is None:
        hold_out = max(1, len(whole.train) // 10)
    held = plan.data.model_copy(update={"hold_out": hold_out or plan.data.hold_out})
    dataset = job.part_of(whole, held)
    for sentence in set(dataset.notes) - set(whole.notes):
        say(f"note: {sentence}")
    judge = Judge(ruleset, narrowed, dataset.spec, plan.augment)
    return _Subject(judge, plan, plan.model_copy(update={"data": held}), dataset, note, known_legal(judge, reference))


def _plan(
    found: _Subject, out: Path, aim: Aim, trained: tuple[int, int], trials: int | None, hours: float | None
) -> Plan:
    """What is searched for; `trained`: numbers of lengths and of seeds."""
    from flyweight.search.halving import FACTOR, ladder
    from flyweight.search.storage import prefix
    from flyweight.search.worker import Plan

    assert found.recipe.rules is not None
    (lengths, seeds), judge, known = trained, found.judge, found.known
    if known:
        judge.compare(aim, known[0][1])
        # what costs too much to be drawn is not worth the first minutes either
        known = (known[0], *(one for one in known[1:] if not judge.excess(one[1])))
    return Plan(
        out=out,
        recipe=found.asked.model_copy(update={"data": found.asked.data.model_copy(update=WHOLE)}),
        prefix=prefix(found.recipe.rules),
        aim=aim,
        rungs=ladder(found.recipe.train.epochs, lengths, FACTOR, seeds),
        factor=FACTOR,
        known=known,
        most=trials,
        seconds=None if hours is None else 3600 * hours,
    )


def _search(found: _Subject, plan: Plan, seed: int, storage: str | None, study: str | None) -> int:
    from flyweight.machine import signals
    from flyweight.machine.device import settle
    from flyweight.networks.build import build
    from flyweight.recipes.sections import ModelConfig
    from flyweight.search.pace import Pace
    from flyweight.search.propose import Proposer
    from flyweight.search.storage import open_study
    from flyweight.search.training import Trainer
    from flyweight.search.trials import Trials
    from flyweight.search.worker import Worker
    from flyweight.training.checks import check_trainable

    settled = settle(found.recipe.train, len(found.dataset.train))
    recipe = found.recipe.model_copy(update={"train": settled})
    first = plan.known[0][1] if plan.known else Proposer(found.judge, seed).propose((), ())
    network = build(ModelConfig(network="drawn", table=first.network), found.dataset.spec)
    check_trainable(network, found.dataset, recipe)
    folder = _folder(plan.out)
    kept = open_study(storage, folder, study or f"flyweight-{plan.prefix}", _definition(found, plan), say)
    trials = Trials(kept, folder)
    # of several workers that were started alike each draws its own
    drawn = seed if storage is None and trials.alone else seed + os.getpid()
    pace = Pace(plan.known[0][1] if plan.known else None, settled, found.judge)
    proposer = Proposer(found.judge, drawn, pace.allows)
    trainer = Trainer(recipe, found.dataset, folder, found.note)
    worker = Worker(plan, trials, proposer, trainer, say, lambda: TrainingBar(err))
    say(_beginning(found, plan, trials))
    code = 0
    try:
        worker.run()
    except KeyboardInterrupt as interrupt:
        signals.end()
        code = signals.code(interrupt)
    finally:
        trials.close()
    _summary(worker, code)
    return code


def _folder(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FlyweightError(f"cannot make the folder {out}: {error.strerror}; choose another: --out") from None
    return out


def _definition(found: _Subject, plan: Plan) -> dict[str, Any]:
    """What all workers of a search must agree on."""
    ruleset, recipe = found.judge.ruleset, found.recipe
    return {
        "--minimise": plan.aim,
        "--reference": plan.reference,
        "rules": [rule.model_dump(mode="json") for rule in ruleset.rules],
        "--space": found.judge.space.model_dump(mode="json"),
        "data": found.dataset.fingerprint,
        "lengths": [rung.epochs for rung in plan.rungs if not rung.seed],
        "--seeds": 1 + plan.rungs[-1].seed,
        "recipe": recipe.model_dump(mode="json", include={"augment", "train"}),
    }


def _beginning(found: _Subject, plan: Plan, trials: Trials) -> str:
    begun = len(trials.results())
    names = ", ".join(name for name, _ in plan.known)
    lengths = ", ".join(str(rung.epochs) for rung in plan.rungs if not rung.seed)
    seeds = 1 + plan.rungs[-1].seed
    return (
        f"search in {plan.out}: {begun} trainings are finished; lengths {lengths} epochs,"
        f" {seeds} seed{'s' if seeds > 1 else ''}, chosen by"
        f" {len(found.dataset.watched[1]):,} {found.dataset.watched[0]} images;"
        f" begins with {names or 'networks drawn at random'}"
    )


def _summary(worker: Worker, code: int) -> None:
    """What was found, to standard output; how it came about, to standard error."""
    from flyweight.search import told

    plan, judge, results = worker.plan, worker.judge, worker.trials.results()
    if code:
        say("stopped; nothing is lost. The same command goes on.")
    rejected = ", ".join(f"{name}: {count:,}" for name, count in judge.rejected.most_common())
    say(
        f"{worker.finished} trainings finished here, {len(results)} in all; {judge.drawn:,} tables judged by arithmetic"
        f" (rejected {rejected or 'none'}), {judge.proved} networks proved ({judge.refused.total()} refused),"
        f" {worker.proposing:.1f} s of proposing"
    )
    if not results:
        return
    paths = worker.write(results)
    answer("\n".join(told.table(results, plan.aim, plan.reference)))
    answer(f"picture: {plan.out / told.PICTURE}")
    for path in paths:
        answer(f"flyweight train {shlex.quote(str(path))}")
    if worker.trainer.note is not None:
        banner(worker.trainer.note)
