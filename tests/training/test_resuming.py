import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Silent, change, fit, fresh, same, with_network

from flyweight.errors import FlyweightError, RunError
from flyweight.machine.together import Share
from flyweight.networks import builtin
from flyweight.runs import environment
from flyweight.runs.folder import Run
from flyweight.training import pooled, record, resume, trainer
from flyweight.training.interrupt import Stop
from flyweight.training.trainer import Trainer

VARIANTS = {
    "sgd": {},
    "adamw and averaging": {"optimizer": "adamw", "learning_rate": 0.002, "ema": 0.9},
    "muon": {"optimizer": "muon", "learning_rate": 0.2},
    "mixup and falling smoothing": {"mixup": 0.8, "label_smoothing_end": 0.0},
    "bfloat16": {"precision": "bfloat16"},
    "a worker": {"workers": 1},
}


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS.keys())
def test_the_same_seed_gives_the_same_weights_and_resuming_from_any_epoch_too(striped, recipe, tmp_path, settings):
    recipe = change(recipe, **settings)
    whole = fit(recipe, striped, tmp_path / "whole")
    assert same(fit(recipe, striped, tmp_path / "again").model, whole.model)
    files = sorted((tmp_path / "whole" / "checkpoints").iterdir())
    assert len(files) == 3
    for epochs in (1, 2):
        part = Run.create(tmp_path / f"part{epochs}", recipe)
        part.checkpoints.mkdir()
        for file in files[:epochs]:
            (part.checkpoints / file.name).write_bytes(file.read_bytes())
        torch.manual_seed(epochs)  # whatever the generator does before must not matter
        resumed = fit(recipe, striped, part.folder)
        assert same(resumed.model, whole.model)
        assert [row.test_correct for row in resumed.history] == [row.test_correct for row in whole.history]


@pytest.mark.parametrize("stop", [(0, 1), (1, 4), (2, 6)])
def test_stopping_after_any_step_loses_nothing(striped, recipe, tmp_path, stop):
    whole = fit(recipe, striped, tmp_path / "whole")
    observer = Silent()
    observer.on_step = lambda *now: os.kill(os.getpid(), signal.SIGINT) if now == stop else None
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, striped, tmp_path / "run", observer)
    assert observer.steps[-1] == stop
    assert signal.getsignal(signal.SIGINT) is handler
    resumed = fit(recipe, striped, tmp_path / "run")
    assert same(resumed.model, whole.model)
    for name in ("train_loss", "learning_rate"):
        assert [getattr(row, name) for row in resumed.history] == [getattr(row, name) for row in whole.history]


@pytest.mark.timeout(100)
def test_workers_need_neither_a_short_name_of_the_temporary_folder_nor_shared_memory(
    striped, recipe, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / f"{'long' * 30}"))
    Path(tempfile.tempdir).mkdir()
    fit(change(recipe, workers=1, epochs=1), striped, tmp_path / "run")
    assert not list(Path(tempfile.tempdir).iterdir())


def test_what_a_network_draws_from_pythons_and_numpys_generators_follows_from_the_place_of_its_step():
    drawn, before = [], random.getstate()
    for place in ((0, 1, 2), (0, 1, 2), (0, 1, 3), (1, 1, 2)):
        with pooled.step(Share(4), place, custom=True):
            drawn.append((random.random(), np.random.rand()))
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3
    assert random.getstate() == before


def test_resuming_writes_the_history_that_a_kill_or_an_accident_took(striped, recipe, tmp_path):
    fit(recipe, striped, tmp_path / "run")
    run = Run.open(tmp_path / "run")
    whole = {file: file.read_bytes() for file in (run.history_csv, run.history_jsonl, run.log)}
    run.history_jsonl.write_bytes(whole[run.history_jsonl][:-20])
    run.history_csv.unlink()
    run.log.write_text("")
    with pytest.raises(RunError, match="damaged in line 3; --resume writes it anew"):
        run.history()
    fit(recipe, striped, run.folder)
    assert {file: file.read_bytes() for file in whole} == whole


