"""`flyweight data`: text, JSON and a page that needs nothing else; the set stays as it is."""

import json
import re

import pytest
from image_sets import image_folder, picture, save

from flyweight.cli import app

pytestmark = pytest.mark.usefixtures("own_places")


@pytest.fixture
def folder(tmp_path):
    root = image_folder(tmp_path / "photos", ("cat", "<b>dog</b>"), 8)
    save(root / "cat" / "dark.jpg", picture(3), quality=90)
    (root / "cat" / "<script>.png").write_text("no image")
    return root


def everything(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def test_text_and_page(folder, tmp_path, capsys):
    before, page = everything(folder), tmp_path / "scan.html"
    assert app.run_command(["data", str(folder), "--page", str(page)]) == 0
    out = capsys.readouterr().out
    assert "images         17: " in out
    assert "<script>.png  it is no image" in out
    assert everything(folder) == before
    text = page.read_text(encoding="utf-8")
    # an image a class, and two of the pair
    assert len(re.findall(r'<img src="data:image/png;base64,', text)) == 2 + 2
    assert not re.findall(r"(?:src|href)=\"(?!data:)", text)
    assert "<script" not in text
    assert "<b>dog" not in text
    assert "cat/dark.jpg" in text


def test_a_page_takes_the_place_of_no_other_file(folder, tmp_path, capsys):
    mine = tmp_path / "mine.html"
    mine.write_text("<title>my own</title>")
    assert app.run_command(["data", str(folder), "--page", str(mine)]) == 2
    assert "there is such a file already" in capsys.readouterr().err
    assert mine.read_text() == "<title>my own</title>"
    for _ in range(2):  # its own page is written anew
        assert app.run_command(["data", str(folder), "--page", str(tmp_path / "scan.html")]) == 0


def test_json_is_one_object(folder, capsys):
    assert app.run_command(["data", str(folder), "--json", "--verify", "--set", "data.size=40"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["network"]["shape"] == [3, 40, 40]
    assert [one["name"] for one in content["left_out"]] == ["cat/<script>.png"]


def test_a_data_set_by_name(capsys):
    assert app.run_command(["data", "digits", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 1797


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        (["nowhere"], 3, "does not exist"),
        (["photos", "--page", "photos/scan.html"], 2, "lies in the data set"),
        (["photos", "--page", "photos/../photos/cat/scan.html"], 2, "lies in the data set"),
        (["photos", "--page", "scan.png"], 2, "must end in .html"),
        (["photos", "--page", "no/scan.html"], 2, "there is no folder"),
        (["photos", "--set", "train.epochs=3"], 2, "only keys of data"),
        (["photos", "--set", "data.hold_out=3"], 2, "the whole set"),
        (["photos", "--set", "data.sise=3"], 2, "did you mean 'size'"),
    ],
)
def test_a_call_that_cannot_be_answered_is_told_in_a_line(folder, tmp_path, monkeypatch, capsys, call, code, words):
    monkeypatch.chdir(tmp_path)
    before = everything(folder)
    assert app.run_command(["data", *call]) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert words in " ".join(told.err.split())
    assert everything(folder) == before
