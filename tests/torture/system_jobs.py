"""What is written, and how to tell afterwards what is there: the jobs that `host` does under strace.

Each job calls the program's own functions. What computes and touches no file of the user's is done once, before.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from flyweight import data, files, recipes, schema
from flyweight.cli import export as export_command
from flyweight.data import cache as data_cache
from flyweight.data import convert, digits
from flyweight.data.dataset import Dataset, Split, assemble
from flyweight.export import around
from flyweight.export import c as c_format
from flyweight.export import subject as subjects
from flyweight.export.graph import INPUT, OUTPUT
from flyweight.export.subject import Subject
from flyweight.inference import exported
from flyweight.inference.classifier import Classifier
from flyweight.networks.build import build
from flyweight.recipes.sections import ModelConfig, Recipe
from flyweight.runs import card, names
from flyweight.runs.card import Card, Trained, load_trained
from flyweight.runs.folder import Run

ROWS = {"blocks": [[{"width": 4}, {"width": 4, "stride": 2}]], "pool": 4}
NEXT = frozenset({card.NEXT})
NONE, OLD, NEW = "nothing", "the old", "the new"


class DamagedError(Exception):
    """What is there is neither the old nor the new."""


@dataclass(frozen=True)
class Job:
    """Something that is written.

    Attributes:
        part: of the proof, as the table calls it.
        codes: exit codes that an error may have.
        prepare: make the folder as it is before; it exists, and is empty.
        run: write; it returns an exit code or raises what the command line tells.
        found: what is there: `NONE`, `OLD` or `NEW`.
        needed: hidden files that may be read until the next start.
    """

    part: str
    codes: frozenset[int]
    prepare: Callable[[Path], object]
    run: Callable[[Path], object]
    found: Callable[[Path], str]
    needed: frozenset[str] = frozenset()


def jobs() -> dict[str, Job]:
    """All of them by their names."""
    every = {
        "checkpoint": Job("checkpoint", frozenset({4}), _trained_once, _save_checkpoint, _checkpoint),
        "first-checkpoint": Job("checkpoint", frozenset({2, 4}), lambda root: None, _begin, _checkpoint),
        "card": Job("card and weights", frozenset({4}), lambda root: _save_card(root, OLD), _save_card, _card, NEXT),
        "conversion": Job("conversion", frozenset({3}), lambda root: _convert(root, OLD), _convert, _converted),
        "arrays": Job("conversion", frozenset({3}), _damaged_arrays, _make_arrays, _arrays),
    }
    every["first-card"] = replace(every["card"], prepare=lambda root: None)
    for name in ("onnx", "c", "huggingface"):
        every[name] = Job(
            "export",
            frozenset({2, 4}),
            lambda root, name=name: _export(root, name, OLD),
            lambda root, name=name: _export(root, name),
            lambda root, name=name: _exported(root, name),
        )
    every["first-onnx"] = replace(every["onnx"], prepare=lambda root: None)
    return every


# a training


@cache
def _network(which: str) -> nn.Module:
    torch.manual_seed(which == NEW)
    return build(_model(), _dataset().spec).eval()


def _model() -> ModelConfig:
    return schema.parse(ModelConfig, {"network": "rows", "table": ROWS}, "the tests")


def _state(which: str) -> dict[str, object]:
    return {"network": _network(which).state_dict(), "which": which, "history": [{"epoch": 1.0}]}


@cache
def _recipe() -> Recipe:
    return recipes.load("sprint", ())


def _row(epoch: int) -> dict[str, float]:
    return {"epoch": epoch, "train_loss": 1 / epoch, "seconds": 2.0}


def _saved(run: Run, which: str, epoch: int) -> None:
    rows = [_row(number + 1) for number in range(epoch)]
    run.save_checkpoint(_state(which), epoch, 0, keep=1)
    run.write_history(rows, [f"epoch {row['epoch']}" for row in rows])


def _trained_once(root: Path) -> None:
    run = Run.create(root / "runs" / "mine", _recipe())
    with run.locked():
        _saved(run, OLD, 1)


def _save_checkpoint(root: Path) -> None:
    run = Run.open(root / "runs" / "mine")
    with run.locked():
        run.load_checkpoint()
        _saved(run, NEW, 2)


def _begin(root: Path) -> None:
    folder = root / "runs" / "mine"
    begun = (folder / "config.yaml").is_file()
    run = Run.open(folder) if begun else Run.create(folder, _recipe())
    with run.locked():
        _saved(run, NEW, 2)


def _checkpoint(root: Path) -> str:
    run = Run(root / "runs" / "mine")
    state, damaged = run.load_checkpoint()
    if damaged:
        raise DamagedError("; ".join(damaged))
    if run.config.exists():
        run.recipe()
    if state is None:
        return NONE
    which = state["which"]
    _same(_state(which)["network"], state["network"])
    if Run.open(run.folder).history(frozenset({"seconds"})) not in ([], [_row(1)], [_row(1), _row(2)]):
        raise DamagedError("the history is neither the old nor the new")
    return which


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    if one.keys() != other.keys() or not all(torch.equal(one[name], other[name]) for name in one):
        raise DamagedError("the weights are neither the old nor the new")


# a card and its weights


def _described(which: str) -> Card:
    spec = _dataset().spec
    return Card(
        network=which.removeprefix("the "), dropout=None, classes=spec.classes, input_shape=spec.shape,
        mean=_dataset().mean, std=_dataset().std, data="synthetic", fingerprint=_dataset().fingerprint, epochs=1,
        table=_model().table, temperature=0.7 if which == NEW else 0.9,
    )  # fmt: skip


def _save_card(root: Path, which: str = NEW) -> None:
    run = Run(root)
    with run.locked():
        run.save_model(_network(which), _described(which))


def _card(root: Path) -> str:
    if not (root / names.WEIGHTS).exists():  # `find_trained` says that its training has not ended
        return NONE
    found = load_trained(root)
    which = f"the {found.card.network}"
    _same(_network(which).state_dict(), found.model.state_dict())
    return which


# an export


@cache
def _dataset() -> Dataset:
    chance = np.random.default_rng(0)

    def split(count: int) -> Split:
        return Split(chance.integers(0, 256, (count, 8, 8, 3), np.uint8), np.arange(count) % 3)

    return assemble("synthetic", split(24), split(6), ("cat", "dog", "fox"), "made by the tests")


def _graph(network: nn.Module, card_: card.Card) -> onnx.ModelProto:
    """What torch's exporter makes of the network in two seconds."""
    from onnx import TensorProto, helper, numpy_helper

    kinds = {nn.Conv2d: "Conv", nn.ReLU: "Relu", nn.AvgPool2d: "AveragePool"}
    nodes, held, value = [], [], INPUT
    for name, layer in network.named_modules():
        if type(layer) not in kinds:
            continue
        inputs, settings = [value], {}
        for ours, theirs in (("kernel_size", "kernel_shape"), ("stride", "strides")):
            if hasattr(layer, ours):
                settings[theirs] = np.broadcast_to(getattr(layer, ours), 2).tolist()
        if isinstance(layer, nn.Conv2d):
            settings |= {"pads": [layer.padding[0]] * 4, "dilations": [1, 1], "group": 1}
            for part, tensor in layer.named_parameters():
                inputs.append(f"{name}.{part}")
                held.append(numpy_helper.from_array(tensor.detach().numpy(), inputs[-1]))
        nodes.append(helper.make_node(kinds[type(layer)], inputs, [name], name=name, **settings))
        value = name
    nodes.append(helper.make_node("Flatten", [value], [OUTPUT], name="flatten", axis=1))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
        for name, shape in ((INPUT, card_.input_shape), (OUTPUT, (len(card_.classes),)))
    ]
    graph = helper.make_graph(nodes, "network", ends[:1], ends[1:], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    around.say(model, around.told(card_))
    return model


@cache
def _subject(which: str) -> Subject:
    if which == NEW:
        card_ = replace(_described(NEW), sha256="0" * 64)
        subject = Subject(Trained(_network(NEW), card_, Path()), _dataset())
        folded = Classifier(subject.trained.model, card_.input_shape, card_.mean, card_.std).network
        subject.__dict__["_graph"] = _graph(folded, card_)
        return subject
    # the same network under another name, so that no graph is made again
    subject = copy.copy(_subject(NEW))
    subject.card = replace(subject.card, network="old")
    subject.trained = replace(subject.trained, card=subject.card)
    return subject


def _export(root: Path, name: str, which: str = NEW) -> int:
    """`flyweight export --force`, with a network, its data and what was computed of both at hand."""
    export_command.job.load_network = lambda folder, allow: None
    export_command.job.load_tested = lambda trained, option: None
    subjects.Subject = lambda *given: _subject(which)
    to = root / "exports" / "out"
    return export_command.export("sprint", to=to, format=(name,), force=True)


def _exported(root: Path, name: str) -> str:
    folder = root / "exports" / "out"
    if not folder.exists():
        return NONE
    content = json.loads((folder / names.EXPORT_RECORD).read_text(encoding="utf-8"))
    listed = {entry["file"]: entry["sha256"] for entry in content["files"]}
    for file, digest in listed.items():
        if files.file_hash(folder / file) != digest:
            raise DamagedError(f"{file} is not what the record says")
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if there != {*listed, names.EXPORT_RECORD}:
        raise DamagedError(f"the record does not list what is there: {sorted(there ^ listed.keys())}")
    graphs = {"onnx": ["model.onnx"], "huggingface": ["web/onnx/model.onnx"]}.get(name, [])
    for graph in graphs:
        exported.Exported(exported.Graph(folder / graph, listed[graph])).logits(_dataset().test.images)
    if name == "huggingface":
        _same(_network(NEW).state_dict(), load_trained(folder).model.state_dict())
    return f"the {content['network']}"


# a data set


def _photos(root: Path, which: str) -> Path:
    """Beside the folder that is watched: nobody writes to it."""
    from PIL import Image

    folder = root.parent / f"photos-{which[4:]}"
    if not folder.exists():
        for number in range(8):
            place = folder / ("cat", "dog")[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            image = np.random.default_rng([number, which == NEW]).integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(image).save(place / f"{number}.png")
    return folder


def _convert(root: Path, which: str = NEW) -> None:
    data.load(path=_photos(root, which), cache=root / "cache")


def _converted(root: Path) -> str:
    """All that is there is whole; and whether the new one is."""
    expected = {which: _pixels(root, which) for which in (OLD, NEW)}
    found = []
    for folder in (root / "cache").glob("[!.]*"):
        if folder.is_dir() and folder.name != "sets":
            images = np.array(convert.read(folder, verify=True).images)
            found += [which for which, pixels in expected.items() if np.array_equal(images, pixels)] or ["another"]
    if "another" in found or OLD not in found:
        raise DamagedError(f"in the cache there is {', '.join(found)}")
    return NEW if NEW in found else OLD


@cache
def _pixels(root: Path, which: str) -> np.ndarray:
    """As an undisturbed conversion has them, in a cache of its own."""
    place = root.parent / f"cache-{which[4:]}"
    data.load(path=_photos(root, which), cache=place)
    (folder,) = place.glob("image-folder-*/")
    return np.array(convert.read(folder).images)


def _make_arrays(root: Path) -> None:
    """The digits, fewer and smaller."""
    digits.make = _dataset
    data.load("digits", cache=root / "cache")


def _damaged_arrays(root: Path) -> None:
    """With a flipped bit, so that they are made again."""
    _make_arrays(root)
    file = root / "cache" / "digits-1" / "train_images.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def _arrays(root: Path) -> str:
    if not (folder := root / "cache" / "digits-1").exists():
        return NONE
    content = (folder / "train_images.npy").read_bytes()
    if content[-1] == _dataset().train.images.tobytes()[-1] ^ 1:
        return OLD
    if data_cache.read(folder).fingerprint != _dataset().fingerprint:
        raise DamagedError("the arrays are of another set")
    return NEW


def warm() -> None:
    """Measure the C once: a compiler writes nowhere but into a folder of its own."""
    c_format.code_size = cache(c_format.code_size)
