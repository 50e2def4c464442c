"""The scripts in tools/: what ships, the tables and the image that are made of it."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from conftest import Silent

from flyweight import data, recipes
from flyweight.data.cifar10 import SPEC
from flyweight.networks.build import build
from flyweight.runs.card import load_trained
from flyweight.runs.folder import Run
from flyweight.training import loop

TOOLS = Path(__file__).parents[1] / "tools"


def tool(name):
    spec = importlib.util.spec_from_file_location(f"tool_{name}", TOOLS / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def trained(folder, *overrides):
    """A run on the digits, one short epoch long."""
    changes = ("data.name=digits", "train.epochs=1", "train.batch_size=64", "train.workers=0", *overrides)
    recipe = recipes.load("sprint", (*changes, "train.precision=float32"))
    dataset = data.load("digits")
    if recipe.data.hold_out:
        dataset = data.hold_out(dataset, recipe.data.hold_out)
    torch.manual_seed(0)
    run = Run.create(folder, recipe)
    loop.fit(build(recipe.model, SPEC), dataset, recipe, run, Silent())
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs") / "whole")


def start(monkeypatch, module, *arguments):
    monkeypatch.setattr(sys, "argv", ["tool", *(str(argument) for argument in arguments)])
    module.main()


def test_a_run_ships_with_its_card_and_can_be_loaded(run, tmp_path, monkeypatch):
    monkeypatch.setattr("flyweight.runs.card.ZOO", tmp_path)
    start(monkeypatch, tool("ship"), run.folder, "--purpose", "nothing but a test", "--mean", "3 seeds: 50 %")
    folder = tmp_path / "sprint"
    shipped = load_trained(folder)
    assert shipped.card == load_trained(run.folder).card
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["accuracy"] == pytest.approx(run.history()[-1]["test_accuracy"], abs=0.3)
    assert (metrics["n"], metrics["seed"], metrics["recipe"]) == (360, 0, "sprint")
    assert set(metrics["damaged"]) >= {"JPEG, quality 75", "JPEG, quality 50", "shift by 8 pixels"}
    card = (folder / "README.md").read_text(encoding="utf-8")
    for words in ("170,720 parameters", f"{metrics['accuracy']:.2f} %", "nothing but a test", "3 seeds: 50 %", "no. "):
        assert words in card


def test_what_has_not_seen_all_data_does_not_ship(tmp_path, monkeypatch, capsys):
    part = trained(tmp_path / "run", "data.hold_out=500")
    monkeypatch.setattr("flyweight.runs.card.ZOO", tmp_path / "zoo")
    with pytest.raises(SystemExit) as stop:
        start(monkeypatch, tool("ship"), part.folder, "--purpose", "none")
    assert stop.value.code == 2
    assert "was trained on a part of the data" in capsys.readouterr().err
    assert not (tmp_path / "zoo").exists()


def test_runs_as_a_table(run, tmp_path, monkeypatch, capsys):
    empty = Run.create(tmp_path / "empty", recipes.load("strided", ["train.seed=3"]))
    start(monkeypatch, tool("experiments"), run.folder, empty.folder)
    head, rule, first, second = capsys.readouterr().out.splitlines()
    assert head.count("|") == rule.count("|") == first.count("|")
    cells = [cell.strip() for cell in first.split("|")]
    assert cells[1] == "`sprint`, data.name digits, train.batch_size 64"
    assert cells[2:6] == ["0", "170,720", "18.0 M", "1"]
    assert float(cells[6]) == pytest.approx(run.history()[-1]["test_accuracy"], abs=0.01)
    assert "`strided` | 3 | no epoch has ended" in second


def test_the_picture_of_all_standings(tmp_path, monkeypatch):
    standings = tool("standings")
    assert "sprint" in [standing.name for standing in standings.ours()]
    start(monkeypatch, standings, tmp_path / "standings.png")
    assert (tmp_path / "standings.png").read_bytes().startswith(b"\x89PNG")


PUBLIC = """
import torch, torch.nn as nn
class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
    def forward(self, x):
        return x * self.up(self.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, 8, 5, 2, 2), nn.BatchNorm2d(8), nn.ReLU(inplace=True), Gate())
        self.b = nn.Sequential(nn.Conv2d(8, 8, (1, 3), padding=(0, 2), dilation=2), nn.MaxPool2d(2))
        self.out = nn.Linear(8, classes)
    def forward(self, x):
        x = self.a(x)
        x = self.b(x * torch.sigmoid(x))
        return self.out(nn.functional.avg_pool2d(x, x.shape[-1]).flatten(1))
