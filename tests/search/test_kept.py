"""What a search keeps and reads again: names, lines of the journal, trials whose workers died, checkpoints."""

import socket
from types import SimpleNamespace

import optuna
import pytest
import torch

from flyweight import recipes
from flyweight.errors import FlyweightError, RunError
from flyweight.networks.builtin import NETWORKS
from flyweight.runs.folder import Run
from flyweight.search.halving import Rung
from flyweight.search.space import Candidate, Space
from flyweight.search.storage import open_study
from flyweight.search.training import Trainer
from flyweight.search.trials import Taken, Trials

NANO = Candidate(NETWORKS["nano"])
CHOICES = Space(paddings=("same", "none")).choices((Rung(1), Rung(2, 1)))


@pytest.fixture
def trials(tmp_path):
    kept = Trials(open_study(None, tmp_path, "s", {"a": 1}), tmp_path)
    yield kept
    kept.close()


def added(trials, **attrs):
    """A trial as another program could write it."""
    values = {"name": "nano", "epochs": 1, "network": NANO.as_json(), **attrs}
    trials.study.add_trial(optuna.create_trial(state=optuna.trial.TrialState.WAITING, user_attrs=values))


@pytest.mark.parametrize(
    "attrs",
    [{"name": name} for name in ("../../x/victim", "/x", "..", ".x", "a\n", "a\\b", "", None, 5)]
    + [{"epochs": epochs} for epochs in ("/../../../x", 0, True, None)]
    + [{"seed": seed} for seed in ("/../../../x", -1, True, None)],
)
def test_a_name_that_no_search_writes_never_becomes_a_path(trials, attrs):
    added(trials, **attrs)
    with pytest.raises(FlyweightError, match="which no search writes") as told:
        trials.take(None)
    assert "\n" not in str(told.value)
    identity = trials.all()[0]._trial_id
    trials.storage.set_trial_state_values(identity, optuna.trial.TrialState.COMPLETE, [1.0, 1.0])
    with pytest.raises(FlyweightError, match="which no search writes"):
        trials.results()


def test_names_that_a_search_writes(trials):
    trials.add("r\u00e8gles-1.2_x-0a1b", NANO, Rung(1), CHOICES)
    trials.add("nano", NANO, Rung(2, 1), CHOICES)
    assert trials.take(None).folder == "r\u00e8gles-1.2_x-0a1b-1-epoch"
    assert trials.take(None).folder == "nano-2-epochs-seed-1"


@pytest.mark.parametrize("line", [b"{not json}", b"[]", b"{}", b'{"op_code": 4}', b"\xff\xfe"])
def test_a_damaged_line_of_the_journal_is_told(tmp_path, line):
    open_study(None, tmp_path, "s", {"a": 1})
    journal = tmp_path / "trials.journal"
    first, *others = journal.read_bytes().splitlines(keepends=True)
    content = b"".join([first, line + b"\n", *others])
    journal.write_bytes(content)
    with pytest.raises(RunError, match="trials.journal is damaged: "):
        open_study(None, tmp_path, "s", {"a": 1})
    assert journal.read_bytes() == content


def test_a_flipped_digit_in_the_journal_is_told(trials, tmp_path):
    added(trials, parameters=1234)
    journal = tmp_path / "trials.journal"
    content = journal.read_bytes()
    assert content.count(b"1234") == 1
    journal.write_bytes(content.replace(b"1234", b"1284"))
    with pytest.raises(RunError, match="trials.journal is damaged: a line does not match its checksum"):
        open_study(None, tmp_path, "s", {"a": 1})
    journal.write_bytes(content)
    assert open_study(None, tmp_path, "s", {"a": 1}).trials[0].user_attrs["parameters"] == 1234


def test_half_a_line_of_the_journal_is_told(trials, tmp_path):
    added(trials)
    journal, told = tmp_path / "trials.journal", []
    journal.write_bytes(journal.read_bytes()[:-1])
    study = open_study(None, tmp_path, "s", {"a": 1}, told.append)
    study.set_user_attr("b", 1)
    assert told == [f"{journal} ended in the middle of a line, which is left out"]
    assert study.trials == []


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff"])
def test_a_damaged_record_is_told(tmp_path, content):
    open_study(None, tmp_path, "s", {"a": 1})
    (tmp_path / "search.json").write_bytes(content)
    with pytest.raises(RunError, match="search.json is damaged: "):
        open_study(None, tmp_path, "s", {"a": 1})


def test_a_search_of_before_the_network_to_beat_and_seeds_could_be_named_goes_on(tmp_path):
    open_study(None, tmp_path, "s", {"a": 1})
    open_study(None, tmp_path, "s", {"a": 1, "--reference": "sprint", "--seeds": 1})
    with pytest.raises(FlyweightError, match=r"\(--seeds differ\)"):
        open_study(None, tmp_path, "s", {"a": 1, "--reference": "sprint", "--seeds": 3})
    with pytest.raises(FlyweightError, match=r"\(a differ\)"):
        open_study(None, tmp_path, "s", {"a": 2, "--reference": "sprint"})


