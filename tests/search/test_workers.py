"""Searches as processes: what they find, and what is left where one is killed."""

import json
import signal
import time

import pytest
from searching import begun, ended, finished, place, study

from flyweight import recipes, rules
from flyweight.analysis import analyze
from flyweight.networks.build import build
from flyweight.runs.card import load_trained
from flyweight.runs.folder import Run

pytestmark = pytest.mark.timeout(280)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FLYWEIGHT_CACHE", str(tmp_path / "cache"))
    return place(tmp_path)


def test_a_search_ends_with_a_front_of_legal_networks_that_train_takes(folder):
    code, out, err = ended(begun(folder, "--trials", 7, "--epochs", 3, "--out", "found"))
    assert code == 0, err
    kept = finished(study(folder / "found"))
    assert len(kept) == 7
    # of the first three one was trained three times as long
    assert sorted(epochs for _, epochs in kept).count(3) == 2
    ruleset = rules.load_ruleset(folder / "rules.yaml")
    for name, epochs in kept:
        trained = load_trained(folder / "found" / "trials" / f"{name}-{epochs}-epoch{'s' if epochs > 1 else ''}")
        assert rules.check(analyze(trained.model, (3, 32, 32)), ruleset).passed
    winners = sorted((folder / "found" / "winners").glob("*.yaml"))
    assert winners
    assert (folder / "found" / "front.png").read_bytes().startswith(b"\x89PNG")
    for path in winners:
        assert f"flyweight train found/winners/{path.name}" in out
        plan = recipes.load(path)
        assert plan.name == plan.model.network == path.stem
        assert (plan.data.hold_out, plan.data.name, plan.train.epochs) == (0, "digits", 3)
        facts = analyze(build(plan.model, trained.card.spec), (3, 32, 32))
        assert rules.check(facts, ruleset).passed
        assert (path.stem, 3) in kept
    # the same call again has nothing to do
    code, again, _ = ended(begun(folder, "--trials", 7, "--epochs", 3, "--out", "found"))
    assert (code, again) == (0, out)
    assert finished(study(folder / "found")) == kept


def begun_and_saved(folder, epochs):
    """A worker in its third trial, after some epochs of it: the process, what was finished, the trial's run folder."""
    process = begun(folder, "--trials", 4, "--epochs", epochs, "--lengths", 1, "--out", "found")
    until = time.monotonic() + 200
    while time.monotonic() < until:
        time.sleep(0.02)
        runs = sorted((folder / "found" / "trials").glob("*"), key=lambda run: run.stat().st_ctime)
        if len(runs) == 3 and len(Run(runs[-1]).history()) >= 2 and not Run(runs[-1]).weights.exists():
            break
    assert process.poll() is None, process.communicate()
    return process, Run(max(runs, key=lambda run: (not Run(run).weights.exists(), run.stat().st_ctime)))


def test_a_killed_worker_loses_no_trial_and_the_next_goes_on_from_its_checkpoint(folder):
    process, run = begun_and_saved(folder, 12)
    process.kill()
    process.communicate()
    before, history = finished(study(folder / "found")), run.history()
    assert len(before) == 2
    assert 2 <= len(history) < 12
    code, _, err = ended(begun(folder, "--trials", 4, "--epochs", 12, "--lengths", 1, "--out", "found"))
    assert code == 0
    assert "trial 2: its worker is gone, and it is taken up again" in err
    after = finished(study(folder / "found"))
    assert len(after) == 4
    assert before.items() <= after.items()
    # gone on with, not begun anew: the epochs before the kill are the same ones to the microsecond
    assert len(run.history()) == 12
    assert run.history()[: len(history)] == history
    assert len(run.read_environment()["resumed"]) == 1


def test_an_interrupted_worker_gives_its_trial_back(folder):
    process, run = begun_and_saved(folder, 12)
    process.send_signal(signal.SIGTERM)
    code, _, err = ended(process)
    assert code == 143
    assert "nothing is lost" in err
    states = [trial.state.name for trial in study(folder / "found").trials]
    assert states == ["COMPLETE", "COMPLETE", "WAITING"]
    epochs = len(run.history())
    assert ended(begun(folder, "--trials", 3, "--epochs", 12, "--lengths", 1, "--out", "found"))[0] == 0
    assert len(finished(study(folder / "found"))) == 3
    assert len(run.history()) == 12
    assert epochs >= 2


def test_the_time_is_up_in_the_middle_of_a_training(folder):
    code, _, err = ended(begun(folder, "--hours", 0.004, "--epochs", 5000, "--lengths", 1, "--out", "found"))
    assert code == 0
    assert [trial.state.name for trial in study(folder / "found").trials] == ["WAITING"]
    assert "0 trainings finished here" in err
    assert len(list((folder / "found").glob("trials/*/checkpoints/*.pt"))) == 1


def test_a_torn_line_of_the_journal_is_taken_away(folder):
    assert ended(begun(folder, "--trials", 1, "--epochs", 1, "--out", "found"))[0] == 0
    journal = folder / "found" / "trials.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + json.dumps({"op_code": 4, "cut": "off"})[:-5].encode())
    assert ended(begun(folder, "--trials", 2, "--epochs", 1, "--out", "found"))[0] == 0
    assert len(finished(study(folder / "found"))) == 2
    assert journal.read_bytes().startswith(whole)
