"""Damaged files as `check` and `demo` meet them: one line that names the place, a documented exit code, no change."""

import hashlib
import json
import shutil
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
import yaml
from test_cli import command  # noqa: F401 (a fixture)

from flyweight import recipes, schema
from flyweight.data import digits
from flyweight.export import demo
from flyweight.export.demo import serving
from flyweight.networks.build import build
from flyweight.recipes.sections import ModelConfig
from flyweight.runs.card import Card, _checksum, save_model
from flyweight.runs.folder import Run
from flyweight.runs.names import CARD, WEIGHTS

ROWS = {"blocks": [[{"width": 4, "stride": 2}, {"width": 4}]], "pool": 16}
NEST = b"[" * 5000 + b"]" * 5000
PYTHON = """\
from torch import nn
class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""
NOTEBOOK = {"nbformat": 4, "cells": [{"cell_type": "code", "source": PYTHON.splitlines(keepends=True)}]}
RULES = {"title": "light", "rules": [{"name": "light", "kind": "parameters_below", "limit": 9000}]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run whose weights nobody has trained, an export's record, a network of one's own, rules; and the cache."""
    folder = tmp_path_factory.mktemp("whole")
    changes = ("data.name=digits", "data.train_images=100", "data.test_images=20", "rules=null")
    recipe = recipes.load("sprint", changes)
    model = schema.parse(ModelConfig, {"network": "mine", "table": ROWS}, "the tests")
    run = Run.create(folder / "run", recipe.model_copy(update={"model": model}))
    preprocessing = digits.SPEC.preprocessing
    card = Card(
        network="mine", dropout=None, table=model.table, classes=digits.CLASSES, input_shape=(3, 32, 32),
        mean=preprocessing.mean, std=preprocessing.std, data="digits", fingerprint=digits.make().fingerprint, epochs=1,
    )  # fmt: skip
    torch.manual_seed(0)
    save_model(run.folder, build(model, digits.SPEC), card)
    run.environment.write_text(json.dumps({"data_fingerprint": card.fingerprint}))
    shutil.copytree(run.folder, folder / "export")
    (folder / "export" / "config.yaml").unlink()
    (folder / "export" / "export.json").write_text(json.dumps({"files": [{"file": "model.onnx", "sha256": ""}]}))
    (folder / "export" / "model.onnx").write_bytes(b"\x08\x08\x12\x07pytorch")
    (folder / "mine.py").write_text(PYTHON)
    (folder / "mine.ipynb").write_text(json.dumps(NOTEBOOK))
    (folder / "rules.yaml").write_text(yaml.safe_dump(RULES))
    return folder


