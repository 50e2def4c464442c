"""Any classes and any images, through the command line's own functions: train, resume, evaluate, report, predict."""

import json
import re

import pytest
from conftest import synthetic
from PIL import Image

from flyweight.cli.app import run_command
from flyweight.data import registry
from flyweight.data.reader import Reader

SHAPES = {"grey": (3, 1, 28, 28), "many": (300, 3, 64, 48), "two": (2, 3, 32, 32)}
RECIPE = """
name: tiny
data: {name: made}
augment: {shift_scale_rotate: 0.1, cutout: 0.1}
model:
  network: rows
  table:
    blocks:
      - [{width: 16, stride: 2}, {width: 16, residual: true}, {width: 16, kernel: 1}]
      - [{width: 24, kind: separable, stride: 2, kernel: 5}]
rules: rules.yaml
train: {epochs: 2, batch_size: 16, optimizer: muon, precision: float32, workers: 0, keep: 9}
"""
RULES = """
title: what the teacher asks
rules:
  - {name: small, kind: parameters_below, limit: 20000}
  - {name: wide, kind: receptive_field_above, minimum: 10}
"""


@pytest.fixture(params=SHAPES)
def made(request, tmp_path, monkeypatch):
    """A data set that only this test's registry knows, and a recipe for it in the working directory."""
    classes, *shape = SHAPES[request.param]
    # of each of many classes one image is enough
    images = {"train": classes, "test": classes} if classes > 96 else {}
    dataset = synthetic(classes, *shape, **images)
    reader = Reader("made", "Made", "made by the tests", lambda path, **options: dataset, spec=dataset.spec)
    monkeypatch.setattr(registry, "READERS", (reader, *registry.READERS))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "rules.yaml").write_text(RULES)
    return dataset


@pytest.mark.early
def test_a_set_of_any_classes_and_sizes_from_training_to_prediction(made, tmp_path, capsys):
    assert run_command(["train", "recipe.yaml", "--out", "run", "--no-report"]) == 0
    run = tmp_path / "run"
    weights = (run / "model.safetensors").read_bytes()

    # what is left after a kill in the second epoch
    for name in ("model.safetensors", "config.json", "history.csv", "history.jsonl", "train.log"):
        (run / name).unlink()
    sorted((run / "checkpoints").glob("*.pt"))[-1].unlink()
    assert run_command(["train", "--resume", "run", "--no-report"]) == 0
    assert (run / "model.safetensors").read_bytes() == weights

    capsys.readouterr()
    assert run_command(["evaluate", "run", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["n"] == len(made.test)
    assert len(scores["per_class"]) == len(made.classes)

    assert run_command(["report", "run"]) == 0
    markdown, page = (run / "REPORT.md").read_text(), (run / "report.html").read_text()
    assert "x".join(map(str, made.spec.shape)) in markdown.replace("&#120;", "x")
    for word in ("brief", "CIFAR", "R6", "R7"):
        assert word not in markdown, word
        assert word not in re.sub('base64,[^"]*', "", page), word
    assert len(page) < 5_000_000

    for index in range(3):
        pixels = made.test.images[index]
        Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(tmp_path / f"{index}.png")
    capsys.readouterr()
    assert run_command(["predict", "run", "0.png", "1.png", "2.png", "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert all(answer["predictions"][0]["class"] in made.classes for answer in answers)


def test_rules_are_judged_at_the_size_and_classes_of_the_set(made, tmp_path, capsys):
    (tmp_path / "rules.yaml").write_text(RULES.replace("20000", "700"))
    assert run_command(["train", "recipe.yaml", "--out", "run"]) == 1
    told = " ".join(capsys.readouterr().err.split()) + " "
    assert not (tmp_path / "run").exists()
    classifier = 24 * len(made.classes)
    first = 9 * made.spec.channels * 16
    rest = 9 * 16 * 16 + 16 * 16 + 25 * 16 + 16 * 24 + 2 * (3 * 16 + 24)
    assert f"{first + rest + classifier:,}" in told