@pytest.mark.parametrize("name", builtin.FORMER)
def test_an_unfinished_training_of_a_network_that_is_another_one_today_is_told_so(
    striped, recipe, tmp_path, monkeypatch, name
):
    recipe, run = with_network(recipe, name), Run(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setitem(builtin.NETWORKS, name, builtin.FORMER[name])
        Trainer(fresh(recipe, striped), striped, recipe, Run.create(run.folder, recipe), Silent()).save()
    with pytest.raises(RunError, match=f"{name} was another network when this run was begun: go on with the version"):
        fit(recipe, striped, run.folder)


def test_resuming_on_other_data_is_refused(striped, recipe, tmp_path):
    fit(change(recipe, epochs=1), striped, tmp_path / "run")
    with pytest.raises(FlyweightError, match="was trained on other data"):
        fit(change(recipe, epochs=1), replace(striped, fingerprint="1" * 64), tmp_path / "run")


def test_a_damaged_checkpoint_is_told_and_the_one_before_used(striped, recipe, tmp_path):
    whole = fit(recipe, striped, tmp_path / "run")
    newest = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1]
    newest.write_bytes(b"torn")
    observer = Silent()
    assert same(fit(recipe, striped, tmp_path / "run", observer).model, whole.model)
    assert len(observer.notes) == 1
    assert len(observer.lines) == 1  # one epoch was done again


@pytest.mark.parametrize(
    ("change_of", "words"),
    [
        ({"epochs": 5}, "train.epochs is 5, the run was made with 3"),
        ({"seed": 1}, "train.seed is 1"),
        ({"optimizer": "adamw"}, "train.optimizer is 'adamw'"),
        ({"ema": 0.9}, "train.ema is 0.9"),
    ],
)
def test_resuming_with_another_recipe_is_refused(striped, recipe, tmp_path, change_of, words):
    run = Run.create(tmp_path / "run", recipe)
    training = Trainer(fresh(recipe, striped), striped, recipe, run, Silent())
    training.save()
    with pytest.raises(RunError, match=f"{words}.*set it back, or start a new run"):
        fit(change(recipe, **change_of), striped, tmp_path / "run")


def test_what_changes_no_weights_may_be_changed_when_a_run_goes_on(striped, recipe, tmp_path):
    whole = fit(recipe, striped, tmp_path / "whole")
    run = Run.create(tmp_path / "run", recipe)
    more_than_there_are = change(recipe, epoch_test_images=65)
    Trainer(fresh(recipe, striped), striped, more_than_there_are, run, Silent()).run_epoch(Stop())
    resumed = fit(change(recipe, epoch_test_images=8, keep=1, loss_every=1), striped, run.folder)
    assert same(resumed.model, whole.model)
    assert [row.test_total for row in resumed.history] == [64, 8, 64]
    assert resumed.history[1].test_accuracy == 100 * resumed.history[1].test_correct / 8
    for epoch in (0, 2):
        assert resumed.history[epoch].test_loss == whole.history[epoch].test_loss


def test_a_run_may_go_on_in_another_precision_and_says_so_once(striped, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "gains_from_bfloat16", lambda device: False)
    run, observer = Run.create(tmp_path / "run", recipe), Silent()
    begun = Trainer(fresh(recipe, striped), striped, change(recipe, precision="bfloat16"), run, observer)
    record.begin(run, begun.recipe, striped, None, observer.note)
    assert not environment.moved(run.read_environment())
    begun.run_epoch(Stop())
    slow = Silent()
    Trainer(fresh(recipe, striped), striped, begun.recipe, run, slow).restore()
    assert len(slow.notes) == 1
    assert "it goes on faster with train.precision: float32" in slow.notes[0]
    resumed = fit(recipe, striped, run.folder, observer)
    assert len(resumed.history) == 3
    assert observer.notes == [
        "train.precision was 'bfloat16' until here and is 'float32' now: the weights will be rounded otherwise"
    ]
    kept = run.read_environment()
    assert [kept["precision"], *(one["precision"] for one in kept["resumed"])] == ["bfloat16", "float32"]
    assert ("precision of the training", "bfloat16, then float32") in environment.rows(kept)
    assert ("device", kept["device"]) in environment.rows(kept)
    assert environment.moved(kept)
    again = Silent()
    Trainer(fresh(recipe, striped), striped, recipe, run, again).restore()
    assert again.notes == []


