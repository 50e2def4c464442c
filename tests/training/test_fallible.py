"""A network of the user's own that raises when the training is under way: its error, not a bug of ours."""

import re

import pytest
from conftest import Silent, fit, with_network
from PIL import Image

from flyweight.errors import FlyweightError
from flyweight.evaluation.evaluate import evaluate
from flyweight.inference.loaded import Loaded
from flyweight.networks.custom import blamed
from flyweight.recipes.sections import ModelConfig
from flyweight.runs import code
from flyweight.runs.card import load_trained
from flyweight.runs.folder import Run

FALLIBLE = """\
from torch import nn


class Fallible(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.layer = nn.Conv2d(3, num_classes, 3)
        self.steps = 0

    def forward(self, x):
        self.steps += self.training
        y = self.layer(x).mean((2, 3))
        LINE
        return y
"""
NINTH = "if self.steps == 9: "


def written(recipe, folder, line="pass"):
    """The recipe with such a network, whose line 13 is given; six steps make an epoch."""
    file = folder / "mine.py"
    file.write_text(FALLIBLE.replace("LINE", line))
    return with_network(recipe, f"{file}:Fallible")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"{NINTH}raise ValueError('no\\nmore')", "raised ValueError in epoch 2, step 3: no more (FILE:13); mend it"),
        (f"{NINTH}x.view(7, -1)", "raised RuntimeError in epoch 2, step 3: shape '[7, -1]' is invalid for input of"),
        (f"{NINTH}import sys; sys.exit(0)", "raised SystemExit in epoch 2, step 3: 0 (FILE:13)"),
        (f"{NINTH}y.register_hook(lambda gradient: 1 / 0)", "on the way back in epoch 2, step 3: division by zero"),
        (f"{NINTH}return y, y", "returns tuple for a batch of 32: it must be (32, 2), one logit a class"),
        ("if len(x) > 3 and not self.training: x[0] + 'a'", "raised TypeError in the test pass after epoch 1: "),
    ],
)
def test_it_is_told_in_one_line_and_what_was_saved_stays(striped, recipe, tmp_path, line, words):
    plan, run = written(recipe, tmp_path, line), tmp_path / "run"
    with pytest.raises(FlyweightError, match=re.escape(words.replace("FILE", str(tmp_path / "mine.py")))) as caught:
        fit(plan, striped, run)
    assert caught.value.exit_code == 2
    message = str(caught.value)
    assert message.startswith("Fallible ")
    assert len(message.splitlines()) == 1
    if "raised" in words:
        assert f"{tmp_path / 'mine.py'}:13" in message
        assert message.endswith(f"flyweight train --resume {run} --allow-code goes on with the mended file")
    content, _ = Run.open(run).load_checkpoint()
    assert (content and content["epoch"]) == (1 if NINTH in line else None)


def test_once_mended_the_run_goes_on(striped, recipe, tmp_path):
    with pytest.raises(FlyweightError):
        fit(written(recipe, tmp_path, f"{NINTH}1 / 0"), striped, tmp_path / "run")
    observer = Silent()
    fit(written(recipe, tmp_path), striped, tmp_path / "run", observer)
    assert observer.steps[0] == (1, 1)
    assert len(Run.open(tmp_path / "run").history()) == 3


def test_a_layer_that_is_used_from_some_step_on_is_trained_and_the_run_can_be_gone_on_with(striped, recipe, tmp_path):
    file, run = tmp_path / "mine.py", tmp_path / "run"
    late = "if self.steps > 8 or not self.training: y = y + self.late(x).mean((2, 3))"
    layers = "self.layer = nn.Conv2d(3, num_classes, 3)"
    text = FALLIBLE.replace("LINE", late).replace(layers, f"{layers}\n        self.late = nn.Conv2d(3, num_classes, 3)")
    file.write_text(text)
    plan = with_network(recipe, f"{file}:Fallible")
    fit(plan, striped, run)
    assert len(Run.open(run).history()) == 3
    (run / "checkpoints" / "epoch-0003-step-000000.pt").unlink()
    fit(plan, striped, run)
    assert len(Run.open(run).history()) == 3


@pytest.mark.parametrize("error", [ValueError("ours"), FlyweightError("told"), SystemExit(3)])
def test_what_our_own_networks_raise_is_ours(error):
    with (
        pytest.raises(type(error), match=str(error)),
        blamed(ModelConfig(network="sprint"), "in a test", "mend it"),
    ):
        raise error


def test_it_is_its_error_in_an_evaluation_and_a_prediction_too(striped, recipe, tmp_path):
    plan, run = written(recipe, tmp_path), tmp_path / "run"
    fit(plan, striped, run)
    code.renew(run, written(recipe, tmp_path, "if len(x) != 3 and not self.training: 1 / 0").model)
    trained = load_trained(run)
    with pytest.raises(FlyweightError, match=r"Fallible raised ZeroDivisionError on the test images: .*mine.py:13"):
        evaluate(trained, striped)
    image = tmp_path / "a.png"
    Image.fromarray(striped.test.images[0]).save(image)
    with pytest.raises(FlyweightError, match=r"Fallible raised ZeroDivisionError on .*a.png: .*mine.py:13"):
        Loaded(trained).predict(image)
