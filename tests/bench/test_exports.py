"""`flyweight bench export`: every way is asked and timed, and what is missing is told."""

import dataclasses
import json
import re
import shutil

import pytest
from c_programs import needs_gcc
from conftest import synthetic
from exporting import DILATED, described, learnt

from flyweight import data
from flyweight.bench import exports, latency, sides
from flyweight.cli.app import run_command
from flyweight.export import gate
from flyweight.runs.card import load_trained, save_model


@pytest.fixture(scope="module")
def dataset():
    return synthetic(10, 3, 16, 16, train=160, test=60)


@pytest.fixture(scope="module")
def folder(dataset, tmp_path_factory):
    found = tmp_path_factory.mktemp("net")
    save_model(found, learnt(DILATED, dataset).model, described(DILATED, dataset))
    return found


@pytest.mark.early
@needs_gcc
def test_one_table_says_what_every_export_comes_to(dataset, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(data, "load", lambda name: dataset)
    call = ["bench", "export", str(folder), "--images", "20", "--test-images", "30", "--exports", str(tmp_path)]
    assert run_command([*call, "--json"]) == 0
    out, err = capsys.readouterr()
    ways = {way["way"]: way for way in json.loads(out)["ways"]}
    assert list(ways) == list(latency.WAYS)
    assert f"timing {folder}" in err
    assert ways["PyTorch eager"]["ratio"] == 1
    for name, way in ways.items():
        assert (way["images"], way["missing"]) == (0 if name == "flyweight" else 30, None)
        low, middle, high = (way["milliseconds"][place] for place in (1, 0, 2))
        assert 0 < low <= middle <= high
        assert way["ratio"] == pytest.approx(middle / ways["PyTorch eager"]["milliseconds"][0], rel=0.01)
    assert ways["C, 8 bits"]["arena"] > 0
    assert 0 < ways["C, 8 bits"]["bytes"] < ways["onnxruntime"]["bytes"]
    # what is there is used again, and nothing is left beside it
    (kept,) = tmp_path.iterdir()
    before = {path: path.stat().st_mtime_ns for path in kept.iterdir()}
    monkeypatch.setattr(exports, "exported", None)
    monkeypatch.setattr(sides, "module", lambda *call: json.dumps({"PyTorch eager": [2, 2], "flyweight": [1, 1]}))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert run_command(call) == 0
    out = capsys.readouterr().out
    assert "C, 8 bits: there is no gcc" in out
    assert re.search(r"1\.00 \(1\.00 to 1\.00\) +0\.50", out)
    assert {path: path.stat().st_mtime_ns for path in kept.iterdir()} == before
    # but not what was made of other weights
    record = kept / "export.json"
    record.write_text(record.read_text().replace('"weights_sha256": "', '"weights_sha256": "0'))
    assert run_command(call) == 2
    assert "is an export of other weights" in capsys.readouterr().err
    record.write_text("{")
    assert run_command(call) == 2
    assert "export.json is damaged" in capsys.readouterr().err


def test_what_could_not_be_made_is_told(folder, tmp_path):
    found = load_trained(folder)
    agreed = {"n": 30, "same": 30, "difference": 0, "accuracy": 90.0, "lost": 0}
    files = [{"file": "model.onnx", "bytes": 5, "agreement": agreed}]
    record = {"weights_sha256": found.card.sha256, "accuracy": 90.0, "checked_on": {"images": 30}, "files": files}
    (tmp_path / "export.json").write_text(json.dumps(record))
    ways = exports.told("net", found, tmp_path, {"onnx-int8": gate.GateError("it loses too much")})
    text = exports.Exports({}, tuple(ways)).text()
    assert "net, onnxruntime, 8 bits: it loses too much" in text
    assert f"net, C, 8 bits: {tmp_path} has none" in text


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
