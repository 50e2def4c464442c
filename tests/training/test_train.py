import pytest
import torch
from conftest import Silent, change, fit, fresh, same

from flyweight.cli.app import run_command
from flyweight.errors import RunError
from flyweight.machine import device
from flyweight.recipes import sections
from flyweight.runs.card import load_trained
from flyweight.runs.folder import Run
from flyweight.training.interrupt import Stop
from flyweight.training.trainer import Trainer


def test_another_seed_gives_other_weights(striped, recipe, tmp_path):
    one, other = fit(recipe, striped, tmp_path / "0"), fit(change(recipe, seed=1), striped, tmp_path / "1")
    assert not same(one.model, other.model)


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


def test_the_learning_rate_rises_to_its_peak_and_falls_to_nothing(striped, recipe, tmp_path):
    recipe = change(recipe, epochs=5, warmup=0.2)  # the first epoch is the rise
    rates = [row.learning_rate for row in fit(recipe, striped, tmp_path / "run").history]
    assert 0.07 < rates[0] <= 0.1
    assert rates[0] > rates[1] > rates[2] > rates[3] > rates[4]
    assert 0 < rates[4] < 0.01


def test_averaged_weights_are_the_exponential_mean_of_the_steps(striped, recipe, tmp_path):
    recipe = change(recipe, ema=0.5, epochs=1, batch_size=96)  # two steps
    run = Run.create(tmp_path / "run", recipe)
    steps = []
    observer = Silent()
    trainer = Trainer(fresh(recipe, striped), striped, recipe, run, observer)
    observer.on_step = lambda *_: steps.append(trainer.state.network.c1[0][0].weight.detach().clone())
    trainer.run_epoch(Stop())
    # the average starts as a copy at the first update, then moves half way
    torch.testing.assert_close(trainer.state.tested.c1[0][0].weight, (steps[0] + steps[1]) / 2)


def test_progress_is_the_share_of_the_steps_done(striped, recipe, tmp_path):
    run = Run.create(tmp_path / "run", recipe)
    trainer = Trainer(fresh(recipe, striped), striped, recipe, run, Silent())
    assert trainer.progress == 0
    trainer.state.epoch, trainer.state.step = 2, 3  # 192 images are 6 batches of 32: 15 of 18 steps are done
    assert trainer.progress == pytest.approx(15 / 18)


def test_a_run_folder_belongs_to_one_training(striped, recipe, tmp_path):
    run = Run.create(tmp_path / "run", recipe)
    with run.locked(), pytest.raises(RunError, match="is being trained by another process"):
        fit(recipe, striped, run.folder)


@pytest.mark.parametrize("steps", [1, 3, 4, 5])
def test_the_shortest_trainings_work(striped, recipe, tmp_path, steps):
    result = fit(change(recipe, epochs=1, batch_size=192 // steps), striped, tmp_path / "run")
    assert result.history[0].learning_rate > 0


def test_settle_leaves_nothing_open():
    settled = device.settle(sections.TrainConfig(batch_size=None), 1000)
    assert settled.precision in {"float32", "bfloat16"}
    assert settled.workers is not None
    assert settled.batch_size == 64
    assert device.settle(settled, 9) == settled
    assert device.settle(sections.TrainConfig(), 1000).batch_size == 256


@pytest.mark.parametrize(
    ("images", "size"),
    [(50_000, 256), (2048, 256), (2047, 128), (1000, 64), (64, 8), (128, 16), (127, 8), (20, 8), (8, 8), (5, 5)],
)
def test_a_batch_leaves_eight_steps_an_epoch(images, size):
    assert device.batch_size(images) == size


def test_a_batch_that_the_recipe_leaves_open_is_in_the_runs_records(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    call = ["train", "sprint", "--data", "digits", "--epochs", "1", "--out", "run", "--no-report"]
    few = ["--set", "data.train_images=100", "--set", "data.test_images=40", "--set", "train.batch_size=null"]
    assert run_command([*call, *few]) == 0
    assert "1 epochs, 8 images a step" in " ".join(capsys.readouterr().err.split())
    run = Run.open(tmp_path / "run")
    assert run.recipe().train.batch_size == 8
    assert run.load_checkpoint()[0]["recipe"]["train.batch_size"] == 8