def test_the_same_database_by_another_password_is_the_same_search(tmp_path):
    for secret in ("one", "two"):
        with pytest.raises(FlyweightError, match="cannot be used"):
            open_study(f"postgresql://me:{secret}@127.0.0.1:9/a", tmp_path, "s", {"a": 1})
    open_study(None, tmp_path, "s", {"a": 1})
    with pytest.raises(FlyweightError, match=r"another search \(--storage differ\)"):
        open_study("postgresql://me:one@127.0.0.1:9/a", tmp_path, "s", {"a": 1})


def test_no_file_but_a_lock_of_this_search_is_taken_for_one(trials, tmp_path, monkeypatch):
    """A journal may be somebody else's; older versions of the lock's library empty what they lock."""
    theirs = tmp_path / "theirs.lock"
    theirs.write_text("theirs")
    (tmp_path / "workers" / "link.lock").symlink_to(theirs)
    added(trials)
    taken = trials.take(None)
    opened = []
    monkeypatch.setattr("flyweight.search.trials.FileLock", lambda place, **_: opened.append(place))
    for place in (theirs, tmp_path / "workers" / "link.lock", "..", "", "/"):
        trials.storage.set_trial_user_attr(taken.identity, "worker", f"{socket.gethostname()}:{place}")
        assert trials.requeue() == []
    assert opened == []


@pytest.mark.parametrize("name", ["trials", "workers", "winners", "trials.journal", "trials.journal.lock"])
def test_nothing_is_written_through_a_link(tmp_path, name):
    (tmp_path / "theirs").write_text("theirs")
    out = tmp_path / "search"
    out.mkdir()
    (out / name).symlink_to(tmp_path / "theirs")
    with pytest.raises(RunError, match=f"{name} is a link to .*/theirs: .* so remove the link$"):
        open_study(None, out, "s", {"a": 1})
    assert (tmp_path / "theirs").read_text() == "theirs"
    assert [path.name for path in out.iterdir()] == [name]


def test_a_trial_given_up_is_not_told_as_taken_up_again(trials):
    for name, deaths in (("a", 0), ("b", 2)):
        added(trials, name=name, deaths=deaths)
        taken = trials.take(None)
        gone = trials._place.with_name(f"{name}.lock")
        gone.touch()
        trials.storage.set_trial_user_attr(taken.identity, "worker", f"{socket.gethostname()}:{gone}")
    assert trials.requeue() == [(0, None), (1, "3 workers have died in it")]
    assert [trial.state.name for trial in trials.all()] == ["WAITING", "FAIL"]
    assert trials.requeue() == []


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A trainer, a trial and its run folder with a checkpoint; a training is over at once."""
    monkeypatch.setattr("flyweight.training.loop.fit", lambda *_: SimpleNamespace(history=[]))
    monkeypatch.setattr("flyweight.search.training.build", lambda *_: torch.nn.Identity())
    trainer = Trainer(recipes.load("sprint"), SimpleNamespace(spec=None), tmp_path, None)
    trial = Taken(0, 0, "nano", NANO, Rung(1), {})
    trainer.train(trial, None)
    run = Run(tmp_path / "trials" / trial.folder)
    run.save_checkpoint({"epoch": 1}, 1, 0, keep=1)
    return trainer, trial, run


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_checkpoint_that_cannot_be_read_for_now_is_kept(trained, monkeypatch, error):
    trainer, trial, run = trained

    def refuse(*_):
        raise error

    monkeypatch.setattr("flyweight.runs.folder.read_bytes", refuse)
    with pytest.raises(RunError, match="cannot read"):
        trainer.train(trial, None)
    monkeypatch.undo()
    assert run.load_checkpoint()[0] == {"epoch": 1}


def test_a_checkpoint_is_kept_where_memory_is_short(trained, monkeypatch):
    trainer, trial, run = trained

    def refuse(*_, **__):
        raise MemoryError

    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(MemoryError):
        trainer.train(trial, None)
    monkeypatch.undo()
    assert run.load_checkpoint()[0] == {"epoch": 1}


def test_a_damaged_trial_is_set_aside_and_begins_anew(trained):
    trainer, trial, run = trained
    told = []
    for name in ("nano-1-epoch-damaged", "nano-1-epoch-damaged-2"):
        run.save_checkpoint({"epoch": 1}, 1, 0, keep=1)
        next(run.checkpoints.iterdir()).write_bytes(b"damaged")
        trainer.train(trial, SimpleNamespace(note=told.append))
        kept = run.folder.with_name(name)
        assert [file.read_bytes() for file in (kept / "checkpoints").iterdir()] == [b"damaged"]
        assert run.config.is_file()
        assert not run.checkpoints.exists()
        assert str(kept) in told[-1]
