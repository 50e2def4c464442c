"""Keys had other names in the version before: its run folders go on, and who writes an old key is told today's."""

import hashlib
import io
import json

import pytest
import torch
from conftest import Silent, change, fit, same, with_network

from flyweight import recipes
from flyweight.errors import FlyweightError
from flyweight.runs.folder import Run

CONFIG = """\
name: tiny
description: ''
data: {name: digits, path: null, hold_out: 0, train_images: null, test_images: null}
augment: {flip: 0.5, shift_scale_rotate: 0.5, shift: 0.0625, scale: 0.1, rotate: 15.0, cutout: 0.5, cutout_size: 16}
model: {network: sprint, dropout: 0.1, phases: one}
rules: brief
train:
  epochs: 2
  batch_size: 96
  seed: 0
  optimizer: muon
  peak_rate: 0.2
  warmup: 0.2
  momentum: 0.9
  weight_decay: 0.0005
  muon_rate: 0.05
  muon_momentum: 0.6
  muon_decay: 0.05
  label_smoothing: 0.1
  label_smoothing_end: null
  mixup: 0.0
  teacher: null
  teacher_share: 0.7
  ema: 0.0
  precision: float32
  workers: 0
  keep: 9
"""
"""As the version before wrote it, but for line breaks."""

SETTINGS = {
    "augment.flip": 0.5, "augment.shift_scale_rotate": 0.5, "augment.shift": 0.0625, "augment.scale": 0.1,
    "augment.rotate": 15.0, "augment.cutout": 0.5, "augment.cutout_size": 16, "model.network": "sprint",
    "model.dropout": 0.1, "model.phases": "one", "train.epochs": 2, "train.batch_size": 96, "train.seed": 0,
    "train.optimizer": "muon", "train.peak_rate": 0.2, "train.warmup": 0.2, "train.momentum": 0.9,
    "train.weight_decay": 0.0005, "train.muon_rate": 0.05, "train.muon_momentum": 0.6, "train.muon_decay": 0.05,
    "train.label_smoothing": 0.1, "train.label_smoothing_end": None, "train.mixup": 0.0, "train.teacher": None,
    "train.teacher_share": 0.7, "train.ema": 0.0, "train.precision": "float32",
}  # fmt: skip
"""Those in a checkpoint of the version before."""

ROW = {
    "epoch": 1, "train_loss": 0.6426663796106974, "train_accuracy": 58.854166666666664,
    "test_loss": 0.3587237000465393, "test_correct": 64, "test_total": 64, "test_accuracy": 100.0,
    "rate": 0.04276318684210527, "seconds": 7.101024085000063, "images_per_second": 31.432560644762503,
}  # fmt: skip
"""Of a history of the version before."""


def test_a_run_folder_of_the_version_before_goes_on_to_the_same_weights(striped, recipe, tmp_path):
    # that version always wrote the hole's size down
    augment = recipe.augment.model_copy(update={"cutout_size": 16})
    recipe = with_network(recipe, "sprint", dropout=0.1).model_copy(update={"augment": augment})
    settings = {"epochs": 2, "batch_size": 96, "optimizer": "muon", "learning_rate": 0.2, "muon_learning_rate": 0.05}
    whole = fit(change(recipe, **settings), striped, tmp_path / "whole")
    first = sorted((tmp_path / "whole" / "checkpoints").iterdir())[0]
    state = torch.load(io.BytesIO(first.read_bytes()[:-32]), weights_only=True)
    content = io.BytesIO()
    torch.save({**state, "recipe": SETTINGS, "history": [ROW]}, content)

    run = Run(tmp_path / "old")
    run.checkpoints.mkdir(parents=True)
    run.config.write_text(CONFIG)
    run.history_jsonl.write_text(json.dumps(ROW) + "\n")
    (run.checkpoints / first.name).write_bytes(content.getvalue() + hashlib.sha256(content.getvalue()).digest())

    assert run.history()[0]["learning_rate"] == ROW["rate"]
    assert run.recipe() == change(recipe, **settings)
    observer = Silent()
    resumed = fit(run.recipe(), striped, run.folder, observer)
    assert len(observer.lines) == 1
    assert same(resumed.model, whole.model)
    assert [row["learning_rate"] for row in run.history()] == [ROW["rate"], whole.history[1].learning_rate]
    assert ",learning_rate,seconds," in run.history_csv.read_text().splitlines()[0]
    assert "| learning rate 0.042763 |" in run.log.read_text().splitlines()[0]


@pytest.mark.parametrize(
    ("old", "new"), [("peak_rate", "train.learning_rate"), ("muon_rate", "train.muon_learning_rate")]
)
def test_an_old_key_in_a_recipe_is_one_line_with_todays(tmp_path, old, new):
    file = tmp_path / "mine.yaml"
    file.write_text(f"name: mine\nmodel: {{network: sprint}}\ntrain: {{{old}: 0.1}}\n")
    with pytest.raises(FlyweightError) as error:
        recipes.load(file)
    assert str(error.value) == f"{file}: train.{old} is called {new}"
    with pytest.raises(FlyweightError) as error:
        recipes.load("sprint", ["train.epochs=3", f"train.{old}=0.1"])
    assert str(error.value) == f"--set train.{old}=0.1: train.{old} is called {new}"
