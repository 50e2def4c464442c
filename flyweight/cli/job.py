"""From what the user typed to what can be run: data, paths, rules, a run folder. Torch only where it is needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from cyclopts import Parameter

from flyweight import data
from flyweight.cli.console import DataBar, banner, err, say
from flyweight.data import registry
from flyweight.data.cache import expanded
from flyweight.errors import DataError, RuleError
from flyweight.networks import reference
from flyweight.recipes.sections import DataConfig, Recipe

if TYPE_CHECKING:
    from torch import nn

    from flyweight.data import Dataset
    from flyweight.images.spec import Spec
    from flyweight.runs.card import Card, Trained

DataOption = Annotated[
    str | None,
    Parameter(
        help=f"A data set's name ({', '.join(reader.called for reader in registry.READERS)}), or the folder or archive"
        f" that holds {' or '.join(reader.label for reader in registry.READERS if reader.layouts)}."
    ),
]


def absolute(plan: Recipe, folder: Path, *, pinned: bool = True) -> Recipe:
    """The recipe with the name of its data set at its revision of today, and with paths that hold from anywhere.

    Args:
        plan: the recipe.
        folder: that it lies in. Networks, rules, a teacher and a start of the user's own lie there or here.
        pinned: whether to ask for the revision of today, which may take the network.

    Raises:
        DataError: the data lies in the home of a user who does not exist, is not recognised, or cannot be had.
        FlyweightError: there is no such data set.
    """
    from flyweight.rules import known_rulesets

    network = plan.model.network if plan.model.table is not None else own_network(folder, plan.model.network)
    if network != plan.model.network:
        plan = plan.model_copy(update={"model": plan.model.model_copy(update={"network": network})})
    # a name that ships wins over a file or folder of that name, as where it is read
    if plan.rules is not None and plan.rules not in known_rulesets():
        path = _beside(folder, plan.rules)
        plan = plan.model_copy(update={"rules": str(path.resolve()) if path.is_file() else plan.rules})
    place = None if plan.data.path is None else expanded(plan.data.path, "data.path")
    chosen = {"name": _data_name(plan.data.name, place) if pinned else plan.data.name, "path": place}
    plan = plan.model_copy(update={"data": plan.data.model_copy(update=chosen)})
    trained = {key: _trained(folder, getattr(plan.train, key)) for key in ("teacher", "start")}
    return plan.model_copy(update={"train": plan.train.model_copy(update=trained)})


def own_network(folder: Path, text: str) -> str:
    """A reference to a network of the user's own that holds from anywhere; a built-in one's name as it is.

    Args:
        folder: that it lies in; it may lie here as well.
        text: the reference.

    Raises:
        FlyweightError: it is none.
    """
    if not reference.is_reference(text):
        return text
    own = reference.parse(text)
    if own.is_file:
        place = _beside(folder, own.source)
        there = place.resolve()
        # a link may lead to what is called otherwise, and the name says how it is read
        return own.moved(there if there.suffix.lower() == place.suffix.lower() else place.absolute()).text
    # a module beside the recipe or here is a file; another is installed
    file = _beside(folder, f"{own.source.replace('.', '/')}.py").resolve()
    return own.moved(file).text if file.is_file() else text


def _trained(folder: Path, name: str | None) -> str | None:
    """The name of a network that ships, or a run folder from anywhere; as it is where there is neither."""
    from flyweight.runs.card import ZOO, ships

    if name is None or ships(ZOO / name):
        return name
    path = _beside(folder, name)
    return str(path.resolve()) if path.is_dir() else name


def _beside(folder: Path, name: str) -> Path:
    """A file or folder beside the recipe where there is one, else here."""
    return folder / name if (folder / name).exists() else Path(name)


def with_data(plan: Recipe, option: str | None) -> Recipe:
    """The recipe with what --data says in place of its own data."""
    if option is None:
        return plan
    chosen = data_of(plan.data.name, option)
    return plan.model_copy(update={"data": plan.data.model_copy(update={"name": chosen.name, "path": chosen.path})})


def data_of(name: str | None, option: str | None) -> DataConfig:
    """The data set of a card, or what --data says in its place: a name, else a path."""
    if option is None or registry.is_name(option):
        return DataConfig(name=option or name)
    return DataConfig(name=_data_name(None, Path(option)), path=Path(option))


def _data_name(name: str | None, path: Path | None) -> str | None:
    """The name of the data set; as it is where there is no such path, which is told when the data is loaded."""
    missing = path is not None and not expanded(path, "--data").exists()
    return name if missing else registry.pinned(name, path)


def load_network(folder: Path, allow_code: bool) -> Trained:
    """A network with its weights, whose code runs where its user has allowed it, or does so now."""
    from flyweight.runs import allowing
    from flyweight.runs.card import load_trained

    if allow_code:
        allowing.allow(folder)
    return load_trained(folder, say)


def load_tested(trained: Trained, option: str | None) -> Dataset:
    """The images that a trained network is tested on: those of its run, or what --data says in their place.

    A run is tested on what it was tested on before, images that were held out by its recipe included: it must not read
    the test set unasked. --data asks for the test set. Where that is the run's own, it is split as in the training.
    """
    from flyweight.runs.folder import Run

    run, card = Run(trained.folder), trained.card
    own = run.recipe().data if run.config.is_file() else None
    for line in run.changed() if own is not None else ():
        say(f"flyweight: {line}")
    if option is None:
        return load_data(own or data_of(card.data, None), None, like=card.spec)[0]
    chosen = data_of(card.data, option)
    if own is None:
        return load_data(chosen, None, like=card.spec, trained_on=card.fingerprint)[0]
    same = chosen.name == own.name and _place(chosen.path) == _place(own.path)
    changes: dict[str, Any] = {"hold_out": 0, "train_images": None, "test_images": None}
    if not same:
        changes |= {"name": chosen.name, "path": chosen.path, "size": None, "resize": None}
    plan = own.model_copy(update=changes)
    return load_data(plan, None, like=card.spec, trained_on=None if same else card.fingerprint)[0]


def _place(path: Path | None) -> Path | None:
    return None if path is None else expanded(path, "--data").resolve()


def load_data(
    plan: DataConfig,
    fallback: str | None,
    *,
    like: Spec | None = None,
    trained_on: str | None = None,
    verify: bool = False,
) -> tuple[Dataset, str | None]:
    """The data, and the note that must be loud where it is not what was asked for.

    Args:
        plan: which data.
        fallback: name of a data set to take, loudly, where it cannot be had.
        like: of a network that the images are for; none: of one that is yet to be trained.
        trained_on: fingerprint of the data that this network was trained on, where it is asked about others.
        verify: read all files again, whatever their times say.
    """
    note = None
    with DataBar(err) as bar:
        try:
            dataset = data.load(
                plan.name, plan.path, progress=bar, config=plan, verify=verify, like=like, trained_on=trained_on
            )
        except data.NoDataError as error:
            if fallback is None:
                raise
            label = registry.choose(plan.name).label
            note = f"{label} could not be had, so this is NOT {label}: trained and tested on {fallback}. ({error})"
            dataset = data.load(fallback, progress=bar)
            dataset = replace(dataset, notes=(note, *dataset.notes))
    if note is not None:
        banner(note)
        return dataset, note
    dataset = part_of(dataset, plan)
    for sentence in (*dataset.notes, *dataset.remarks):
        say(f"note: {sentence}")
    return dataset, note


def part_of(dataset: Dataset, plan: DataConfig) -> Dataset:
    """The images that are left where some are held out or only so many are used.

    Raises:
        FlyweightError: more are asked for than there are.
    """
    if plan.hold_out:
        dataset = data.hold_out(dataset, plan.hold_out)
    if plan.train_images is not None or plan.test_images is not None:
        dataset = data.subset(
            dataset, plan.train_images or len(dataset.train.labels), plan.test_images or len(dataset.test.labels)
        )
    return dataset


def load_others(card: Card, option: str) -> tuple[np.ndarray, str]:
    """What --against says: (N, H, W, C) uint8 images as a network takes them, and their name.

    A folder need have no classes: all images in it and below it are taken, and those that cannot be read are told.

    Raises:
        DataError: there are no such images.
        FlyweightError: they cannot be brought to what the network takes.
    """
    from flyweight.evaluation import unknown
    from flyweight.images import decode, finding

    place = None if registry.is_name(option) else expanded(Path(option), "--against")
    if place is None or not place.is_dir():
        dataset, _ = load_data(data_of(None, option), None)
        return unknown.images_of(dataset, card), dataset.name
    images, found = [], finding.find([place])
    for _, line in found.closed:
        say(f"flyweight: {line}")
    for path in found.images[: unknown.MOST]:
        try:
            images.append(decode.read(path, card.input_shape, card.resize))
        except DataError as error:
            say(f"flyweight: {error}")
    if not images:
        raise DataError(f"--against {option}: none of its images can be read")
    return np.stack(images), option


def known_spec(plan: DataConfig) -> Spec | None:
    """Classes and images of a data set where they are always the same, so that nothing need be read to know them."""
    # a path that leads nowhere is told later: a wrong rule or network costs nothing to find
    return registry.choose(plan.name).spec


def check_rules(plan: Recipe, spec: Spec) -> nn.Module:
    """The network of a recipe for such data, after stopping before a training that could not count.

    Raises:
        RuleError: it breaks a rule of the recipe's.
    """
    from flyweight import analysis
    from flyweight import rules as rule_sets
    from flyweight.networks.build import build
    from flyweight.rules import summary

    network = build(plan.model, spec, say)
    if plan.rules is None:
        return network
    ruleset = rule_sets.load_ruleset(plan.rules)
    facts = analysis.analyze(network, spec.shape)
    # a cure is looked for where it is told: that of a bonus takes three times the analysis, and nobody would read it
    if not rule_sets.check(facts, ruleset, cures=False).passed:
        verdict = rule_sets.check(facts, ruleset)
        failed = next(rule for rule in verdict.verdicts if not rule.passed)
        say(summary.render(facts, verdict))
        raise RuleError(
            f"{plan.model.network} fails {failed.name!r}: {failed.detail}; train it all the same: --set rules=null"
        )
    return network
