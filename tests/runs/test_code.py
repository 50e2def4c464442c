"""Code that others send: a run folder is data, and what runs is the copy that its user allowed."""

import itertools
import json
import os
import shutil
import sys
import warnings
from pathlib import Path

import pytest
from conftest import Silent, a_socket
from PIL import Image

import flyweight
from flyweight.cli.app import run_command
from flyweight.errors import RunError
from flyweight.networks import allowed, code
from flyweight.networks.reference import parse
from flyweight.runs import code as kept
from flyweight.runs.folder import Run
from flyweight.search.training import Trainer

NET = """\
from pathlib import Path
from torch import nn
from helping import width
class Net(nn.Sequential):
    def __init__(self, classes, add=0):
        Path({canary!r}).touch()
        super().__init__(nn.Conv2d(3, width() + add, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(width() + add, classes))
"""
RECIPE = """\
name: mine
model: {network: 'mine.py:Net'}
rules: null
data: {name: digits, train_images: 200, test_images: 20}
train: {epochs: 1, batch_size: 50, workers: 0, precision: float32}
"""


@pytest.fixture
def command(own_places, tmp_path, monkeypatch, capsys):
    """Calls the command line in a folder of its own, as a user who has allowed nothing yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLYWEIGHT_CACHE", str(tmp_path / "cache"))

    def call(*arguments):
        exit_code = run_command(list(arguments))
        said = capsys.readouterr()
        return exit_code, said.out, said.err

    return call


@pytest.fixture
def stranger(monkeypatch, tmp_path):
    """Becomes another user, who has allowed nothing."""

    def become(name="stranger"):
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / name))
        monkeypatch.setattr(allowed, "_HERE", set())

    return become


@pytest.fixture
def trained(command, tmp_path):
    """A run of the user's own network in `run`, its file in `project`; the canary is what running that leaves."""
    canary, project = tmp_path / "canary", tmp_path / "project"
    project.mkdir()
    (project / "mine.py").write_text(NET.format(canary=str(canary)))
    (project / "helping.py").write_text("def width():\n    return 8\n")
    (project / "mine.yaml").write_text(RECIPE)
    exit_code, _, err = command("train", "project/mine.yaml", "--out", "run", "--no-report")
    assert exit_code == 0, err
    canary.unlink()
    Image.new("RGB", (8, 8)).save(tmp_path / "cat.png")
    return canary


def test_a_run_keeps_its_networks_files_with_their_hashes(trained, tmp_path):
    run = tmp_path / "run"
    record = json.loads((run / "code.json").read_text())
    assert record["entry"] == "mine.py"
    assert sorted(record["files"]) == ["helping.py", "mine.py"]
    for name in record["files"]:
        assert (run / "code" / name).read_bytes() == (tmp_path / "project" / name).read_bytes()


CALLS = [
    ("predict", "run", "cat.png"), ("evaluate", "run"), ("report", "run"), ("export", "run", "--to", "out"),
    ("demo", "run", "--port", "0"), ("train", "--resume", "run", "--no-report"),
]  # fmt: skip


@pytest.mark.parametrize("named", ["its copy", "a whole path", "a relative path"])
def test_a_received_run_runs_nothing_until_its_user_allows_it(trained, command, stranger, tmp_path, named):
    run = tmp_path / "run"
    if named != "its copy":  # of an earlier version, or with a record that somebody left out
        shutil.rmtree(run / "code")
        (run / "code.json").unlink()
    if named == "a relative path":
        whole = str(tmp_path / "project" / "mine.py")
        content = json.loads((run / "config.json").read_text().replace(whole, "project/mine.py"))
        content.pop("checksum", None)
        (run / "config.json").write_text(json.dumps(content))
        (run / "config.yaml").write_text((run / "config.yaml").read_text().replace(whole, "project/mine.py"))
        assert whole not in (run / "config.json").read_text() + (run / "config.yaml").read_text()
    stranger()
    for call in CALLS:
        exit_code, out, err = command(*call)
        lines = [line for line in err.splitlines() if "allow" in line]
        assert (exit_code, out, len(lines)) == (4, "", 1), call
        assert "mine.py" in lines[0]
        assert lines[0].endswith("read it, and allow it with --allow-code")
        assert not trained.exists(), call
    with pytest.raises(RunError, match="not allowed yet"):
        flyweight.load("run")
    assert not trained.exists()
    assert command("predict", "run", "cat.png", "--allow-code")[0] == 0
    assert trained.exists()
    assert command("predict", "run", "cat.png")[0] == 0  # it is remembered
    assert flyweight.load("run").predict("cat.png")[0].error is None


def test_all_commands_take_the_word_of_their_user(trained, command, stranger, tmp_path):
    for number, call in enumerate(CALLS):
        if call[0] != "demo":  # which serves until Ctrl-C
            stranger(f"user{number}")
            exit_code, _, err = command(*call, "--allow-code")
            assert exit_code == 0, err


