"""`flyweight bench export`: every way is asked and timed, and what is missing is told."""

import dataclasses
import json
import shutil

import pytest
from c_programs import needs_gcc
from conftest import synthetic
from exporting import DILATED, described, learnt

from flyweight import data
from flyweight.bench import exports, latency
from flyweight.cli.app import run_command
from flyweight.export import gate, onnx_int8
from flyweight.runs.card import save_model


@pytest.fixture(scope="module")
def dataset():
    return synthetic(10, 3, 16, 16, train=160, test=60)


@pytest.fixture(scope="module")
def folder(dataset, tmp_path_factory):
    found = tmp_path_factory.mktemp("net")
    save_model(found, learnt(DILATED, dataset).model, described(DILATED, dataset))
    return found


@needs_gcc
def test_one_table_says_what_every_export_comes_to(dataset, folder, monkeypatch, capsys):
    monkeypatch.setattr(data, "load", lambda name: dataset)
    # C is asked some of the images alone
    monkeypatch.setattr(exports, "C_MACS", 2e7)
    assert run_command(["bench", "export", str(folder), "--images", "20", "--json"]) == 0
    out, err = capsys.readouterr()
    ways = {way["way"]: way for way in json.loads(out)["ways"]}
    assert list(ways) == list(latency.WAYS)
    assert f"timing {folder}" in err
    assert ways["PyTorch eager"]["ratio"] == 1
    for name, way in ways.items():
        assert way["images"] == 60 or (name == "C, 8 bits" and 0 < way["images"] < 60)
        assert abs(way["lost"]) <= 5
        low, middle, high = (way["milliseconds"][place] for place in (1, 0, 2))
        assert 0 < low <= middle <= high
        assert way["ratio"] == pytest.approx(middle / ways["PyTorch eager"]["milliseconds"][0], rel=0.01)
    assert ways["C, 8 bits"]["arena"] > 0
    assert ways["onnxruntime, 8 bits"]["bytes"] > 1000


def test_what_cannot_be_made_or_run_here_is_told(dataset, folder, tmp_path, monkeypatch):
    def closed(subject):
        raise gate.GateError("it loses too much")

    monkeypatch.setattr(onnx_int8, "quantised", closed)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    from flyweight.runs.card import load_trained

    ways = exports.asked("net", load_trained(folder), dataset, tmp_path)
    text = exports.Exports({}, tuple(ways)).text()
    assert "net, onnxruntime, 8 bits: it loses too much" in text
    assert "net, C, 8 bits: there is no gcc" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx"]


def test_a_line_of_the_table():
    way = exports.Way("nano", "C, 8 bits", 89.5, 3700, 0.25, 106746, 16448, (5.0, 4.5, 7.25), 3.456)
    assert way.cells() == [
        "nano", "C, 8 bits", "89.50 %", "-0.25", "3,700", "106,746", "16,448", "5.00 (4.50 to 7.25)", "3.46",
    ]  # fmt: skip
    bare = dataclasses.replace(way, accuracy=None, lost=None, images=0, bytes=None, milliseconds=None, ratio=None)
    assert bare.cells()[2:6] == ["-"] * 4


def test_a_network_that_is_none_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(data, "load", lambda name: None)
    assert run_command(["bench", "export", "nanoo"]) == 4
    assert "did you mean 'nano'" in capsys.readouterr().err
