import errno
import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import a_socket

from flyweight import files, recipes
from flyweight.errors import FlyweightError, RunError
from flyweight.machine import environment
from flyweight.runs.folder import COLUMNS, DamagedError, Run


def state(number):
    return {"weights": torch.full((1000,), float(number)), "epoch": number}


def test_a_run_folder_keeps_its_recipe(tmp_path):
    recipe = recipes.load("sprint", ["train.seed=7"])
    run = Run.create(tmp_path / "a" / "b", recipe)
    assert Run.open(run.folder).recipe() == recipe


def test_the_default_folder_has_the_recipes_name_and_is_never_reused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = recipes.load("sprint").model_copy(update={"name": "../my $recipe"})
    first, second = Run.create(None, recipe), Run.create(None, recipe)
    assert first.folder != second.folder
    assert first.folder.parent == Path("runs")
    assert first.folder.name.startswith(".._my_recipe-")


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FlyweightError, match="not empty.*--resume.*--out"):
        Run.create(tmp_path, recipes.load("sprint"))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_start_that_was_killed_before_its_recipe_was_there_is_no_obstacle(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".config.yaml.abcd1234.unfinished").write_text("name:")
    (folder / ".lock").touch()
    run = Run.create(folder, recipes.load("sprint"))
    with run.locked():
        assert sorted(path.name for path in folder.iterdir()) == [".lock", "config.yaml"]


def test_a_folder_that_is_no_run_says_so(tmp_path):
    with pytest.raises(RunError, match="not a run folder: it has no config.yaml"):
        Run.open(tmp_path)


def test_the_newest_checkpoint_counts_and_old_ones_go(tmp_path):
    run = Run(tmp_path)
    for number in range(12):
        run.save_checkpoint(state(number), number, 0, keep=2)
    run.save_checkpoint(state(99), 11, 5, keep=2)
    loaded, damaged = run.load_checkpoint()
    assert loaded["epoch"] == 99
    assert damaged == []
    assert [file.name for file in sorted(run.checkpoints.iterdir())] == [
        "epoch-0011-step-000000.pt",
        "epoch-0011-step-000005.pt",
    ]


def test_the_newest_is_so_by_its_number_and_not_by_its_name(tmp_path):
    run = Run(tmp_path)
    for number in (9998, 9999, 10000, 10001):
        run.save_checkpoint(state(number), number, 0, keep=2)
    assert run.load_checkpoint()[0]["epoch"] == 10001
    assert {file.stem[:11] for file in run.checkpoints.iterdir()} == {"epoch-10000", "epoch-10001"}


@pytest.mark.parametrize("line", ["5", "[]", "{"])
def test_a_history_of_something_else_is_damaged(tmp_path, line):
    run = Run(tmp_path)
    run.history_jsonl.write_text(f'{{"epoch": 1}}\n{line}\n')
    with pytest.raises(RunError, match="damaged in line 2"):
        run.history()


@pytest.mark.parametrize("position", [0, 100, 2000, -33, -1])
def test_a_flipped_bit_is_noticed_and_the_checkpoint_before_it_is_used(tmp_path, position):
    """torch.load itself notices none of 200 flipped bits."""
    run = Run(tmp_path)
    run.save_checkpoint(state(1), 1, 0, keep=2)
    run.save_checkpoint(state(2), 2, 0, keep=2)
    newest = sorted(run.checkpoints.iterdir())[-1]
    content = bytearray(newest.read_bytes())
    content[position] ^= 1
    newest.write_bytes(content)
    loaded, damaged = run.load_checkpoint()
    assert loaded["epoch"] == 1
    assert len(damaged) == 1
    assert newest.name in damaged[0]


def test_when_no_checkpoint_is_whole_the_run_stops(tmp_path):
    run = Run(tmp_path)
    run.save_checkpoint(state(1), 1, 0, keep=2)
    file = next(run.checkpoints.iterdir())
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DamagedError, match="all 1 checkpoints"):
        run.load_checkpoint()


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
@pytest.mark.parametrize("place", ["checkpoints", "epoch-0001-step-000000.pt"])
def test_what_cannot_be_read_for_now_is_not_damaged(tmp_path, monkeypatch, number, place):
    """A disk that fails for a moment: Python's own functions refuse as the system would."""
    run = Run(tmp_path)
    run.save_checkpoint(state(1), 1, 0, keep=2)

    def refusing(function):
        def call(path, *arguments, **options):
            if path.name == place:
                raise OSError(number, os.strerror(number), str(path))
            return function(path, *arguments, **options)

        return call

    with monkeypatch.context() as broken:
        broken.setattr(Path, "iterdir", refusing(Path.iterdir))
        broken.setattr(Path, "open", refusing(Path.open))
        with pytest.raises(RunError, match=f"cannot read .*{place}: {os.strerror(number)}") as told:
            run.load_checkpoint()
    assert not isinstance(told.value, DamagedError)
    assert run.load_checkpoint()[0]["epoch"] == 1


