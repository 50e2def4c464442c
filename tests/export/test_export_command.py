"""`flyweight export`: where it writes, what it never overwrites, how it ends."""

import errno
import importlib.util
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from conftest import synthetic
from exporting import DILATED, EVERY, asked, run_folder

from flyweight import files
from flyweight.cli import job  # noqa: F401 (its help names the readers: before a test adds one)
from flyweight.cli.app import run_command
from flyweight.data import digits, registry
from flyweight.data.reader import Reader
from flyweight.errors import RunError
from flyweight.export import formats, gate, write


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A data set that only this test's registry knows, and a trained network in the working directory."""
    dataset = synthetic(4, 3, 16, 16)
    reader = Reader("synthetic", "Made", "made by the tests", lambda path, **options: dataset, spec=dataset.spec)
    monkeypatch.setattr(registry, "READERS", (reader, *registry.READERS))
    monkeypatch.chdir(tmp_path)
    run_folder(tmp_path / "net", DILATED, dataset)
    return dataset


@pytest.fixture
def plain(monkeypatch):
    """In place of the first format one that takes no time."""
    from flyweight.export import onnx_float
    from flyweight.export.subject import saved

    monkeypatch.setattr(onnx_float, "write", lambda subject, folder: [saved(folder, "model.onnx", b"graph")])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_network_of_the_users_own_from_its_folder_to_files(made, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, classes):\n"
        "        print('built')\n"
        "        super().__init__(nn.Conv2d(3, 8, 3, 2, bias=False), nn.BatchNorm2d(8), nn.Hardswish(),\n"
        "                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))\n"
    )
    from exporting import described

    from flyweight.networks.custom import instance
    from flyweight.runs.card import save_model

    reference = f"{tmp_path}/mine.py:Net"
    (tmp_path / "own").mkdir()
    save_model(tmp_path / "own", instance(reference, 4).eval(), described(None, made, network=reference))
    capsys.readouterr()
    call = ["export", "own", "--to", "deep/er", "--format", "onnx", "onnx-uint8", "--json"]
    assert run_command(call) == 4  # no training has made it here
    assert "not allowed" in capsys.readouterr().err
    assert run_command([*call, "--allow-code"]) == 0
    told = json.loads(capsys.readouterr().out)
    folder = tmp_path / "deep" / "er"
    assert names(folder) == ["export.json", "model.onnx", "model_pixels.onnx", "predict.py"]
    assert [file["file"] for file in told["files"]] == ["model.onnx", "model_pixels.onnx", "predict.py"]
    assert all(file["agreement"]["same"] == file["agreement"]["n"] == len(made.test) for file in told["files"][:2])
    assert told["network"] == "mine.py:Net"
    assert asked(folder / "model_pixels.onnx", made.test.images[:2]).shape == (2, 4)
    for path in folder.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()


def test_what_is_there_is_left_alone_unless_it_is_an_export_and_force_is_said(made, plain, tmp_path, capsys):
    call = ["export", "net", "--to", "out"]
    (tmp_path / "out").mkdir()
    assert run_command(call) == 0  # an empty folder is as good as none
    before = (tmp_path / "out" / "export.json").stat().st_mtime_ns
    capsys.readouterr()
    assert run_command(call) == 2
    assert "exists and is not empty: --force replaces it" in capsys.readouterr().err
    assert (tmp_path / "out" / "export.json").stat().st_mtime_ns == before
    assert run_command([*call, "--force"]) == 0
    assert (tmp_path / "out" / "export.json").stat().st_mtime_ns > before
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    capsys.readouterr()
    assert run_command(["export", "net", "--to", "photos", "--force"]) == 2
    assert "it is no export" in capsys.readouterr().err
    assert names(tmp_path / "photos") == ["a.jpg"]
    assert names(tmp_path) == ["net", "out", "photos"]


def test_an_export_that_was_evaluated_is_still_one(made, tmp_path):
    call = ["export", "net", "--to", "out", "--format", "huggingface"]
    assert run_command(call) == 0
    before = names(tmp_path / "out")
    assert run_command(["evaluate", "out"]) == 0
    assert names(tmp_path / "out") == before
    assert run_command([*call, "--force"]) == 0