@pytest.fixture
def called(whole, command, tmp_path, tmp_path_factory, monkeypatch):  # noqa: F811
    """Damages a file of a copy and calls a command there: (exit code, standard output, standard error)."""
    monkeypatch.setenv("FLYWEIGHT_CACHE", str(whole.with_name("cache")))

    def ends(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(serving.Serving, "serve_forever", ends)
    # what is made of files that were read; it takes seconds, and its own tests are elsewhere
    agreement = SimpleNamespace(line=lambda: "a page")
    monkeypatch.setattr(demo, "made", lambda *_: SimpleNamespace(content=b"", agreement=agreement))

    def call(words, file=None, damage=None):
        shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
        if file is not None:
            place = tmp_path / file
            place.write_bytes(damage(place.read_bytes()))
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        found = command(*words)
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
        return found

    return call


def said(**changes):
    """A JSON or YAML text with other values; a card's checksum fits."""

    def damage(content):
        value = yaml.safe_load(content)
        for name, new in changes.items():
            inner, keys = value, name.split("__")
            for key in keys[:-1]:
                inner = inner[key]
            inner[keys[-1]] = new
        if "checksum" in value:
            value["checksum"] = _checksum(value)
        return json.dumps(value).encode()

    return damage


def cut(content):
    return content[: len(content) * 2 // 3]


def bit(content):
    place = len(content) - 7
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def other(new):
    return lambda content: new


def alike(content):
    return content


UTF16 = lambda content: content.decode().encode("utf-16")  # noqa: E731
CARDS = {
    "empty": other(b""),
    "cut": cut,
    "utf-16": UTF16,
    "a nest": other(NEST),
    "a list": other(b"[]"),
    "no classes": said(classes=[]),
    "a class too many": said(classes=[*digits.CLASSES, "ten"]),
    "a size of nothing": said(input_shape=[3, 0, 32]),
    "a size without end": said(input_shape=[3, 2**40, 2**40]),
    "mean of text": said(mean="x"),
    "no number": said(mean=[float("nan")] * 3),
    "std of nothing": said(std=[0, 1, 1]),
    "cold": said(temperature=0),
    "resized somehow": said(resize="x"),
    "a network of a number": said(network=7),
    "rows of nothing": said(table={"blocks": []}),
    "rows of another kind": said(table={"blocks": [[{"width": "x"}]]}),
    "wider rows": said(table__blocks=[[{"width": 5}]]),
}


@pytest.mark.parametrize("damage", CARDS.values(), ids=CARDS)
def test_a_damaged_card_is_not_served(called, damage):
    for folder in ("run", "export"):
        code, out, err = called(["demo", folder, "--port", "0"], f"{folder}/{CARD}", damage)
        assert (code, out, len(err.splitlines())) == (4, "", 1), err
        assert err.startswith("flyweight: ")
        assert f"{folder}/" in err


def header(change):
    """Weights with another header, which the card says they are."""

    def damage(content):
        length = int.from_bytes(content[:8], "little")
        text = json.dumps(change(json.loads(content[8 : 8 + length]))).encode()
        return len(text).to_bytes(8, "little") + text + content[8 + length :]

    return damage


def tensors(change):
    def damage(content):
        return safetensors.torch.save(change(safetensors.torch.load(content)))

    return damage


def first(held):
    return next(name for name in held if held[name].ndim == 4)


DAMAGED_WEIGHTS = {
    "empty": other(b""),
    "cut": cut,
    "a bit": bit,
    "of zeros": lambda content: bytes(len(content)),
    "a nest": other((10_000).to_bytes(8, "little") + NEST),
    "a header without end": other((2**62).to_bytes(8, "little") + b"{}"),
    "places outside": header(lambda held: {key: {**value, "data_offsets": [0, 2**40]} for key, value in held.items()}),
    "one missing": tensors(lambda held: {key: held[key] for key in held if key != first(held)}),
    "one too many": tensors(lambda held: {**held, "x": torch.zeros(1)}),
    "another shape": tensors(lambda held: {**held, first(held): torch.zeros(1, 1)}),
    "whole numbers": tensors(lambda held: {**held, first(held): held[first(held)].long()}),
    "complex numbers": tensors(lambda held: {**held, first(held): held[first(held)].to(torch.complex64)}),
    "no number": tensors(lambda held: {**held, first(held): held[first(held)] * float("nan")}),
}


@pytest.mark.parametrize("sealed", [True, False], ids=["as the card says", "others than the card says"])
@pytest.mark.parametrize("damage", DAMAGED_WEIGHTS.values(), ids=DAMAGED_WEIGHTS)
def test_damaged_weights_are_not_served(called, whole, tmp_path, damage, sealed):
    if sealed and damage is bit:  # these are the weights, then
        damage = cut
    if sealed:
        content = damage((whole / "run" / WEIGHTS).read_bytes())
        card = said(sha256=hashlib.sha256(content).hexdigest())((whole / "run" / CARD).read_bytes())
        shutil.copytree(whole / "run", tmp_path / "sealed")
        (tmp_path / "sealed" / CARD).write_bytes(card)
        (tmp_path / "sealed" / WEIGHTS).write_bytes(content)
        code, out, err = called(["demo", "sealed", "--port", "0"])
    else:
        code, out, err = called(["demo", "run", "--port", "0"], f"run/{WEIGHTS}", damage)
    assert (code, out, len(err.splitlines())) == (4, "", 1), err
    assert err.startswith("flyweight: ")
    assert WEIGHTS in err


RECIPES = {
    "empty": (other(b""), 4),
    "utf-16": (UTF16, 4),
    "no text": (other(bytes(range(128, 256))), 4),
    "a nest": (other(b"data: " + NEST), 4),
    "an unknown key": (said(data__nme="digits"), 4),
    "a section of a number": (said(data=7), 4),
    "no image": (said(data__test_images=0), 4),
    "no such data": (said(data__name="digts"), 2),
    "no such place": (said(data__name=None, data__path="/nowhere/at/all"), 3),
}


@pytest.mark.parametrize(("damage", "expected"), RECIPES.values(), ids=RECIPES)
def test_a_damaged_recipe_is_told_by_both(called, damage, expected):
    """Of a run it is the run that is damaged; to check it is a recipe like any other."""
    for call, exit_code in (
        (["demo", "run", "--port", "0"], expected),
        (["check", "run/config.yaml", "--rules", "rules.yaml"], 2 if expected == 4 else expected),
    ):
        code, out, err = called(call, "run/config.yaml", damage)
        told = [line for line in err.splitlines() if line.startswith("flyweight: ")]
        assert (code, out, len(told)) == (exit_code, "", 1), err


def test_what_is_a_record_alone_changes_nothing(called):
    whole = called(["demo", "run", "--port", "0"])
    assert (whole[0], whole[1][:17]) == (0, "http://127.0.0.1:")
    for damage in (other(b""), other(NEST), other(b"[]"), other(b'{"files": 7}')):
        code, out, err = called(["demo", "run", "--port", "0"], "run/environment.json", damage)
        told = [line for line in err.splitlines() if line.startswith("flyweight: ")]
        assert (code, out[:17], len(told) <= 1) == (0, "http://127.0.0.1:", True), err


FILES = ["run", "export", f"run/{WEIGHTS}", f"run/{CARD}", "export/export.json", "export/model.onnx", "rules.yaml"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", [alike, cut, other(b""), other(NEST)], ids=["whole", "cut", "empty", "a nest"])
def test_check_says_that_weights_and_exports_are_no_networks_of_its(called, file, damage):
    folder = "/" not in file and "." not in file
    code, out, err = called(["check", file], None if folder else file, None if folder else damage)
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert file in err


PYTHONS = {
    "mine.py": {
        "empty": other(b""), "cut": cut, "utf-16": UTF16, "a NUL": other(PYTHON.encode() + b"\0"),
        "a nest": other(b"x = " + NEST), "no text": other(bytes(range(128, 256))),
        "an unknown encoding": other(b"# coding: nothing\n" + PYTHON.encode()),
    },
    "mine.ipynb": {
        "empty": other(b""), "cut": cut, "utf-16": UTF16, "a nest": other(NEST), "a list": other(b"[]"),
        "no cells": said(cells=7), "cells of numbers": said(cells=[1, 2]), "a cell without kind": said(cells=[{}]),
        "sheets of numbers": other(b'{"worksheets": 7}'), "a sheet of a number": other(b'{"worksheets": [7]}'),
        "cells of a sheet": other(b'{"worksheets": [{"cells": 7}]}'),
        "a source of numbers": said(cells=[{"cell_type": "code", "source": [1]}]),
    },
    "rules.yaml": {
        "empty": other(b""), "cut": cut, "utf-16": UTF16, "a nest": other(b"rules: " + NEST), "a number": said(rules=7),
        "no such kind": said(rules=[{"name": "x", "kind": "y"}]), "no rules": said(rules=[]),
        "a limit of text": said(rules=[{"name": "light", "kind": "parameters_below", "limit": "x"}]),
        "an input of nothing": said(input="3,0,32"),
    },
}  # fmt: skip


@pytest.mark.parametrize(("file", "how"), [(file, how) for file in PYTHONS for how in PYTHONS[file]])
def test_check_tells_a_damaged_network_or_rule_set(called, file, how):
    call = ["check", "nano", "--rules", file] if file == "rules.yaml" else ["check", f"{file}:Net"]
    code, out, err = called(call, file, PYTHONS[file][how])
    told = [line for line in err.splitlines() if line.startswith("flyweight: ")]
    assert (code, out, len(told)) == (2, "", 1), err
    assert file in told[0]
