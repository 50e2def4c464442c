"""Searches: what they find, and what is left where one is killed, interrupted or out of time."""

import json
import os
import signal
import threading
import time

import optuna
import pytest
from searching import CALL, begun, finished, study

from flyweight import recipes, rules
from flyweight.analysis import analyze
from flyweight.cli import app
from flyweight.networks.build import build
from flyweight.runs.card import load_trained
from flyweight.runs.folder import Run
from flyweight.search.storage import open_study

pytestmark = pytest.mark.timeout(280)


def search(capsys, *more):
    """A search in this process: (exit code, standard output, standard error)."""
    code = app.run_command([*CALL, "--out", "found", *map(str, more)])
    out, err = capsys.readouterr()
    assert "Traceback" not in err, err
    return code, out, err


def test_a_search_ends_with_a_front_of_legal_networks_that_train_takes(folder, capsys):
    call = ("--trials", 7, "--epochs", 3, "--set", "data.hold_out=90", "--set", "data.test_images=50")
    code, out, err = search(capsys, *call)
    assert code == 0, err
    kept = finished(study(folder / "found"))
    assert len(kept) == 7
    # of the first three one was trained three times as long
    assert sum(epochs == 3 for _, epochs, _ in kept) >= 1
    ruleset = rules.load_ruleset(folder / "rules.yaml")
    for name, epochs, _ in kept:
        trained = load_trained(folder / "found" / "trials" / f"{name}-{epochs}-epoch{'s' if epochs > 1 else ''}")
        assert rules.check(analyze(trained.model, (3, 32, 32)), ruleset, cures=False).passed
    winners = sorted((folder / "found" / "winners").glob("*.yaml"))
    assert winners
    assert (folder / "found" / "front.png").read_bytes().startswith(b"\x89PNG")
    for path in winners:
        assert f"flyweight train found/winners/{path.name}" in out
        plan = recipes.load(path)
        assert plan.name == plan.model.network == path.stem
        assert (plan.data.name, plan.train.epochs) == ("digits", 3)
        # of the data all, whatever the search held out or left out
        assert (plan.data.hold_out, plan.data.train_images, plan.data.test_images) == (0, None, None)
        facts = analyze(build(plan.model, trained.card.spec), (3, 32, 32))
        assert rules.check(facts, ruleset, cures=False).passed
        assert (path.stem, 3, 0) in kept
    # the same call again has nothing to do
    assert search(capsys, *call)[:2] == (0, out)
    assert finished(study(folder / "found")) == kept


def test_the_best_are_trained_with_other_seeds(folder, capsys):
    call = ("--trials", 6, "--epochs", 1, "--lengths", 1, "--seeds", 2)
    code, out, err = search(capsys, *call)
    assert code == 0, err
    kept = finished(study(folder / "found"))
    again = [name for name, _, seed in kept if seed == 1]
    # one in three, and nobody is compared with a network of ours
    assert len(kept) == 6
    assert len(again) == 1
    first, second = (kept[again[0], 1, seed][1][0] for seed in (0, 1))
    runs = [Run.open(folder / "found" / "trials" / f"{again[0]}-1-epoch{end}") for end in ("", "-seed-1")]
    assert [run.recipe().train.seed for run in runs] == [0, 1]
    assert [run.history()[-1]["test_accuracy"] for run in runs] == [first, second]
    # few images: both may get as many of them right
    losses = [run.history()[-1]["train_loss"] for run in runs]
    assert losses[0] != losses[1]
    assert f"{(first + second) / 2:.2f} %" in out or again[0] not in out
    assert f"{again[0]}, 1 epoch, seed 1: {second:.2f} %" in err
    # a search that was to have fewer seeds is another one
    assert search(capsys, *call[:-1], 1)[0] == 2


@pytest.mark.parametrize(("aim", "least"), [("memory", 1000), ("latency", 0.01)])
def test_other_aims(folder, capsys, aim, least):
    assert search(capsys, "--trials", 2, "--epochs", 1, "--minimise", aim)[0] == 0
    costs = [values[1] for _, values in finished(study(folder / "found")).values()]
    assert len(costs) == 2
    assert min(costs) > least


def saved(folder, epochs):
    """The run folder of a third trial that has saved some of its epochs, and not the last."""
    for run in map(Run, sorted((folder / "found" / "trials").glob("*"))):
        if not run.weights.exists() and 2 <= len(run.history()) < epochs:
            others = list((folder / "found" / "trials").glob("*/model.safetensors"))
            return run if len(others) == 2 else None
    return None


@pytest.mark.early
def test_a_killed_worker_loses_no_trial_and_the_next_goes_on_from_its_checkpoint(folder, capsys):
    call = ("--trials", 4, "--epochs", 12, "--lengths", 1)
    process = begun(folder, *call, "--out", "found")
    until = time.monotonic() + 200
    while (run := saved(folder, 12)) is None and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    before, history = finished(study(folder / "found")), run.history()
    assert len(before) == 2
    code, _, err = search(capsys, *call)
    assert code == 0
    assert "trial 2: its worker is gone, and it is taken up again" in err
    after = finished(study(folder / "found"))
    assert len(after) == 4
    assert before.items() <= after.items()
    # gone on with, not begun anew: the epochs before the kill are the same ones to the microsecond
    assert len(run.history()) == 12
    assert run.history()[: len(history)] == history
    assert len(run.read_environment()["resumed"]) == 1


@pytest.mark.early
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_worker_gives_its_trial_back(folder, capsys, sent, code):
    runs = []

    def interrupt():
        while not runs:
            time.sleep(0.002)
            runs.extend(filter(None, [saved(folder, 15)]))
        os.kill(os.getpid(), sent)

    call = ("--trials", 3, "--epochs", 15, "--lengths", 1)
    watch = threading.Thread(target=interrupt, daemon=True)
    watch.start()
    got, _, err = search(capsys, *call)
    watch.join()
    assert got == code
    assert "nothing is lost" in err
    states = [trial.state.name for trial in study(folder / "found").trials]
    assert states == ["COMPLETE", "COMPLETE", "WAITING"]
    before = runs[0].history()
    assert search(capsys, *call)[0] == 0
    assert len(finished(study(folder / "found"))) == 3
    assert runs[0].history()[: len(before)] == before
    assert len(runs[0].history()) == 15


def test_the_time_is_up_in_the_middle_of_a_training(folder, capsys):
    code, _, err = search(capsys, "--hours", 0.001, "--epochs", 5000, "--lengths", 1)
    assert code == 0
    assert [trial.state.name for trial in study(folder / "found").trials] == ["WAITING"]
    assert "0 trainings finished here" in err
    assert len(list((folder / "found").glob("trials/*/checkpoints/*.pt"))) == 1


def test_a_torn_line_of_the_journal_is_taken_away(tmp_path):
    open_study(None, tmp_path, "s", {"a": 1})
    journal = tmp_path / "trials.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + json.dumps({"op_code": 4, "cut": "off"})[:-5].encode())
    kept = open_study(None, tmp_path, "s", {"a": 1})
    kept.add_trial(optuna.create_trial(state=optuna.trial.TrialState.WAITING))
    assert len(open_study(None, tmp_path, "s", {"a": 1}).trials) == 1
    assert journal.read_bytes().startswith(whole)
    assert b"cut" not in journal.read_bytes()
