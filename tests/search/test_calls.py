"""Calls that go wrong: one line each, the documented code, and nothing left behind."""

import sys

import pytest
from searching import CALL

from flyweight.cli import app
from flyweight.data import digits
from flyweight.networks.custom import instance
from flyweight.runs.card import Card, save_model


def refused(capsys, code, *call):
    """The last line of what it said; nothing came to standard output, and the search has no folder."""
    assert app.run_command(call) == code
    out, err = capsys.readouterr()
    assert (out, "Traceback" in err) == ("", False)
    return err.strip().splitlines()[-1]


def with_(*changes):
    """The usual call with other values of its options."""
    call = list(CALL)
    for option, value in zip(changes[::2], changes[1::2], strict=True):
        if option in call:
            call[call.index(option) + 1] = value
        else:
            call += [option, value]
    return [*call, "--trials", "1", "--out", "found"]


@pytest.mark.parametrize(
    ("call", "code", "told"),
    [
        (["search", "brief"], 2, "say how long to search: --trials 100, --hours 0.5, or both"),
        (["search", "brief", "--trials", "0"], 2, "--trials 0: it must be more than 0"),
        (["search", "brief", "--hours", "nan"], 2, "--hours nan: it must be more than 0"),
        (["search", "breif", "--trials", "1"], 2, "no rule set 'breif' (did you mean 'brief'?)"),
        (["search", "brief", "--trials", "1", "--recipe", "sprnt"], 2, "no recipe 'sprnt' (did you mean 'sprint'?)"),
        (["search", "brief", "--trials", "1", "--data", "nowhere/"], 3, "nowhere does not exist: name"),
        (with_("--space", "none.yaml"), 2, "cannot read none.yaml"),
        (with_("--hold-out", "5000"), 2, "cannot hold out 5000 of 1437 training images"),
        (with_("--minimise", "colour"), 2, "colour"),
        (
            with_("--reference", "sprint"),
            2,
            "--reference sprint: of the built-in networks these obey the rules",
        ),
        ([*with_(), "--set", "model.dropout=0.5"], 2, "--set model.dropout=0.5: a search draws the networks itself"),
        ([*with_(), "--set", "model={network: nano}"], 2, "a search draws the networks itself"),
        ([*with_(), "--set", "rules=null"], 2, "--set rules=null: name the rules first"),
        (with_("--storage", "nonsense"), 2, "--storage: that is no address of a database"),
        (with_("--storage", "oracle://x"), 2, "--storage oracle://x cannot be used"),
    ],
)
def test_a_wrong_call_is_told_in_a_line(folder, capsys, call, code, told):
    line = refused(capsys, code, *call)
    assert line.startswith("flyweight: ")
    assert told in line
    assert not (folder / "searches").exists()


def test_without_optuna_it_says_what_to_install(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "flyweight.search.storage", raising=False)
    line = refused(capsys, 2, *with_())
    assert line == "flyweight: flyweight search needs optuna: pip install 'flyweight[search]'"


def test_a_recipe_whose_dropout_does_not_count_is_told_so(folder, capsys):
    (folder / "mine.yaml").write_text("{name: mine, model: {network: sprint, dropout: 0.2}}", encoding="utf-8")
    call = ("search", "rules.yaml", "--data", "digits", "--recipe", "mine.yaml", "--trials", "1", "--hold-out", "5000")
    assert app.run_command(call) == 2
    told = capsys.readouterr().err
    assert "note: the network of mine.yaml, its dropout and phases do not count" in told


def test_torchrun_is_told_how_a_search_is_shared(folder, capsys, monkeypatch):
    for name, value in {"LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert "start the same call several times, without torchrun" in refused(capsys, 2, *with_())


def test_a_recipe_that_breaks_a_rule_whatever_the_network(folder, capsys):
    call = ("search", "brief", "--data", "digits", "--recipe", "sprint", "--trials", "1", "--set", "augment.flip=0")
    assert "the recipe breaks 'R6 flip, shift-scale-rotate, coarse dropout'" in refused(capsys, 2, *call)


def test_a_space_without_a_legal_network(folder, capsys, monkeypatch):
    monkeypatch.setattr("flyweight.search.propose.STARTS", 2)
    (folder / "space.yaml").write_text("{widths: [512], kinds: [dense], rows: [2]}", encoding="utf-8")
    line = refused(capsys, 2, *with_())
    assert "the space holds no legal network that was found" in line
    assert "light: " in line
    assert not (folder / "found").exists()


def test_the_folder_of_another_search(folder, capsys):
    assert app.run_command([*CALL, "--trials", "1", "--epochs", "1", "--out", "found"]) == 0
    capsys.readouterr()
    kept = sorted(path for path in (folder / "found").rglob("*") if path.suffix != ".lock")
    before = (folder / "found" / "trials.journal").read_bytes()
    line = refused(capsys, 2, *CALL, "--trials", "1", "--epochs", "2", "--minimise", "memory", "--out", "found")
    assert "found is that of another search (--minimise, lengths, recipe differ)" in line
    assert sorted(path for path in (folder / "found").rglob("*") if path.suffix != ".lock") == kept
    assert (folder / "found" / "trials.journal").read_bytes() == before
    # another study would take the run folders of this one for its own
    line = refused(capsys, 2, *CALL, "--trials", "1", "--epochs", "1", "--out", "found", "--study", "other")
    assert "found is that of another search (--study differ)" in line
    assert (folder / "found" / "trials.journal").read_bytes() == before
    record = (folder / "found" / "search.json").read_bytes()
    (folder / "found" / "search.json").write_bytes(record[:-20])
    line = refused(capsys, 4, *CALL, "--trials", "1", "--epochs", "1", "--out", "found")
    assert "search.json is damaged: " in line


def test_the_code_of_a_teacher_is_allowed_as_in_a_training(folder, capsys):
    """It is of other data, so that the call ends once the code has run."""
    file = folder / "own.py"
    file.write_text(
        "from torch import nn\n"
        "class Own(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(3072, 10))\n"
    )
    card = Card(
        network=f"{file}:Own", dropout=None, classes=digits.CLASSES, input_shape=(3, 32, 32), mean=(0.5,) * 3,
        std=(0.2,) * 3, data="digits", fingerprint="0", epochs=1,
    )  # fmt: skip
    (folder / "teacher").mkdir()
    save_model(folder / "teacher", instance(card.network, 10), card)
    call = [*with_(), "--set", "train.teacher=teacher"]
    assert "not allowed" in refused(capsys, 4, *call)
    assert "was trained on other data" in refused(capsys, 2, *call, "--allow-code")