def test_what_is_allowed_is_these_bytes_and_this_call(trained, command, stranger, tmp_path):
    run, theirs = tmp_path / "run", tmp_path / "theirs"
    shutil.copytree(run, theirs)
    (theirs / "code" / "__pycache__").mkdir()
    (theirs / "code" / "torch.py").write_text("1 / 0\n")  # not on record: it is never there when the copy runs
    (theirs / "__init__.py").write_text("1 / 0\n")
    assert command("predict", "theirs", "cat.png")[0] == 0
    card = json.loads((theirs / "config.json").read_text())
    card.pop("checksum", None)
    (theirs / "config.json").write_text(json.dumps(card | {"network": card["network"] + "(add=1)"}))
    assert "not allowed yet" in command("predict", "theirs", "cat.png")[2]
    shutil.copy(run / "config.json", theirs)
    (theirs / "code" / "helping.py").write_text("def width():\n    1 / 0\n")
    assert "helping.py is damaged: its SHA-256" in command("predict", "theirs", "cat.png")[2]
    record = json.loads((theirs / "code.json").read_text())
    record["files"] = code.hashes({name: (theirs / "code" / name).read_bytes() for name in record["files"]})
    (theirs / "code.json").write_text(json.dumps(record))
    assert "not allowed yet" in command("predict", "theirs", "cat.png")[2]


RECORDS = [
    "", "[]", '{"entry": "../x.py", "files": {"../x.py": ""}}', '{"entry": "/x.py", "files": {"/x.py": ""}}',
    '{"entry": "a.py", "files": {}}', '{"entry": "", "files": {}}', '{"entry": "mine.py", "files": {"mine.py": ""}}',
]  # fmt: skip


def test_a_damaged_record_is_told_in_one_line(trained, command, tmp_path):
    for record in RECORDS:
        (tmp_path / "run" / "code.json").write_text(record)
        exit_code, _, err = command("predict", "run", "cat.png")
        assert (exit_code, len(err.splitlines()), trained.exists()) == (4, 1, False)
        assert "damaged" in err, record


def test_a_changed_original_is_told_and_the_copy_runs(trained, command, tmp_path):
    before = command("evaluate", "run", "--json")
    assert "changed" not in before[2]
    (tmp_path / "project" / "helping.py").write_text("def width():\n    return 9\n")
    after = command("evaluate", "run", "--json")
    assert after[:2] == before[:2]
    told = [line for line in after[2].splitlines() if "has changed since" in line]
    assert len(told) == 1
    assert "its copy of then is run, run/code" in told[0]
    with pytest.warns(UserWarning, match="has changed since"):
        flyweight.load("run")
    (tmp_path / "project" / "helping.py").unlink()
    (tmp_path / "project" / "mine.py").unlink()
    assert command("evaluate", "run", "--json")[:2] == before[:2]


def test_a_resumed_run_goes_on_with_its_copy(trained, command, tmp_path):
    run = tmp_path / "run"
    weights = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").unlink()
    (tmp_path / "project" / "helping.py").write_text("def width():\n    return 9\n")
    exit_code, _, err = command("train", "--resume", "run", "--no-report")
    assert exit_code == 0, err
    assert "has changed since" in err
    assert (run / "model.safetensors").read_bytes() == weights


def test_a_module_is_code_as_well(command, stranger, tmp_path, monkeypatch):
    """One of the working folder is a file; an installed one is its call: what is there was installed by its user."""
    from flyweight.recipes.sections import ModelConfig

    (tmp_path / "evil.py").write_text("open('canary', 'w')\n")
    stranger()
    for network in ("evil:Net", "torch.nn:Linear(3, 3)", "rich.console:Console()"):
        with pytest.raises(RunError, match="not allowed yet"):
            kept.runnable(tmp_path, ModelConfig(network=network))
    assert not (tmp_path / "canary").exists()
    installed = ModelConfig(network="torch.nn:Linear(3, 3)")
    kept.keep(tmp_path, code.gathered(installed.network))
    lines = []
    assert kept.runnable(tmp_path, installed, lines.append) == installed
    assert lines == []
    assert (tmp_path / "code").exists() is False
    # a folder that shadows it is not what was allowed
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("open('canary', 'w')\n")
    with pytest.raises(RunError, match="another module"):
        kept.runnable(tmp_path, installed)