"""


def test_public_networks_are_held_against_torch_and_a_gradient(tmp_path, monkeypatch, capsys):
    public = tool("public_networks")
    (tmp_path / "somebody").mkdir()
    (tmp_path / "somebody" / "net.py").write_text(PUBLIC)
    (tmp_path / "list.txt").write_text("[somebody 3,32,32]\nnet.py\nnet.py:No\n[somebody 3,48,48]\nnet.py:Net\n")
    monkeypatch.setattr(public, "LIST", tmp_path / "list.txt")
    start(monkeypatch, public, "--sources", tmp_path)
    out, err = capsys.readouterr()
    rows = [[cell.strip() for cell in line.split("|")] for line in out.splitlines()[2:]]
    # 5 high, and one pooled step of 2 more; 5 wide, a dilated step of 4 * 2 and a pooled one of 2 more
    assert [row[4:6] for row in rows if "No" not in row[1]] == [["7x15", "yes"], ["7x15", "yes"]]
    assert "has no nn.Module named" in rows[1][5]
    assert err == "3 networks: 2 agree in all, 0 tracebacks\n"


def test_a_field_that_is_not_the_gradients_is_told(tmp_path, monkeypatch):
    public = tool("public_networks")
    (tmp_path / "net.py").write_text(PUBLIC)
    monkeypatch.setattr(public, "oracle", lambda network, shape, field: (7, 16))
    row = public.examined(f"{tmp_path}/net.py", (3, 32, 32))
    assert row.agrees == "field: the gradient reaches 7x16"


def test_a_run_of_before_temperatures_is_calibrated_as_its_training_would_have(tmp_path, monkeypatch, capsys):
    run = trained(tmp_path / "run", "data.hold_out=300")
    fields, weights = json.loads(run.card.read_text()), run.weights.read_bytes()
    assert fields["temperature"] != 1
    old = {key: value for key, value in fields.items() if key not in {"temperature", "threshold", "checksum"}}
    run.card.write_text(json.dumps(old))
    monkeypatch.setattr(sys, "argv", ["calibrate.py", str(run.folder)])
    tool("calibrate").main()
    assert json.loads(run.card.read_text()) == fields
    assert run.weights.read_bytes() == weights
    assert f"temperature {fields['temperature']:g}" in capsys.readouterr().out


PROOF = """
import os, signal
from pathlib import Path
import pytest
from ledger import WHERE, Ledger

ledger = Ledger(Path(os.environ[WHERE]))

@pytest.mark.parametrize("number", range(6))
def test_one(number):
    if number == 2:
        os.kill(os.getpid(), signal.SIGSEGV)
    if number == 3:
        pytest.skip("there is no strace")
    ledger.record("kills", "of one process", 1, [], seconds_most=number)

def test_two():
    ledger.record("kills", "of another kind", 2, ["it ran"])

def test_three():
    raise OSError("no room")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends nothing by a signal")
def test_a_proof_whose_process_dies_is_told_by_its_name_and_the_rest_is_done(tmp_path, capsys):
    (tmp_path / "test_proof.py").write_text(PROOF)
    assert tool("torture").prove({"kills": tmp_path / "test_proof.py"}, tmp_path / "out", 1) == 1
    said = capsys.readouterr().out
    table = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert "kills, 5 to go: test_one[4] passed" in said
    assert "kills, 0 to go: test_three failed" in said
    assert "| kills | of one process | 4 | 0 | seconds at most 5 |" in table
    assert "| kills | of another kind | 2 | 1 |  |" in table
    assert "| kills | processes that died | 1 | 1 |  |" in table
    assert "BROKEN: kills: test_one[2]: the process ended with SIGSEGV" in table
    assert "BROKEN: kills: it ran" in table
    assert "NOT TRIED: kills: test_one[3]: Skipped: there is no strace" in table
    assert "FAILED: kills: test_three: E OSError: no room" in table
    assert (tmp_path / "out" / "reliability.png").is_file()
