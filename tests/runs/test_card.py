import json
from dataclasses import replace

import pytest
import torch

from flyweight import recipes
from flyweight.data.cifar10 import SPEC
from flyweight.errors import RunError
from flyweight.networks.build import build
from flyweight.recipes.sections import ModelConfig
from flyweight.runs.allowing import allow
from flyweight.runs.card import Card, find_trained, load_trained, save_model
from flyweight.runs.folder import Run

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


def test_weights_that_do_not_match_their_hash_are_refused(shipped):
    file = shipped / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(RunError, match="damaged or of another run"):
        load_trained(shipped)


def test_weights_of_another_network_are_refused(shipped):
    card = json.loads((shipped / "config.json").read_text())
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
