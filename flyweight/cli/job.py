"""From what the user typed to what can be run: data, paths, rules, a run folder. Torch only where it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flyweight import schema
from flyweight.cli.console import DataBar, banner, err, say
from flyweight.errors import RuleError
from flyweight.recipes.sections import DataConfig, Recipe

if TYPE_CHECKING:
    from torch import nn

    from flyweight.data import Dataset
    from flyweight.runs.folder import Run


def absolute(plan: Recipe, folder: Path) -> Recipe:
    """The recipe with paths that hold from anywhere: of its data; of a network, rules and a teacher of the user's own.

    Those three lie beside the recipe or here.

    Raises:
        DataError: the data lies in the home of a user who does not exist.
    """
    from flyweight.data.cache import expanded
    from flyweight.rules import known_rulesets
    from flyweight.runs.card import ZOO, ships

    file, colon, name = plan.model.network.rpartition(":")
    if colon:
        network = f"{_beside(folder, file).resolve()}:{name}"
        plan = plan.model_copy(update={"model": plan.model.model_copy(update={"network": network})})
    # a name that ships wins over a file or folder of that name, as where it is read
    if plan.rules is not None and plan.rules not in known_rulesets():
        path = _beside(folder, plan.rules)
        plan = plan.model_copy(update={"rules": str(path.resolve()) if path.is_file() else plan.rules})
    if plan.data.path is not None:
        path = expanded(plan.data.path, "data.path")
        plan = plan.model_copy(update={"data": plan.data.model_copy(update={"path": path})})
    teacher = plan.train.teacher
    if teacher is not None and not ships(ZOO / teacher):
        path = _beside(folder, teacher)
        teacher = str(path.resolve()) if path.is_dir() else teacher
        plan = plan.model_copy(update={"train": plan.train.model_copy(update={"teacher": teacher})})
    return plan


def _beside(folder: Path, name: str) -> Path:
    """A file or folder beside the recipe where there is one, else here."""
    return folder / name if (folder / name).exists() else Path(name)


def with_data(plan: Recipe, option: str | None) -> Recipe:
    """The recipe with what --data says in place of its own data."""
    if option is None:
        return plan
    chosen = data_of(plan.data.name, option)
    return plan.model_copy(update={"data": plan.data.model_copy(update={"name": chosen.name, "path": chosen.path})})


def data_of(name: str, option: str | None) -> DataConfig:
    """The data set of a card, or what --data says in its place."""
    if option is None:
        return schema.parse(DataConfig, {"name": name}, "the network's card")
    if option in ("cifar10", "digits"):
        return schema.parse(DataConfig, {"name": option}, "--data")
    return DataConfig(name="cifar10", path=Path(option))


def load_data(plan: DataConfig, fallback: str | None) -> tuple[Dataset, str | None]:
    """The data, and the note that must be loud where it is not what was asked for."""
    from flyweight import data

    note = None
    with DataBar(err) as bar:
        try:
            dataset = data.load(plan.name, plan.path, progress=bar)
        except data.NoDataError as error:
            if fallback is None:
                raise
            note = f"CIFAR-10 could not be had, so this is NOT CIFAR-10: trained and tested on {fallback}. ({error})"
            dataset = data.load(fallback, progress=bar)
    if note is not None:
        banner(note)
        return dataset, note
    if plan.hold_out:
        dataset = data.hold_out(dataset, plan.hold_out)
    if plan.train_images is not None or plan.test_images is not None:
        dataset = data.subset(
            dataset, plan.train_images or len(dataset.train.labels), plan.test_images or len(dataset.test.labels)
        )
    return dataset, note


def check_rules(plan: Recipe) -> nn.Module:
    """The network of a recipe, after stopping before a training that could not count."""
    from flyweight import analysis
    from flyweight import rules as rule_sets
    from flyweight.data.cifar10 import SPEC
    from flyweight.networks.build import build
    from flyweight.rules import summary

    network = build(plan.model, SPEC)
    if plan.rules is None:
        return network
    ruleset = rule_sets.load_ruleset(plan.rules)
    facts = analysis.analyze(network, (3, 32, 32))
    verdict = rule_sets.check(facts, ruleset)
    if not verdict.passed:
        failed = next(rule for rule in verdict.verdicts if not rule.passed)
        say(summary.render(facts, verdict))
        raise RuleError(
            f"{plan.model.network} fails {failed.name!r}: {failed.detail}; train it all the same: --set rules=null"
        )
    return network


def create_run(folder: Path | None, plan: Recipe) -> Run:
    """One run folder for all processes of a training that torchrun started."""
    from accelerate.utils import broadcast_object_list

    from flyweight.machine.device import processes
    from flyweight.runs.folder import Run

    state = processes()
    path = [str(Run.create(folder, plan).folder) if state.is_main_process else ""]
    if state.num_processes > 1:
        broadcast_object_list(path)
    return Run(Path(path[0]))
