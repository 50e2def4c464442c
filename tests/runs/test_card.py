import errno
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from conftest import a_socket, same

from flyweight import recipes
from flyweight.data.cifar10 import SPEC
from flyweight.errors import RunError
from flyweight.networks import builtin
from flyweight.networks.build import build
from flyweight.recipes.sections import ModelConfig
from flyweight.runs.allowing import allow
from flyweight.runs.card import NEXT, Card, find_trained, load_trained, load_weights, save_card, save_model
from flyweight.runs.folder import Run
from flyweight.training import start

CARD = Card(
    network="sprint", dropout=None, classes=tuple("abcdefghij"), input_shape=(3, 32, 32), mean=(0.5,) * 3,
    std=(0.2,) * 3, data="cifar10", fingerprint="0", epochs=1,
)  # fmt: skip


@pytest.fixture
def shipped(tmp_path):
    torch.manual_seed(0)
    save_model(tmp_path, build(ModelConfig(network="sprint"), SPEC), CARD)
    return tmp_path


def test_a_layer_that_is_used_twice_can_be_saved_and_loaded(tmp_path, monkeypatch):
    (tmp_path / "twice.py").write_text(
        "from torch import nn\n"
        "class Twice(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        layer = nn.Conv2d(3, 3, 3)\n"
        "        super().__init__(layer, layer, nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    reference = f"{tmp_path / 'twice.py'}:Twice"
    network = build(ModelConfig(network=reference), SPEC)
    save_model(tmp_path, network, replace(CARD, network=reference))
    allow(tmp_path)
    loaded = load_trained(tmp_path).model
    assert loaded[0] is loaded[1]
    assert torch.equal(loaded[0].weight, network[0].weight)


def test_weights_and_card_come_back(shipped):
    trained = load_trained(shipped)
    assert trained.card.classes == CARD.classes
    assert not trained.model.training
    assert len(trained.card.sha256) == 64


@pytest.mark.parametrize("name", builtin.FORMER)
def test_weights_from_when_a_name_had_other_rows_are_read_by_those(tmp_path, name):
    torch.manual_seed(0)
    then = build(ModelConfig(network="mine", table=builtin.FORMER[name]), SPEC).eval()
    save_model(tmp_path, then, replace(CARD, network=name))
    trained = load_trained(tmp_path)
    images = torch.randn(2, *SPEC.shape)
    assert torch.equal(trained.model(images), then(images))
    assert trained.card.title == f"first-{name}"
    # and of the name's present rows nothing is said to be former
    save_model(tmp_path, build(ModelConfig(network=name), SPEC), replace(CARD, network=name))
    assert load_trained(tmp_path).card.title == name


def test_weights_that_do_not_match_their_hash_are_refused(shipped):
    file = shipped / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(RunError, match="damaged or of another run"):
        load_trained(shipped)


def test_weights_of_another_network_are_refused(shipped):
    card = json.loads((shipped / "config.json").read_text())
    del card["checksum"]
    (shipped / "config.json").write_text(json.dumps({**card, "network": "strided"}))
    with pytest.raises(RunError, match="does not fit the network strided"):
        load_trained(shipped)


@pytest.mark.parametrize(
    "fields",
    [
        {"network": None}, {"dropout": "x"}, {"classes": 3}, {"input_shape": [1]}, {"mean": [0.5]}, {"std": [0, 0, 0]},
        {"mean": "abc"}, {"network": "nope"}, {"dropout": 1.5}, {"input_shape": [0, 32, 32], "mean": [], "std": []},
        {"temperature": 0}, {"temperature": -1}, {"temperature": "warm"}, {"threshold": 1.5}, {"threshold": -0.1},
    ],
)  # fmt: skip
def test_a_damaged_card_is_one_line(shipped, fields):
    file = shipped / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))
    with pytest.raises(RunError, match=r"config\.json") as error:
        load_trained(shipped)
    assert "\n" not in str(error.value)


