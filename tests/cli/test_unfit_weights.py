"""Weights that are not finite are unfit, whoever reads them: one line, exit code 4, nothing written."""

import pytest
import torch
from PIL import Image
from test_cli import command  # noqa: F401 (a fixture)
from torch import nn

from flyweight import recipes
from flyweight.data import digits
from flyweight.networks.build import build
from flyweight.recipes.sections import ModelConfig
from flyweight.runs.card import Card, save_model
from flyweight.runs.folder import Run

SETTINGS = ("data.name=digits", "data.train_images=256", "data.test_images=50", "train.batch_size=64")
DIGITS = [word for setting in SETTINGS for word in ("--set", setting)]
CALLS = {
    "predict": ["predict", "bad", "x.png"],
    "evaluate": ["evaluate", "bad"],
    "report": ["report", "bad"],
    "export": ["export", "bad", "--to", "out"],
    "demo": ["demo", "bad", "--port", "0"],
    "train.start": ["train", "sprint", *DIGITS, "--set", "train.start=bad"],
    "train.teacher": ["train", "sprint", *DIGITS, "--set", "train.teacher=bad"],
    "search": ["search", "brief", "--trials", "1", "--recipe", "sprint", *DIGITS, "--set", "train.teacher=bad"],
}


def saved(folder, change):
    """A run folder of sprint on digits whose weights somebody has changed."""
    torch.manual_seed(0)
    network = build(ModelConfig(network="sprint"), digits.SPEC)
    with torch.no_grad():
        change(network)
    Run.create(folder, recipes.load("sprint", ("data.name=digits",)))
    mean, std = digits.SPEC.preprocessing.mean, digits.SPEC.preprocessing.std
    card = Card(
        network="sprint", dropout=None, classes=digits.CLASSES, input_shape=(3, 32, 32), mean=mean, std=std,
        data="digits", fingerprint=digits.make().fingerprint, epochs=1,
    )  # fmt: skip
    save_model(folder, network, card)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite_are_told_by_their_name(command, tmp_path, call, value):  # noqa: F811
    saved(tmp_path / "bad", lambda network: network.c2.conv1.layer[0].weight.view(-1)[7:8].fill_(value))
    Image.new("RGB", (32, 32)).save(tmp_path / "x.png")
    code, out, err = command(*call)
    assert (code, out) == (4, ""), err
    *_, last = err.splitlines()
    assert last.startswith("flyweight: ")
    assert "model.safetensors is no good: c2.conv1.layer.0.weight is not finite" in last
    assert sum(line.startswith("flyweight: ") for line in err.splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"bad", "cache", "x.png"}


@pytest.mark.parametrize("name", ["evaluate", "export", "demo", "report"])
def test_answers_that_are_not_finite_are_those_of_unfit_weights(command, tmp_path, name):  # noqa: F811
    saved(tmp_path / "bad", lambda network: network.c1.conv1[0].weight.fill_(1e38))
    code, out, err = command(*CALLS[name])
    assert (code, out) == (4, ""), err
    assert "output is not finite" in err.splitlines()[-1]


def test_what_a_network_of_ones_own_begins_with_may_be_infinite(tmp_path):
    """Such as a mask of attention, which is no fault of a training."""
    from flyweight.runs.fitting import sound_or_raise

    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mask", torch.full((3, 3), float("-inf")).triu(1))

    sound_or_raise(Masked(), Masked().state_dict(), tmp_path)