def test_a_run_from_before_a_setting_existed_goes_on_with_its_default(striped, recipe, tmp_path, monkeypatch):
    run = Run.create(tmp_path / "run", recipe)
    older = {key: value for key, value in resume.decisive(recipe).items() if key != "train.mixup"}
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "decisive", lambda _: older)
        Trainer(fresh(recipe, striped), striped, recipe, run, Silent()).save()
    with pytest.raises(RunError, match=r"train.mixup is 0.5, the run was made with 0.0"):
        fit(change(recipe, mixup=0.5), striped, tmp_path / "run")
    assert len(fit(recipe, striped, tmp_path / "run").history) == 3


def test_results_without_a_checkpoint_are_not_written_over(striped, recipe, tmp_path):
    fit(change(recipe, epochs=1), striped, tmp_path / "run")
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    for file in (tmp_path / "run" / "checkpoints").iterdir():
        file.unlink()
    with pytest.raises(RunError, match="has results but no checkpoint to go on from"):
        fit(change(recipe, epochs=1), striped, tmp_path / "run")
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


def test_a_resumed_run_keeps_its_first_record(striped, recipe, tmp_path):
    recipe = change(recipe, epochs=1)
    run = Run(tmp_path / "run")
    fit(recipe, striped, run.folder)
    first = run.read_environment()
    fit(recipe, striped, run.folder)
    second = run.read_environment()
    assert len(second.pop("resumed")) == 1
    assert second.pop("peak_memory_mib") >= first.pop("peak_memory_mib")
    assert second | {"finished": None} == first | {"finished": None}


@pytest.mark.early
def test_a_training_killed_with_minus_nine_goes_on_to_the_same_weights(tmp_path):
    """A real process, a real kill -9, through the command line."""
    command = [
        sys.executable, "-m", "flyweight", "train", "sprint", "--data", "digits", "--epochs", "6", "--no-report",
        "--set", "train.batch_size=64", "--set", "data.train_images=192", "--set", "data.test_images=100",
    ]  # fmt: skip
    environment = {**os.environ, "FLYWEIGHT_CACHE": str(tmp_path / "cache")}
    whole = subprocess.run(
        [*command, "--out", str(tmp_path / "whole")], env=environment, capture_output=True, text=True
    )
    assert whole.returncode == 0, whole.stderr
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "run")], env=environment, stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if line.startswith("Epoch 2/6"):
            process.kill()
            break
    process.stderr.close()
    assert process.wait() == -signal.SIGKILL
    resume = [sys.executable, "-m", "flyweight", "train", "--resume", str(tmp_path / "run"), "--no-report"]
    resumed = subprocess.run(resume, env=environment, capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    assert "Epoch 1/6" not in resumed.stderr
    digests = [json.loads((tmp_path / name / "config.json").read_text())["sha256"] for name in ("whole", "run")]
    assert digests[0] == digests[1]


def test_a_record_of_a_version_before_a_key_was_kept_gets_it(striped, recipe, tmp_path):
    fit(change(recipe, epochs=1), striped, tmp_path / "run")
    run = Run.open(tmp_path / "run")
    kept = ("started", "python", "cores", "data_fingerprint")
    old = {key: value for key, value in run.read_environment().items() if key in kept} | {"data_note": "no CIFAR-10"}
    run.environment.write_text(json.dumps(old), encoding="utf-8")
    for _ in range(2):
        record.end(run, record.begin(run, recipe, striped, None, Silent().note), 1.0)
        told = run.read_environment()
        assert {key: told[key] for key in old} == old
        assert told["processes"] == 1
        assert run.changed() == []
