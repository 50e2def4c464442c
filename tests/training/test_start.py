"""Fine-tuning: a training begins with the weights of a trained network where names and shapes fit."""

import shutil

import pytest
import torch
from conftest import Silent, change, fit, fresh, same, synthetic, with_network

from flyweight.cli.app import run_command
from flyweight.errors import FlyweightError, RunError
from flyweight.runs.card import ZOO, load_trained, save_model
from flyweight.runs.folder import Run
from flyweight.training import start
from flyweight.training.trainer import Trainer


def begun(recipe, dataset, folder):
    """A training before its first step, and what it told."""
    observer = Silent()
    trainer = Trainer(fresh(recipe, dataset), dataset, recipe, Run.create(folder, recipe), observer)
    trainer.restore()
    return trainer, observer.notes


def test_what_fits_is_taken_and_the_classifier_of_other_classes_stays_fresh(striped, recipe, tmp_path):
    recipe = with_network(change(recipe, start="sprint"), "sprint")
    trainer, notes = begun(recipe, striped, tmp_path / "run")
    weights, untouched = load_trained(ZOO / "sprint").model.state_dict(), fresh(recipe, striped).state_dict()
    own = trainer.state.network.state_dict()
    for name, value in own.items():
        assert torch.equal(value, (untouched if name.startswith("classifier") else weights)[name]), name
    assert notes == [f"begins with {len(own) - 1} of {len(own)} tensors from sprint; fresh: classifier.weight"]


def test_other_channels_keep_a_fresh_stem(recipe, tmp_path):
    _, notes = begun(with_network(change(recipe, start="sprint"), "sprint"), synthetic(10, 1, 32, 32), tmp_path / "run")
    assert notes[0].endswith("fresh: c1.conv1.0.weight, classifier.weight")  # ten classes, but others


def test_another_network_takes_what_it_has_in_common_and_long_lists_are_short(striped, recipe, tmp_path):
    _, notes = begun(with_network(change(recipe, start="sprint"), "nano"), striped, tmp_path / "run")
    assert len(notes) == 1
    assert "\n" not in notes[0]
    assert " more" in notes[0]
    assert len(notes[0]) < 400


def test_a_run_is_a_start_and_a_resumed_training_needs_it_no_more(striped, recipe, tmp_path):
    fit(change(recipe, epochs=1, seed=7), striped, tmp_path / "first")
    tuned = change(recipe, start=str(tmp_path / "first"), epochs=2)
    whole = fit(tuned, striped, tmp_path / "second")
    assert not same(whole.model, fit(change(recipe, epochs=2), striped, tmp_path / "plain").model)
    assert whole.card.start == "first"
    assert load_trained(tmp_path / "second").card.title == "tiny (begun with first)"
    run, sha256 = Run(tmp_path / "second"), load_trained(tmp_path / "first").card.sha256
    assert run.load_checkpoint()[0]["start"] == sha256
    shutil.rmtree(tmp_path / "first")
    sorted(run.checkpoints.iterdir())[-1].unlink()
    run.weights.unlink()
    observer = Silent()
    assert same(fit(run.recipe(), striped, run.folder, observer).model, whole.model)
    assert observer.notes == []
    assert run.load_checkpoint()[0]["start"] == sha256
    with pytest.raises(RunError, match="train.start is None, the run was made with"):
        fit(change(tuned, start=None), striped, run.folder)


def test_a_start_that_is_none_or_of_which_nothing_fits_is_one_line(striped, recipe):
    network = fresh(recipe, striped)
    with pytest.raises(RunError, match="'sprnt' is neither a run folder nor a shipped network .did you mean 'sprint'"):
        start.find("sprnt", network, ("a", "b"))
    with pytest.raises(FlyweightError, match="train.start: none of the weights of sprint .sprint. fits Sequential"):
        start.find("sprint", torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.BatchNorm2d(2)), ("a", "b"))


def call(start, data):
    """The command line's exit code."""
    return run_command(["train", "sprint", "--data", data, "--out", "run", "--set", f"train.start={start}"])


def test_a_bad_start_leaves_no_run_folder_behind_and_costs_no_data(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # told before the data, which is not there either
    assert call("nobody", "nowhere") == 4
    assert "'nobody' is neither a run folder nor a shipped network" in " ".join(capsys.readouterr().err.split())
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3))
    (tmp_path / "other").mkdir()
    save_model(tmp_path / "other", network, load_trained(ZOO / "sprint").card)
    assert call("other", "digits") == 2
    assert "train.start: none of the weights of" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()
