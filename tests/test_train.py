import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from conftest import Silent, fit, fresh
from torch import nn

from flyweight.errors import FlyweightError, RunError
from flyweight.machine import device
from flyweight.recipes import sections
from flyweight.runs.card import load_trained
from flyweight.runs.folder import Run
from flyweight.training import loop
from flyweight.training.interrupt import Stop


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def change(recipe, **settings):
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=settings)})


VARIANTS = {
    "sgd": {},
    "adamw and averaging": {"optimizer": "adamw", "peak_rate": 0.002, "ema": 0.9},
    "muon": {"optimizer": "muon", "peak_rate": 0.2},
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


def test_another_seed_gives_other_weights(striped, recipe, tmp_path):
    one, other = fit(recipe, striped, tmp_path / "0"), fit(change(recipe, seed=1), striped, tmp_path / "1")
    assert not same(one.model, other.model)


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
    assert [row.train_loss for row in resumed.history] == [row.train_loss for row in whole.history]


def test_it_learns_and_writes_what_the_brief_asks_for(striped, recipe, tmp_path):
    observer = Silent()
    result = fit(change(recipe, epochs=6), striped, tmp_path / "run", observer)
    last = result.history[-1]
    assert last.test_correct >= 60  # of 64; chance is 32
    run = Run.open(tmp_path / "run")
    assert len(run.history()) == 6
    assert run.log.read_text().splitlines() == observer.lines
    assert f"accuracy {last.test_correct}/64 ({last.test_accuracy:.2f}%)" in observer.lines[-1]
    assert run.history_csv.read_text().startswith("epoch,train_loss,train_accuracy,test_loss,test_correct,test_total,")
    trained = load_trained(run.folder)
    assert same(trained.model, result.model)
    assert trained.card.classes == ("horizontal", "vertical")


def test_the_rate_rises_to_its_peak_and_falls_to_nothing(striped, recipe, tmp_path):
    recipe = change(recipe, epochs=5, warmup=0.2)  # the first epoch is the rise
    rates = [row.rate for row in fit(recipe, striped, tmp_path / "run").history]
    assert 0.07 < rates[0] <= 0.1
    assert rates[0] > rates[1] > rates[2] > rates[3] > rates[4]
    assert 0 < rates[4] < 0.01


def test_averaged_weights_are_the_exponential_mean_of_the_steps(striped, recipe, tmp_path):
    recipe = change(recipe, ema=0.5, epochs=1, batch_size=96)  # two steps
    run = Run.create(tmp_path / "run", recipe)
    steps = []
    observer = Silent()
    trainer = loop._Trainer(fresh(recipe, striped), striped, recipe, run, observer)
    observer.on_step = lambda *_: steps.append(trainer.network.c1[0][0].weight.detach().clone())
    trainer.run_epoch(Stop())
    # the average starts as a copy at the first update, then moves half way
    torch.testing.assert_close(trainer.tested.c1[0][0].weight, (steps[0] + steps[1]) / 2)


def test_progress_is_the_share_of_the_steps_done(striped, recipe, tmp_path):
    run = Run.create(tmp_path / "run", recipe)
    trainer = loop._Trainer(fresh(recipe, striped), striped, recipe, run, Silent())
    assert trainer.progress == 0
    trainer.epoch, trainer.step = 2, 3  # 192 images are 6 batches of 32: 15 of 18 steps are done
    assert trainer.progress == pytest.approx(15 / 18)


def test_a_pupil_learns_from_its_teacher_and_says_so(striped, recipe, tmp_path):
    fit(recipe, striped, tmp_path / "teacher")
    taught = change(recipe, teacher=str(tmp_path / "teacher"), teacher_share=1.0, epochs=2, seed=1)
    whole = fit(taught, striped, tmp_path / "pupil")
    assert whole.card.teacher == "teacher"
    assert "(distilled from" in load_trained(tmp_path / "pupil").card.title
    assert load_trained(tmp_path / "teacher").card.title == "sprint"
    # only the teacher spoke, and what it says can be learnt from
    assert whole.history[-1].train_accuracy > 90
    # a run whose teacher is another one by now is not gone on with
    fit(change(recipe, seed=2), striped, tmp_path / "other")
    for name in ("model.safetensors", "config.json"):
        (tmp_path / "teacher" / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(RunError, match="the weights of the teacher .* have changed since"):
        fit(taught, striped, tmp_path / "pupil")


def test_a_rate_that_is_too_high_is_one_line(striped, recipe, tmp_path):
    with pytest.raises(
        FlyweightError, match=r"the loss became (nan|inf) in epoch 1.*lower train.peak_rate \(it is 1e\+30"
    ):
        fit(change(recipe, peak_rate=1e30), striped, tmp_path / "run")


def test_a_loss_that_is_no_number_leaves_the_checkpoint_before_it(striped, recipe, tmp_path):
    run = Run.create(tmp_path / "run", recipe)
    trainer = loop._Trainer(fresh(recipe, striped), striped, recipe, run, Silent())
    trainer.run_epoch(Stop())
    with torch.no_grad():
        trainer.network.classifier.weight.fill_(torch.nan)
    with pytest.raises(FlyweightError, match="the loss became nan in epoch 2"):
        trainer.run_epoch(Stop())
    state, _ = run.load_checkpoint()
    assert state["epoch"] == 1
    assert all(value.isfinite().all() for value in state["network"].values())


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


def test_a_batch_larger_than_the_data_is_one_line(striped, recipe, tmp_path):
    with pytest.raises(FlyweightError, match="batch_size: 500 is more than the 192 training images"):
        fit(change(recipe, batch_size=500), striped, tmp_path / "run")


def test_resuming_on_other_data_is_refused(striped, recipe, tmp_path):
    from dataclasses import replace

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
    trainer = loop._Trainer(fresh(recipe, striped), striped, recipe, run, Silent())
    trainer._save()
    with pytest.raises(RunError, match=f"{words}.*set it back, or start a new run"):
        fit(change(recipe, **change_of), striped, tmp_path / "run")


def test_a_run_from_before_a_setting_existed_goes_on_with_its_default(striped, recipe, tmp_path, monkeypatch):
    run = Run.create(tmp_path / "run", recipe)
    older = {key: value for key, value in loop._decisive(recipe).items() if key != "train.mixup"}
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_decisive", lambda _: older)
        loop._Trainer(fresh(recipe, striped), striped, recipe, run, Silent())._save()
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
    assert second | {"finished": None} == first | {"finished": None}


def test_a_run_folder_belongs_to_one_training(striped, recipe, tmp_path):
    run = Run.create(tmp_path / "run", recipe)
    with run.locked(), pytest.raises(RunError, match="is being trained by another process"):
        fit(recipe, striped, run.folder)


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
        loop.check_trainable(network, striped, recipe)


def test_a_hole_larger_than_the_pictures_is_refused_before_there_is_a_run(striped, recipe):
    large = recipe.model_copy(update={"augment": recipe.augment.model_copy(update={"cutout": 1, "cutout_size": 64})})
    with pytest.raises(FlyweightError, match="cutout_size: 64 is more than the side of the images, 32x32"):
        loop.check_trainable(fresh(recipe, striped), striped, large)


@pytest.mark.parametrize("steps", [1, 3, 4, 5])
def test_the_shortest_trainings_work(striped, recipe, tmp_path, steps):
    result = fit(change(recipe, epochs=1, batch_size=192 // steps), striped, tmp_path / "run")
    assert result.history[0].rate > 0


def test_settle_leaves_nothing_open():
    settled = device.settle(sections.TrainConfig())
    assert settled.precision in {"float32", "bfloat16"}
    assert settled.workers is not None
    assert device.settle(settled) == settled


def test_a_training_killed_with_minus_nine_goes_on_to_the_same_weights(tmp_path):
    """A real process, a real kill -9, through the command line."""
    command = [
        sys.executable, "-m", "flyweight", "train", "sprint", "--data", "digits", "--epochs", "4", "--no-report",
        "--set", "train.batch_size=128", "--set", "data.train_images=512", "--set", "data.test_images=100",
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
        if line.startswith("Epoch 2/4"):
            process.kill()
            break
    process.stderr.close()
    assert process.wait() == -signal.SIGKILL
    resume = [sys.executable, "-m", "flyweight", "train", "--resume", str(tmp_path / "run"), "--no-report"]
    resumed = subprocess.run(resume, env=environment, capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    assert "Epoch 1/4" not in resumed.stderr
    digests = [json.loads((tmp_path / name / "config.json").read_text())["sha256"] for name in ("whole", "run")]
    assert digests[0] == digests[1]


@pytest.mark.long
def test_two_processes_share_a_training(tmp_path):
    """Torchrun with gloo: one run folder, one log, each image once an epoch."""
    both = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "flyweight"]
    command = [
        *both, "train", "sprint", "--data", "digits", "--epochs", "3", "--out", str(tmp_path / "run"), "--no-report",
        "--set", "train.batch_size=64", "--set", "train.peak_rate=0.2",
    ]  # fmt: skip
    environment = {**os.environ, "FLYWEIGHT_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Epoch 3/3") == 1
    history = Run.open(tmp_path / "run").history()
    assert history[-1]["test_accuracy"] > 50
    assert history[-1]["train_accuracy"] > 40
    assert load_trained(tmp_path / "run").card.data == "digits"
    # both go on together from the checkpoint before the last
    run = Run.open(tmp_path / "run")
    sorted(run.checkpoints.iterdir())[-1].unlink()
    run.weights.unlink()
    resume = [*both, "train", "--resume", str(run.folder), "--no-report"]
    done = subprocess.run(resume, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (done.stderr.count("Epoch 2/3"), done.stderr.count("Epoch 3/3")) == (0, 1)
    assert [row["epoch"] for row in run.history()] == [1, 2, 3]
    assert run.history()[:2] == history[:2]
    assert run.history()[-1]["test_accuracy"] > 50