def test_packages_and_what_they_import_are_gathered(tmp_path):
    (tmp_path / "pack" / "inner").mkdir(parents=True)
    for name in ("pack/__init__.py", "pack/inner/__init__.py", "pack/layers.py", "unused.py"):
        (tmp_path / name).write_text("")
    (tmp_path / "pack" / "inner" / "net.py").write_text(
        "from torch import nn\nfrom ..layers import thing\nfrom . import other\nclass Net(nn.Linear): pass\n"
    )
    (tmp_path / "pack" / "inner" / "other.py").write_text("import pack.last\n")
    (tmp_path / "pack" / "last.py").write_text("import this is no python\n")
    found = code.gathered(f"{tmp_path}/pack/inner/net.py:Net(3, 3)")
    assert (found.entry, found.root) == ("pack/inner/net.py", tmp_path)
    assert sorted(found.files) == [
        "pack/__init__.py", "pack/inner/__init__.py", "pack/inner/net.py", "pack/inner/other.py", "pack/last.py",
        "pack/layers.py",
    ]  # fmt: skip
    assert parse(found.placed(found.root)).source.endswith("/code/pack/inner/net.py")


def test_a_network_that_its_copy_cannot_build_is_told_before_the_training(command, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from pathlib import Path\nfrom torch import nn\n"
        "class Net(nn.Sequential):\n    def __init__(self):\n"
        "        width = int(Path(__file__).with_name('width.txt').read_text())\n"
        "        super().__init__(nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    (tmp_path / "width.txt").write_text("10")
    (tmp_path / "mine.yaml").write_text(RECIPE)
    exit_code, _, err = command("train", "mine.yaml", "--out", "run")
    assert exit_code == 2
    assert "FileNotFoundError" in err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_a_trial_of_a_received_search_runs_nothing(trained, stranger, striped, recipe, tmp_path):
    stranger()
    with pytest.raises(RunError, match="not allowed yet"):
        Trainer(recipe, striped, tmp_path, None)._fit(Run(tmp_path / "run"), Silent())
    assert not trained.exists()


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, a_socket])
def test_a_record_or_a_copy_that_is_no_file_is_one_line(trained, command, tmp_path, make):
    for place in (tmp_path / "run" / "code" / "helping.py", tmp_path / "run" / "code.json"):
        place.unlink()
        make(place)
        exit_code, _, err = command("predict", "run", "cat.png")
        assert (exit_code, len(err.splitlines()), trained.exists()) == (4, 1, False)
        assert "it is not a regular file" in err


def killed(number, job):
    """Whether a process that does the job and is killed at such an action on files has not lived to its end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of torch's are of no use to the child
        child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] != 0
    count = 0

    def seen(event, _):
        nonlocal count
        count += event == "open" or event.startswith(("os.", "ctypes.dl"))
        if count == number:
            os.kill(os.getpid(), 9)

    try:
        sys.addaudithook(seen)
        job()
    finally:
        os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9")
@pytest.mark.parametrize("exchange", [True, False], ids=["at one stroke", "where folders cannot be exchanged"])
def test_a_kill_leaves_the_old_copy_with_its_record_or_the_new_one(tmp_path, monkeypatch, exchange):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # a kill is no power cut
    if not exchange:
        monkeypatch.setattr(kept, "exchanged", lambda *_: False)
    versions = []
    for number in (1, 2):
        (tmp_path / "mine.py").write_text(f"import helping\nclass Net: number = {number}\n")
        (tmp_path / "helping.py").write_text(f"number = {number}\n")
        versions.append(code.gathered(f"{tmp_path}/mine.py:Net"))
    network, left = versions[0].reference.text, []
    for number in itertools.count(1, 2):  # every second action on files
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        kept.keep(folder, versions[0])
        dead = killed(number, lambda folder=folder: kept.keep(folder, versions[1]))
        found = kept._kept(folder, network)
        assert found.files in [version.files for version in versions]
        left.append(found.files == versions[1].files)
        kept.sweep(folder)
        assert kept._kept(folder, network).files == found.files
        # a half-written record goes with a run's other files
        there = {path.name for path in folder.iterdir() if not path.name.startswith(".code.json.")}
        assert there == {"code", "code.json"}
        kept.keep(folder, versions[1])
        assert kept._kept(folder, network).files == versions[1].files
        assert {path.name for path in (folder / "code").iterdir()} == {"mine.py", "helping.py"}
        shutil.rmtree(folder)
        if not dead:
            break
    # first the old one, then the new one, and both of them after a kill
    assert left == sorted(left)
    assert left[0] is False
    assert left[-2] is True
    assert number > 20


def test_a_damaged_copy_is_told_with_what_helps(trained, command, tmp_path):
    run, wanted = tmp_path / "run", (tmp_path / "project" / "helping.py").read_bytes()
    (run / "code" / "helping.py").write_bytes(wanted + b"\n")
    exit_code, _, err = command("predict", "run", "cat.png")
    assert (exit_code, len(err.splitlines())) == (4, 1)
    assert "code/helping.py is damaged: its SHA-256 is not the one in code.json; take it from a backup, or" in err
    assert "train --resume --allow-code keeps the network's file as it is now" in err
    exit_code, _, err = command("train", "--resume", "run", "--allow-code", "--no-report")
    assert exit_code == 0, err
    assert (run / "code" / "helping.py").read_bytes() == wanted
    assert command("predict", "run", "cat.png")[0] == 0
