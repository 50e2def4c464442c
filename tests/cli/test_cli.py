"""The command line as a user meets it: one line for a bad call, its exit code, no traceback."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from flyweight.cli import app
from flyweight.data.cifar10 import SPEC
from flyweight.networks.build import build
from flyweight.recipes.sections import ModelConfig
from flyweight.runs.card import Card, save_model

TINY = ["--set", "data.train_images=512", "--set", "data.test_images=100", "--set", "train.batch_size=64"]


@pytest.fixture
def command(capsys, monkeypatch, tmp_path):
    """Run a command in this process, in an empty folder: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLYWEIGHT_CACHE", str(tmp_path / "cache"))

    def run(*arguments):
        code = app.run_command(arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["trian"], 2, 'Did you mean "train"?'),
        (["check"], 2, "NETWORK"),
        (["check", "course", "--jsn"], 2, "Did you mean --json?"),
        (["check", "corse"], 2, "did you mean 'course'?"),
        (["check", "course", "--input", "32x32"], 2, "for example 1,28,28"),
        (["check", "course", "--input", "3,0,32"], 2, "at least 1"),
        (["check", "course", "--classes", "0"], 2, "at least 1"),
        (["check", "course", "--rules", "breif"], 2, "brief"),
        (["check", "nowhere.py:Net"], 2, "there is no file"),
        (["train"], 2, "name a recipe"),
        (["train", "sprint", "--resume", "x"], 2, "name a recipe"),
        (["train", "sprnt"], 2, "did you mean 'sprint'?"),
        (["train", "sprint", "--set", "train.epoch=3"], 2, "did you mean 'epochs'?"),
        (["train", "sprint", "--epochs", "0"], 2, "train.epochs"),
        (["train", "sprint", "--data", "/nowhere/at/all"], 3, "/nowhere/at/all does not exist"),
        (["train", "sprint", "--data", "~nosuchuser/x"], 3, "~nosuchuser is nobody's home here"),
        (["train", "--resume", "nowhere"], 4, "not a run folder"),
        (["train", "--resume", "nowhere", "--epochs", "3"], 2, "leave out"),
        (["train", "--resume", "nowhere", "--fallback", "digits"], 2, "leave out"),
        (["evaluate", "nothing"], 4, "neither a run folder nor a shipped network"),
        (["report", "nothing"], 4, "not a run folder"),
        (["train", "sprint", "--set", "rules=nope", "--data", "/nowhere"], 2, "nope"),
        (["train", "sprint", "--set", "model.network=nope", "--data", "/nowhere"], 2, "nope"),
        (["bench", "--batch-size", "0"], 2, "at least 1"),
        (["bench", "spead"], 2, "spead"),
        (["bench", "--data", "digits"], 2, "goes with the part training alone"),
        (["bench", "inference", "--figure", "nowhere/b.png"], 2, "there is no folder nowhere"),
        (["predict", "sprint"], 2, "FILES"),
        (["predict", "sprint", "nothing.png"], 3, "nothing.png does not exist"),
        (["predict", "sprinkle", "."], 3, "holds no images"),
        (["predict", "sprint", ".", "--top", "0"], 2, "--top must be at least 1"),
        (["predict", "sprint", ".", "--force"], 2, "--force goes with --explain"),
        (["check", "sprint", "--blocks", ","], 2, "no blocks are named"),
        (["check", "x" * 5000], 2, "no network"),
        (["check", "a\0b.py:Net"], 2, "NUL"),
        (["check", "\0", "nano", "--no-isolated"], 2, "NUL"),
        (["export", "nano", "--to", "a\0b"], 2, "NUL"),
    ],
)
def test_a_bad_call_is_one_line_with_its_exit_code(command, tmp_path, arguments, code, words):
    got, out, err = command(*arguments)
    assert (got, out) == (code, "")
    assert words in err
    assert len(err.splitlines()) == 1
    assert err.startswith("flyweight: ")
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == []


def test_a_name_that_cannot_be_stops_no_other_image(command, tmp_path, monkeypatch):
    from flyweight.images import finding

    Image.new("RGB", (32, 32), "navy").save(tmp_path / "a.png")
    (tmp_path / "more").mkdir()
    Image.new("RGB", (32, 32), "red").save(tmp_path / "more" / "b.png")
    within = finding._inside
    monkeypatch.setattr(finding, "_inside", lambda folder: (within(folder)[0], [(folder / "x", f"{folder}/x is shut")]))
    places = (f"{'x' * 256}.png", "a.png", "a\0b.png", "gone.png", "more")
    code, out, err = command("predict", "nano", *places)
    assert code == 3
    assert [line.split()[0] for line in out.splitlines()] == ["a.png", "more/b.png"]
    lines = err.splitlines()
    assert len(lines) == 4
    assert lines[0].endswith("x.png does not exist: name image files or folders of them")
    assert lines[1].startswith("flyweight: a\ufffdb.png does not exist")
    assert lines[2].startswith("flyweight: gone.png does not exist")
    assert lines[3] == "flyweight: more/x is shut"
    # tables and JSON hold all that was asked for, in its order
    code, out, again = command("predict", "nano", *places, "--csv", "-")
    assert (code, again) == (3, err)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["path"] for row in rows] == [f"{'x' * 256}.png", "a.png", "a�b.png", "gone.png", "more/b.png", "more/x"]
    assert [f"flyweight: {row['error']}" for row in rows if row["error"]] == lines
    assert [bool(row["class"]) for row in rows] == [not row["error"] for row in rows]
    code, out, _ = command("predict", "nano", *places, "--json")
    assert code == 3
    assert [found.get("error", "")[-7:] for found in json.loads(out)] == [row["error"][-7:] for row in rows]


def test_a_table_of_images_none_of_which_is_there_is_whole(command, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    (tmp_path / "empty").mkdir()
    code, _, err = command("predict", "nano", "gone.png", "bad.png", "empty", "--csv", "out.csv")
    assert (code, len(err.splitlines())) == (3, 3)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text(encoding="utf-8"))))
    assert [row["path"] for row in rows] == ["gone.png", "bad.png", "empty"]
    assert all(row["error"] and not row["class"] for row in rows)


def test_predict_tells_what_it_can_and_fails_for_what_it_cannot(command, tmp_path):
    Image.new("RGB", (40, 50), "navy").save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    code, out, err = command("predict", "sprint", ".", "--top", "2")
    assert code == 3
    assert len(out.splitlines()) == len(err.splitlines()) == 1
    assert out.startswith("good.png")
    assert "bad.png cannot be read" in err
    code, out, _ = command("predict", "sprint", "good.png", "--json")
    assert code == 0
    assert [len(answer["predictions"]) for answer in json.loads(out)] == [3]


def test_evaluate_asks_about_images_of_none_of_the_classes(command, tmp_path, monkeypatch):
    monkeypatch.setattr("flyweight.runs.card.ZOO", tmp_path / "zoo")
    (tmp_path / "zoo" / "sprint").mkdir(parents=True)
    card = Card(
        network="sprint", dropout=None, classes=tuple("0123456789"), input_shape=(3, 32, 32), mean=(0.5,) * 3,
        std=(0.2,) * 3, data="digits", fingerprint="0", epochs=1, temperature=0.5, threshold=0.2,
    )  # fmt: skip
    torch.manual_seed(0)
    save_model(tmp_path / "zoo" / "sprint", build(ModelConfig(network="sprint"), SPEC), card)
    (tmp_path / "any" / "deeper").mkdir(parents=True)
    Image.new("L", (40, 50)).save(tmp_path / "any" / "deeper" / "one.png")
    Image.new("RGB", (9, 8), "red").save(tmp_path / "any" / "two.jpg")
    (tmp_path / "any" / "broken.png").write_bytes(b"no image")
    code, out, err = command("evaluate", "sprint", "--against", "any", "--json")
    assert code == 0, err
    assert "broken.png cannot be read" in err
    told = json.loads(out)["against"]
    assert (told["data"], told["n"], told["own"]) == ("any", 2, 360)
    assert 0 <= told["auroc"] <= 100
    code, out, _ = command("evaluate", "sprint", "--against", "digits")
    assert "against digits: AUROC" in out.splitlines()[-1]
    assert "1,797 others" in out.splitlines()[-1]
    code, out, err = command("evaluate", "sprint", "--against", "nowhere")
    assert (code, out, len(err.splitlines())) == (3, "", 1)


def test_check_says_the_three_numbers_of_the_course_network(command):
    code, out, _ = command("check", "course", "--json")
    answer = json.loads(out)
    assert code == 0
    assert (answer["parameters"], answer["macs"], answer["receptive_field"]) == (174352, 32282272, 51)
    assert answer["passed"] is True
    assert all({"name", "passed", "detail"} <= set(rule) for rule in answer["rules"])