def test_too_little_memory_is_not_damage(tmp_path, monkeypatch):
    run = Run(tmp_path)
    run.save_checkpoint(state(1), 1, 0, keep=2)

    def full(*_arguments, **_options):
        raise MemoryError

    monkeypatch.setattr(torch, "load", full)
    with pytest.raises(MemoryError):
        run.load_checkpoint()


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "file"
    files.write_text(file, "old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device; the file that was there before is unchanged"):
        files.write_text(file, "new")
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_old_checkpoint_that_cannot_be_deleted_ends_no_training(tmp_path, monkeypatch):
    run = Run.create(tmp_path / "run", recipes.load("sprint"))
    run.save_checkpoint({"at": 1}, 1, 0, keep=1)

    def refused(path, missing_ok=False):
        raise OSError(errno.EIO, "Input/output error", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refused)
        run.save_checkpoint({"at": 2}, 2, 0, keep=1)
    assert run.load_checkpoint() == ({"at": 2}, [])
    run.save_checkpoint({"at": 3}, 3, 0, keep=1)
    assert [path.name for path in run.checkpoints.iterdir()] == ["epoch-0003-step-000000.pt"]


def test_a_folder_of_checkpoints_that_cannot_be_made_is_one_line(tmp_path):
    run = Run.create(tmp_path / "run", recipes.load("sprint"))
    run.checkpoints.write_text("a file")
    with pytest.raises(RunError, match="cannot make .*checkpoints: File exists; no checkpoint is lost"):
        run.save_checkpoint({"at": 1}, 1, 0, keep=1)


def test_a_process_killed_while_it_writes_leaves_a_whole_checkpoint(tmp_path):
    code = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from flyweight.runs.folder import Run\n"
        "run = Run(Path(sys.argv[1])); number = 0\n"
        "while True:\n"
        "    number += 1\n"
        "    run.save_checkpoint({'epoch': number, 'weights': torch.full((300_000,), number)}, number, 0, 2)\n"
        "    if number == 2: print('ready', flush=True)\n"
    )
    for delay in (0.0, 0.013, 0.037):
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay)
        process.kill()
        process.wait()
        process.stdout.close()
        loaded, damaged = Run(tmp_path).load_checkpoint()
        assert damaged == []
        assert (loaded["weights"] == loaded["epoch"]).all()
        for file in (tmp_path / "checkpoints").iterdir():
            file.unlink()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_damaged_environment_is_no_record(tmp_path, content):
    (tmp_path / "environment.json").write_bytes(content)
    assert Run(tmp_path).read_environment() == {}


def test_a_damaged_environment_is_none(tmp_path):
    run = Run(tmp_path)
    record = {**environment.describe(), "precision": "float32", "data_source": "a", "data_fingerprint": "b"}
    run.write_environment(record)
    assert run.read_environment() == record
    run.environment.write_text(run.environment.read_text().replace(":", ";", 1))
    assert run.read_environment() == {}
    assert run.changed() == [f"{run.environment} is damaged"]
    # a checksum that fits, and a key that is missing or of another kind
    for ended, change in ((False, {"torch": None}), (False, {"device": 5}), (True, {}), (True, {"finished": "now"})):
        run.write_environment(record | change, ended)
        assert run.read_environment() == {}
    run.write_environment(record | {"finished": "now", "seconds": 1.0}, ended=True)
    assert run.changed() == []
    # that of an earlier version has no checksum
    run.environment.write_text('{"cores": 2}')
    assert run.read_environment() == {"cores": 2}


def test_checkpoints_that_lie_somewhere_else_are_left_alone(tmp_path):
    run, theirs = Run(tmp_path / "run"), tmp_path / "theirs"
    run.folder.mkdir()
    theirs.mkdir()
    left = theirs / ".epoch-0001-step-000000.pt.abcd1234.unfinished"
    left.touch()
    run.checkpoints.symlink_to(theirs)
    with pytest.raises(RunError, match="checkpoints is a link to .* so remove the link$"), run.locked():
        pass
    assert left.exists()


def test_a_torn_history_is_one_line(tmp_path):
    (tmp_path / "history.jsonl").write_text('{"epoch": 1}\n{"epo')
    with pytest.raises(RunError, match=r"history\.jsonl is damaged in line 2"):
        Run(tmp_path).history()


def test_history_is_a_table_objects_and_lines(tmp_path):
    run = Run(tmp_path)
    rows = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]
    run.write_history(rows, ["one", "two"])
    assert run.history_csv.read_text() == "epoch,loss\n1,0.5\n2,0.25\n"
    assert run.history() == rows
    assert run.log.read_text() == "one\ntwo\n"