def test_a_card_from_before_temperatures_means_the_network_as_it_is(shipped):
    file = shipped / "config.json"
    fields = json.loads(file.read_text())
    assert (fields.pop("temperature"), fields.pop("threshold")) == (1.0, None)
    del fields["checksum"]
    file.write_text(json.dumps(fields))
    card = load_trained(shipped).card
    assert (card.temperature, card.threshold) == (1.0, None)


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[]", b"\xff\xfe"])
def test_a_card_that_is_none_is_one_line(shipped, content):
    (shipped / "config.json").write_bytes(content)
    with pytest.raises(RunError, match=r"config\.json is damaged"):
        load_trained(shipped)


def test_finding_a_network_says_what_is_missing(tmp_path):
    with pytest.raises(RunError, match="neither a run folder nor a shipped network"):
        find_trained("nothing")
    run = Run.create(tmp_path / "run", recipes.load("sprint"))
    with pytest.raises(RunError, match="has not ended; go on with: flyweight train --resume"):
        find_trained(str(run.folder))


def test_a_folder_of_exports_is_told_as_one(tmp_path):
    (tmp_path / "export.json").write_text("{}")
    with pytest.raises(RunError, match="holds exports, and no network comes back from one: name the one"):
        find_trained(str(tmp_path))


@pytest.mark.parametrize("kind", [torch.int64, torch.bool, torch.complex64])
def test_weights_of_another_kind_are_refused_and_not_cast(shipped, kind):
    """The hash on the card fits: somebody wrote them so."""
    card, weights = load_weights(shipped)
    weights["classifier.weight"] = weights["classifier.weight"].to(kind)
    content = safetensors.torch.save(weights)
    (shipped / "model.safetensors").write_bytes(content)
    save_card(shipped, replace(card, sha256=hashlib.sha256(content).hexdigest()))
    name = str(kind).removeprefix("torch.")
    with pytest.raises(RunError, match=f"classifier.weight is {name}, it must be float32"):
        load_trained(shipped)
    with pytest.raises(RunError, match=f"classifier.weight is {name}, it must be float32"):
        start.find(str(shipped), build(card.model, card.spec), card.classes)


def test_a_flipped_digit_in_a_card_is_noticed(shipped):
    file = shipped / "config.json"
    content = file.read_text()
    digit = str(CARD.std[0])
    changed = content.replace(digit, f"{digit[:-1]}{(int(digit[-1]) + 1) % 10}", 1)
    assert changed != content
    file.write_text(changed)
    with pytest.raises(RunError, match="is damaged: its SHA-256 is not the one in checksum"):
        load_trained(shipped)


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero"), a_socket])
def test_a_card_that_is_no_file_is_one_line_and_no_hang(shipped, make):
    (shipped / "config.json").unlink()
    make(shipped / "config.json")
    with pytest.raises(RunError, match="cannot read config.json: it is not a regular file"):
        load_trained(shipped)


@pytest.mark.parametrize("killed_at", ["config.json", "model.safetensors"])
def test_a_kill_while_weights_are_replaced_leaves_the_old_ones_or_the_new(shipped, monkeypatch, killed_at):
    before, network = load_trained(shipped), build(ModelConfig(network="sprint"), SPEC)

    class Killed(BaseException):
        pass

    def replaced(path, target, rename=Path.replace):
        if target.name == killed_at:
            raise Killed
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", replaced)
    with pytest.raises(Killed):
        save_model(shipped, network, replace(CARD, epochs=2))
    monkeypatch.undo()
    found = load_trained(shipped)
    assert found.card.epochs == (1 if killed_at == "config.json" else 2)
    assert same(found.model, before.model if killed_at == "config.json" else network)
    save_model(shipped, network, replace(CARD, epochs=2))
    assert load_trained(shipped).card.epochs == 2
    assert not (shipped / NEXT).exists()


@pytest.mark.parametrize("refused", ["config.json", "model.safetensors"])
def test_an_error_while_weights_are_replaced_is_one_line_and_leaves_the_old_ones_or_the_new(
    shipped, monkeypatch, refused
):
    def replaced(path, target, rename=Path.replace):
        if target.name == refused:
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", replaced)
    with pytest.raises(RunError, match=f"cannot write .*{refused}: Input/output error"):
        save_model(shipped, build(ModelConfig(network="sprint"), SPEC), replace(CARD, epochs=2))
    assert load_trained(shipped).card.epochs == (1 if refused == "config.json" else 2)
    assert (shipped / NEXT).exists() == (refused == "model.safetensors")