def test_check_fails_a_network_of_the_users_own_with_exit_code_1(command, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Conv2d(3, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    code, out, _ = command("check", "mine.py:Net", "--json")
    answer = json.loads(out)
    assert code == 1
    assert (answer["parameters"], answer["receptive_field"], answer["passed"]) == (280, 3, False)
    code, out, _ = command("check", "mine.py:Net")
    assert code == 1
    assert "FAIL" in out


NET = (
    "class Net(nn.Sequential):\n"
    "    def __init__(self):\n"
    "        super().__init__(nn.Conv2d(3, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import sys\nwidth = sys.exit(0)\nclass Net(nn.Module):\n    size = width", "SystemExit: 0"),
        ("width = int('no\\nway')\nclass Net(nn.Module):\n    size = width", "ValueError: invalid literal"),
        (
            "class Net(nn.Module):\n    def __init__(self): raise TypeError('inner')",
            "building it raised an error: TypeError: inner (mine.py:3)",
        ),
        (
            "class Net(nn.Module):\n    def __init__(self): import sys; sys.exit(0)",
            "building it raised an error: SystemExit",
        ),
        ("class Net(nn.Module):\n    def forward(self, x): import sys; sys.exit(0)", "SystemExit"),
        ("class Net(nn.Module):\n    def forward(self, x): return 3", "must return a tensor"),
        ("class Net(", "no Python 3: '(' was never closed (mine.py:2)"),
    ],
)
def test_a_file_that_misbehaves_is_one_line_and_never_a_pass(command, tmp_path, body, words):
    (tmp_path / "mine.py").write_text(f"from torch import nn\n{body}\n")
    code, out, err = command("check", "mine.py:Net")
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.splitlines()) == 1


def test_json_is_one_object_even_when_the_users_file_prints(command, tmp_path):
    (tmp_path / "mine.py").write_text(f"from torch import nn\n{NET}        print('hello')\n")
    code, out, err = command("check", "mine.py:Net", "--json")
    assert code == 1
    assert json.loads(out)["parameters"] == 280
    assert "hello" in err


def test_a_class_named_like_an_emoji_keeps_its_name(command):
    assert ":Ten:" in command("check", "mine.py:Ten:")[2]


def test_a_run_of_the_users_network_works_from_any_folder(command, tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "mine.py").write_text(f"from torch import nn\n{NET}")
    (tmp_path / "project" / "mine.yaml").write_text(
        "name: mine\nmodel: {network: 'mine.py:Net'}\nrules: null\ndata: {name: digits}\ntrain: {epochs: 1}\n"
    )
    code, _, err = command("train", "project/mine.yaml", "--out", "run", "--no-report")
    assert code == 0, err
    monkeypatch.chdir(tmp_path / "project")
    assert command("evaluate", "../run", "--json")[0] == 0