def test_what_is_not_a_checkpoint_of_ours_is_neither_deleted_nor_loaded(tmp_path):
    run = Run(tmp_path)
    run.checkpoints.mkdir()
    theirs = ["best.pt", "epoch-0099-step-000000 (copy).pt", "epoch-99-step-0.pt", "my-epoch-0001-step-000000.pt"]
    for name in theirs:
        (run.checkpoints / name).write_bytes(b"somebody's own")
    for number in range(4):
        run.save_checkpoint(state(number), number, 0, keep=1)
    assert {file.name for file in run.checkpoints.iterdir()} == {*theirs, "epoch-0003-step-000000.pt"}
    loaded, damaged = run.load_checkpoint()
    assert (loaded["epoch"], damaged) == (3, [])


def test_what_a_kill_in_a_write_left_is_removed_by_who_holds_the_lock(tmp_path):
    """Written by a process that is killed when its file is whole and has no name yet."""
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from flyweight import files\n"
        "files.flush = lambda file: os.kill(os.getpid(), signal.SIGKILL)\n"
        "files.write_bytes(Path(sys.argv[1]), bytes(1000))\n"
    )
    run = Run(tmp_path)
    run.checkpoints.mkdir()
    run.images.mkdir()
    files_of = [run.checkpoints / "epoch-0001-step-000000.pt", run.weights, run.report_html, run.images / "metrics.png"]
    for file in files_of:
        subprocess.run([sys.executable, "-c", code, str(file)], check=False)
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(left) == len(files_of)
    theirs = [tmp_path / ".model.safetensors.backup01", run.checkpoints / ".best.pt.abcdefgh.unfinished"]
    for path in theirs:
        path.write_bytes(b"")
    with run.locked():
        # a report may be under way: it needs no lock
        names = {path.name.split(".")[1] for path in tmp_path.rglob("*.unfinished")}
        assert names == {"report", "metrics", "best"}
        for path in left:
            if path.exists():
                os.utime(path, (time.time() - 700,) * 2)
    with run.locked():
        assert {path for path in tmp_path.rglob("*") if path.is_file()} == {*theirs, tmp_path / ".lock"}


def test_what_a_kill_before_the_recipe_left_stops_no_new_start(tmp_path):
    (tmp_path / ".config.yaml.a_1b2c3d.unfinished").touch()
    with Run.create(tmp_path, recipes.load("sprint")).locked():
        assert {path.name for path in tmp_path.iterdir()} == {".lock", "config.yaml"}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ".config.yaml.backup").touch()
    with pytest.raises(FlyweightError, match="is not empty"):
        Run.create(tmp_path / "other", recipes.load("sprint"))


@pytest.mark.parametrize("line", ['{"epoch": "1"}', '{"epoch": true}', '{"epoch": [1]}', '{"epoch": null}', "[" * 9999])
def test_a_history_of_the_wrong_kinds_is_damaged(tmp_path, line):
    run = Run(tmp_path)
    run.history_jsonl.write_text(f'{{"epoch": 1}}\n{line}\n')
    with pytest.raises(RunError, match="damaged in line 2"):
        run.history()
    with pytest.raises(RunError, match="damaged in line 1"):
        run.history(COLUMNS)


def test_of_an_environment_only_what_has_its_kind_counts(tmp_path):
    run = Run(tmp_path)
    content = {"data_fingerprint": 5, "data_note": ["a"], "resumed": "b", "seconds": "long", "cores": 2, "torch": "2"}
    run.environment.write_text(json.dumps(content))
    assert run.read_environment() == {"cores": 2, "torch": "2"}


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero"), a_socket])
def test_what_is_no_file_is_never_waited_for(tmp_path, make):
    run = Run(tmp_path)
    make(run.environment)
    assert run.read_environment() == {}
    run.save_checkpoint(state(1), 1, 0, keep=2)
    make(run.checkpoints / "epoch-0002-step-000000.pt")
    loaded, damaged = run.load_checkpoint()
    assert loaded["epoch"] == 1
    assert len(damaged) == 1
    assert "cannot be read (it is not a regular file)" in damaged[0]


@pytest.mark.parametrize("content", [b"", b"PK", pickle.dumps([1]), pickle.dumps(Path("a"))])
def test_a_whole_file_that_is_no_checkpoint_is_told(tmp_path, content):
    """Its hash fits: whoever wrote it was no training."""
    run = Run(tmp_path)
    run.save_checkpoint(state(1), 1, 0, keep=2)
    (run.checkpoints / "epoch-0002-step-000000.pt").write_bytes(files.sealed(content))
    loaded, damaged = run.load_checkpoint()
    assert loaded["epoch"] == 1
    assert "epoch-0002-step-000000.pt is no checkpoint" in damaged[0]


def test_a_run_that_cannot_be_looked_at_is_one_line(tmp_path, monkeypatch):
    def refused(path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "is_file", refused)
    with pytest.raises(RunError, match=r"cannot read .*config\.yaml: Input/output error"):
        Run.open(tmp_path)