@pytest.mark.parametrize("to", [".", "..", "net/config.json", "/"])
def test_a_place_that_cannot_be_is_told_before_anything_is_read(made, tmp_path, capsys, to):
    before = names(tmp_path)
    assert run_command(["export", "nothing", "--to", to]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "name a new folder" in line
    assert names(tmp_path) == before


def test_a_format_that_fails_is_left_out_and_the_others_are_written(made, plain, tmp_path, capsys, monkeypatch):
    from flyweight.export import onnx_uint8

    def closed(subject, folder):
        (folder / "half").touch()
        raise gate.GateError("it does not say the same")

    monkeypatch.setattr(onnx_uint8, "write", closed)
    assert run_command(["export", "net", "--to", "out", "--format", "onnx-uint8"]) == 1
    assert "it does not say the same" in capsys.readouterr().err
    assert names(tmp_path) == ["net"]
    assert run_command(["export", "net", "--to", "out", "--format", "onnx", "onnx-uint8"]) == 1
    assert "flyweight: onnx-uint8: it does not say the same" in capsys.readouterr().err
    assert names(tmp_path / "out") == ["export.json", "model.onnx", "predict.py"]


def test_a_disk_that_refuses_an_export_leaves_the_one_that_was_there(made, plain, tmp_path, monkeypatch, capsys):
    assert run_command(["export", "net", "--to", "out"]) == 0
    before = (tmp_path / "out" / "export.json").read_bytes()
    capsys.readouterr()

    def refused(folder):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files, "flush_tree", refused)
    assert run_command(["export", "net", "--to", "out", "--force"]) == 4
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("flyweight: ")]
    assert told == [f"flyweight: cannot write {tmp_path / 'out'}: Input/output error"]
    assert (tmp_path / "out" / "export.json").read_bytes() == before
    assert names(tmp_path) == ["net", "out"]


KILLED = """
import os, sys
from flyweight.cli.app import run_command
from flyweight.export import onnx_uint8
def killed(subject, folder):
    (folder / "half").touch()
    os.kill(os.getpid(), 9)
onnx_uint8.write = killed
run_command(["export", "net", "--to", "out", "--format", "onnx", "onnx-uint8", "--data", "digits", "--force"])
"""


@pytest.mark.early
@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_an_export_that_is_killed_leaves_the_old_one_and_the_next_one_tidies_up(tmp_path, monkeypatch):
    monkeypatch.setenv("FLYWEIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    dataset = digits.make()
    run_folder(tmp_path / "net", DILATED, dataset)
    assert run_command(["export", "net", "--to", "out", "--data", "digits"]) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path, check=False)
    assert done.returncode == -9
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert len(list(tmp_path.glob(".out-*"))) == 1
    assert run_command(["export", "net", "--to", "out", "--data", "digits", "--force"]) == 0
    assert not list(tmp_path.glob(".out-*"))


def test_an_export_that_fails_leaves_no_folder_on_the_way_to_its_place(made, plain, tmp_path, monkeypatch):
    from flyweight.export import onnx_float

    def closed(subject, folder):
        raise gate.GateError("it does not say the same")

    monkeypatch.setattr(onnx_float, "write", closed)
    assert run_command(["export", "net", "--to", "deep/er/out"]) == 1
    assert names(tmp_path) == ["net"]


def test_a_missing_library_is_one_line_that_says_what_to_type(made, capsys, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name.startswith("onnx") else found(name))
    assert run_command(["export", "net", "--to", "out"]) == 2
    assert capsys.readouterr().err == (
        "flyweight: an export needs onnx, onnxruntime, onnxscript: pip install 'flyweight[export]'\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["net"], 2, "--to"),
        (["nothing", "--to", "out"], 4, "neither a run folder nor a shipped network"),
        (["net", "--to", "out", "--format", "onxx"], 2, "did you mean 'onnx'"),
        (["net", "--to", "out", "--data", "digits"], 2, "evaluate it on the data it was trained for"),
    ],
)
def test_a_bad_call_is_one_line_and_writes_nothing(made, tmp_path, capsys, monkeypatch, arguments, code, words):
    monkeypatch.setenv("FLYWEIGHT_CACHE", str(tmp_path / "cache"))
    assert run_command(["export", *arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err.splitlines()[-1]
    assert "out" not in names(tmp_path)


def test_the_help_names_every_format(capsys):
    assert run_command(["export", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("\N{BOX DRAWINGS LIGHT VERTICAL}", " ").split())
    for one in formats.FORMATS:
        assert f"{one.name}: {one.help}" in shown


def test_every_row_of_a_table_is_tried():
    kinds = {row.get("kind", "dense") for block in EVERY["blocks"] for row in block}
    from flyweight.networks.layers import KINDS

    assert kinds == set(KINDS)


def test_a_disk_that_refuses_a_format_leaves_the_export_before(tmp_path):
    """What cannot be written is no format that the gate refuses: less would take the place of more."""

    def writes(subject, place):
        (place / "first").touch()
        return []

    def refuses(subject, place):
        raise RunError("cannot write x: No space left on device")

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "before").touch()
    formats = [SimpleNamespace(name=name, write=how) for name, how in (("a", writes), ("b", refuses))]
    with pytest.raises(RunError, match="No space left"):
        write.write(None, tmp_path / "out", formats, lambda line: None)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["out", "out/before"]