def test_train_stops_before_a_network_that_breaks_a_rule(command, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Conv2d(3, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    (tmp_path / "mine.yaml").write_text("name: mine\nmodel: {network: 'mine.py:Net'}\ndata: {name: digits}\n")
    code, out, err = command("train", "mine.yaml")
    assert (code, out) == (1, "")
    assert "rules=null" in err.splitlines()[-1]
    assert not (tmp_path / "runs").exists()


@pytest.mark.early
def test_train_evaluate_and_report_on_the_digits(command, tmp_path):
    code, out, err = command("train", "sprint", "--data", "digits", "--epochs", "2", "--out", "run", *TINY)
    assert code == 0, err
    run = tmp_path / "run"
    assert str(Path("run") / "report.html") in out
    for name in (
        "config.yaml", "history.csv", "history.jsonl", "train.log", "model.safetensors", "config.json",
        "environment.json", "evaluation.json", "mistakes.csv", "report.html", "REPORT.md",
        "images/augmentation.png", "images/metrics.png", "images/misclassified.png", "images/confusion.png",
    ):  # fmt: skip
        assert (run / name).stat().st_size > 0, name
    environment = json.loads((run / "environment.json").read_text())
    assert environment["data_note"] is None
    assert environment["seconds"] > 0
    code, out, _ = command("evaluate", "run", "--json")
    answer = json.loads(out)
    assert code == 0
    assert answer["n"] == 100  # what the run itself was tested on
    assert 0 <= answer["accuracy"] <= 100
    code, out, _ = command("evaluate", "run", "--damaged", "--json")
    damaged = json.loads(out)["damaged"]
    assert (code, len(damaged), damaged[0]["kind"]) == (0, 11, "jpeg")
    code, out, err = command("evaluate", "run", "--damaged")
    assert code == 0
    assert "damaged images" in out
    assert "JPEG, quality 75: " in err
    code, out, _ = command("evaluate", "run", "--data", "digits", "--out", "elsewhere", "--json")
    assert (code, json.loads(out)["n"]) == (0, 360)
    assert json.loads((run / "evaluation.json").read_text())["n"] == 100
    # nor without --out: the report speaks of those 100
    code, out, _ = command("evaluate", "run", "--data", "digits", "--json")
    assert (code, json.loads(out)["n"]) == (0, 360)
    assert json.loads((run / "evaluation.json").read_text())["n"] == 100
    (run / "report.html").unlink()
    assert command("report", "run")[0] == 0
    assert (run / "report.html").exists()
    # a run that has ended may be resumed: there is nothing left to do, and nothing changes
    before = (run / "model.safetensors").read_bytes()
    assert command("train", "--resume", "run", "--no-report")[0] == 0
    assert (run / "model.safetensors").read_bytes() == before


@pytest.mark.early
def test_the_run_that_could_not_have_cifar10_says_so_everywhere(command, tmp_path, monkeypatch):
    from flyweight import data

    real = data.load

    def without_cifar10(name="cifar10", path=None, **options):
        if name == "cifar10":
            raise data.NoDataError("CIFAR-10 was not found")
        return real(name, path, **options)

    monkeypatch.setattr(data, "load", without_cifar10)
    code, _, err = command("train", "sprint", "--epochs", "1", "--out", "refused", *TINY)
    assert code == 3
    assert len(err.splitlines()) == 1
    code, _, err = command("train", "sprint", "--epochs", "1", "--out", "run", "--fallback", "digits", *TINY)
    assert code == 0, err
    assert err.count("STAND-IN DATA") == 2  # before the training and after it
    assert "NOT CIFAR-10" in json.loads((tmp_path / "run" / "environment.json").read_text())["data_note"]
    assert "NOT CIFAR-10" in (tmp_path / "run" / "report.html").read_text()
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"] == "digits"


@pytest.mark.early
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_during_a_training_tells_how_to_go_on(tmp_path, number, code):
    arguments = ["train", "sprint", "--data", "digits", "--epochs", "50", "--out", "run", "--no-report", *TINY]
    environment = {**os.environ, "FLYWEIGHT_CACHE": str(tmp_path / "cache")}
    process = subprocess.Popen(
        [sys.executable, "-m", "flyweight", *arguments],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("Epoch 1/50"):
            process.send_signal(number)
    process.stderr.close()
    assert process.wait() == code
    assert lines[-1] == "stopped; nothing is lost. Go on with: flyweight train --resume run\n"
    assert not any("Traceback" in line for line in lines)


def test_shipped_networks_evaluate_by_name(command, tmp_path, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr("flyweight.runs.card.ZOO", tmp_path / "zoo")
    (tmp_path / "zoo" / "sprint").mkdir(parents=True)
    card = Card(
        network="sprint", dropout=None, classes=tuple("0123456789"), input_shape=(3, 32, 32), mean=(0.5,) * 3,
        std=(0.2,) * 3, data="digits", fingerprint="0", epochs=1,
    )  # fmt: skip
    save_model(tmp_path / "zoo" / "sprint", build(ModelConfig(network="sprint"), SPEC), card)
    code, out, err = command("evaluate", "sprint")
    assert code == 0, err
    assert "360" in out
    assert sorted(path.name for path in (tmp_path / "zoo" / "sprint").iterdir()) == ["config.json", "model.safetensors"]
    # by its path, too
    assert command("evaluate", os.path.relpath(tmp_path / "zoo" / "sprint"))[0] == 0
    assert sorted(path.name for path in (tmp_path / "zoo" / "sprint").iterdir()) == ["config.json", "model.safetensors"]
    code, _, err = command("evaluate", "strided")
    assert code == 4
    assert "flyweight train strided" in err


def test_a_name_that_the_terminal_cannot_write_is_told_with_escapes(tmp_path):
    Image.new("RGB", (32, 32), "navy").save(tmp_path / "\u00e9\u65e5.png")
    done = subprocess.run(
        [sys.executable, "-m", "flyweight", "predict", "sprint", "."],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"\\xe9\\u65e5.png")
