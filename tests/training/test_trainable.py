import pytest
import torch
from conftest import change, fit, fresh
from test_fallible import written
from torch import nn

from flyweight.cli.app import run_command
from flyweight.errors import FlyweightError
from flyweight.training.checks import check_trainable, try_step


def test_a_batch_larger_than_the_data_is_one_line(striped, recipe, tmp_path):
    with pytest.raises(FlyweightError, match="batch_size: 500 is more than the 192 training images"):
        fit(change(recipe, batch_size=500), striped, tmp_path / "run")


class Flat(nn.Module):
    def __init__(self, output):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.output = output

    def forward(self, x):
        return self.output(x * self.weight)


class Unregistered(nn.Module):
    """Layers in a plain list and a bare tensor: torch knows of none of them. What needs no gradient is no weight."""

    def __init__(self):
        super().__init__()
        self.layers = [nn.Conv2d(3, 3, 3)]
        self.scale, self.constant = torch.ones(2, requires_grad=True), torch.ones(2)
        self.output = nn.Linear(3, 2)

    def forward(self, x):
        return self.output(self.layers[0](x).mean((2, 3))) * self.scale + self.constant


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (Flat(lambda x: x.mean((2, 3))), r"returns \(2, 3\) for a batch of 2: it must be \(2, 2\)"),
        (Flat(lambda x: x), r"returns \(2, 3, 32, 32\)"),
        (Flat(lambda x: (x, x)), "returns tuple"),
        (
            Flat(lambda x: x.reshape(7, -1)),
            r"Flat cannot take a batch of 2x3x32x32 numbers: shape '\[7, -1\]' is invalid",
        ),
        (Unregistered(), r"Unregistered computes with 86 weights that are not among its parameters.*nn.ModuleList"),
        (nn.Flatten(), "has no parameter that can be trained"),
    ],
)
def test_a_network_that_could_not_learn_is_refused_before_it_starts(striped, recipe, network, words):
    with pytest.raises(FlyweightError, match=words):
        check_trainable(network, striped, recipe)


def test_a_hole_larger_than_the_images_is_refused_before_there_is_a_run(striped, recipe):
    large = recipe.model_copy(update={"augment": recipe.augment.model_copy(update={"cutout": 1, "cutout_size": 64})})
    with pytest.raises(FlyweightError, match="cutout_size: 64 is more than the side of the images, 32x32"):
        check_trainable(fresh(recipe, striped), striped, large)


TRAINING_ONLY = [
    ("x.view(7, -1)", r"Fallible raised RuntimeError in a first step in training mode: shape"),
    ("return y, y", r"Fallible returns tuple for a batch of 8: it must be \(8, 2\), one logit a class"),
    ("y.register_hook(lambda gradient: 1 / 0)", "Fallible raised ZeroDivisionError on the way back of a first step: "),
    ("y = y.exp(); z = y; z.add_(1)", "Fallible raised RuntimeError on the way back of a first step: .* inplace"),
    ("import sys; sys.exit(0)", "Fallible raised SystemExit in a first step in training mode: 0"),
]


@pytest.mark.parametrize(("line", "words"), TRAINING_ONLY)
def test_a_network_that_fails_in_training_mode_alone_is_found_by_a_step(striped, recipe, tmp_path, line, words):
    plan = written(recipe, tmp_path, f"if self.training: {line}")
    network = fresh(plan, striped)
    check_trainable(network, striped, plan)
    with pytest.raises(FlyweightError, match=words) as caught:
        try_step(network, striped, plan)
    assert (caught.value.exit_code, len(str(caught.value).splitlines())) == (2, 1)


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_a_sound_network_takes_the_step_with_every_optimizer(striped, recipe, name):
    try_step(fresh(recipe, striped), striped, change(recipe, optimizer=name))


def test_nothing_is_left_of_a_training_whose_network_fails_in_training_mode(recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLYWEIGHT_CACHE", str(tmp_path / "cache"))
    written(recipe, tmp_path, "if self.training: x.view(7, -1)")
    (tmp_path / "mine.yaml").write_text("{name: mine, data: {name: digits}, model: {network: mine.py:Fallible}}")
    assert run_command(["train", "mine.yaml", "--set", "rules=null"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith("flyweight: Fallible raised RuntimeError in a first step in training mode: ")
    assert "mine.py:13" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "mine.py", "mine.yaml"]
