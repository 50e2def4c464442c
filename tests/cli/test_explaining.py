"""Photographs of scikit-image, which come with it: a cat, which is of a class of CIFAR-10, and a coffee cup."""

import csv
import io
import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_cli import command  # noqa: F401 (a fixture)

from flyweight.evaluation import overlay


def photograph(name):
    """Where the package of scikit-image keeps it: not imported, for that takes seconds."""
    found = find_spec("skimage")
    assert found is not None, "scikit-image, whose photographs the tests look at, is missing: make install"
    return Path(found.submodule_search_locations[0]) / "data" / f"{name}.png"


@pytest.fixture
def cat(tmp_path):
    return shutil.copy(photograph("chelsea"), tmp_path / "cat.png")


@pytest.fixture
def cup(tmp_path):
    return shutil.copy(photograph("coffee"), tmp_path / "cup.png")


def heat_of(path, name, tmp_path):
    """How much a map's colours changed each pixel of a photograph."""
    whole = np.asarray(Image.open(path).convert("RGB"), float)
    shown = np.asarray(Image.open(tmp_path / "maps" / name).convert("RGB"), float)
    return np.abs(shown[: whole.shape[0], : whole.shape[1]] - whole).mean(-1), whole.shape


def test_a_cat_is_a_cat_and_its_map_lies_on_the_cat_and_a_cup_is_none_of_the_classes(command, cat, cup, tmp_path):  # noqa: F811
    code, out, err = command("predict", "dilated", "cat.png", "cup.png", "--explain", "maps", "--json")
    assert code == 0, err
    assert err == "maps of 2 images in maps\n"
    cat_said, cup_said = json.loads(out)
    assert cat_said["predictions"][0]["class"] == "cat"
    assert (cat_said["none_of_my_classes"], cup_said["none_of_my_classes"]) == (False, True)
    assert cat_said["explanation"] == "maps/0001-cat.png"
    heat, (height, width, _) = heat_of(cat, "0001-cat.png", tmp_path)
    assert (width, height) == (451, 300)
    # its face fills the middle; what was cropped away is dark and is not looked at here
    kept = heat[:, 76:375]
    rows, columns = np.indices(kept.shape)
    assert 90 < (rows * kept).sum() / kept.sum() < 200
    assert 90 < (columns * kept).sum() / kept.sum() < 210
    assert kept[100:200, 75:225].mean() > 1.5 * kept[:40].mean()


def test_none_of_my_classes_as_text_and_as_a_table(command, cat, cup):  # noqa: F811
    _, out, _ = command("predict", "dilated", "cat.png", "cup.png", "--top", "1")
    first, second = out.splitlines()
    assert "none of my classes" not in first
    assert "none of my classes (automobile " in second
    _, out, _ = command("predict", "dilated", "cat.png", "cup.png", "--top", "1", "--csv", "-")
    assert [row["none_of_my_classes"] for row in csv.DictReader(io.StringIO(out))] == ["no", "yes"]


def test_equal_names_do_not_collide_and_none_leaves_the_folder(command, tmp_path):  # noqa: F811
    for place in ("a", "b", "c"):
        (tmp_path / place).mkdir()
        Image.new("RGB", (20, 30), "navy").save(tmp_path / place / "x.png")
    (tmp_path / "c" / "x.png").rename(tmp_path / "c" / "..\\..; rm é.png")
    (tmp_path / "a" / "broken.png").write_bytes(b"no image")
    code, _, err = command("predict", "sprint", "a", "b", "c", "--explain", "maps")
    assert code == 3
    assert err.splitlines()[-1] == "maps of 3 images in maps"
    # a file that cannot be read keeps its number
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == [
        "0002-x.png", "0003-x.png", "0004-rm.png",
    ]  # fmt: skip
    with Image.open(tmp_path / "maps" / "0002-x.png") as drawn:
        assert drawn.height > 30


@pytest.mark.parametrize("to", ["maps", "deep/er/maps"])
def test_no_image_no_folder(command, tmp_path, to):  # noqa: F811
    (tmp_path / "bad.png").write_bytes(b"no image")
    code, _, err = command("predict", "sprint", "bad.png", "--explain", to)
    assert code == 3
    assert err.splitlines()[-1] == "no maps, for no image could be read"
    assert [path.name for path in tmp_path.iterdir()] == ["bad.png"]
    (tmp_path / "kept").mkdir()
    assert command("predict", "sprint", "bad.png", "--explain", "kept")[0] == 3
    assert (tmp_path / "kept").is_dir()


def test_what_is_there_is_not_overwritten_unasked(command, tmp_path):  # noqa: F811
    Image.new("RGB", (32, 32), "navy").save(tmp_path / "x.png")
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "0001-x.png").write_text("mine")
    code, out, err = command("predict", "sprint", "x.png", "--explain", "maps")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "holds files already: name a new folder, or let --force" in err
    assert (tmp_path / "maps" / "0001-x.png").read_text() == "mine"
    (tmp_path / "maps" / "other.txt").write_text("mine")
    assert command("predict", "sprint", "x.png", "--explain", "maps", "--force")[0] == 0
    with Image.open(tmp_path / "maps" / "0001-x.png") as drawn:
        assert drawn.format == "PNG"
    assert (tmp_path / "maps" / "other.txt").read_text() == "mine"
    code, _, err = command("predict", "sprint", "x.png", "--explain", "x.png")
    assert (code, len(err.splitlines())) == (2, 1)


@pytest.mark.parametrize("resize", ["crop", "pad", "squash"])
@pytest.mark.parametrize("size", [(90, 60), (40, 100), (32, 32)])
def test_a_map_lies_where_the_network_saw_it(resize, size):
    # a bright dot, found again in what the network takes: the map of that place must cover the dot
    from flyweight.images.sizing import resized

    width, height = size
    image = Image.new("RGB", size, "black")
    dot = (round(0.55 * width), round(0.4 * height))
    image.paste("white", (dot[0] - 2, dot[1] - 2, dot[0] + 3, dot[1] + 3))
    taken = np.asarray(resized(image, (32, 32), resize).convert("L"), np.float32)
    heat = np.where(taken == 128, 0, taken) / taken.max()  # without the grey around it
    covered = np.asarray(overlay.laid_over(Image.new("RGB", size, "black"), heat, resize), float).sum(-1)
    row, column = np.unravel_index(covered.argmax(), covered.shape)
    assert abs(column - dot[0]) <= 2 * max(1, width / 32)
    assert abs(row - dot[1]) <= 2 * max(1, height / 32)
    assert covered.shape == (height, width)


def test_what_was_cropped_away_is_dark_and_what_was_padded_is_not():
    grey = Image.new("RGB", (60, 20), (200, 200, 200))
    cropped, padded = (
        np.asarray(overlay.laid_over(grey, np.zeros((32, 32), np.float32), resize)) for resize in ("crop", "pad")
    )
    assert (cropped[:, 20:40] == 200).all()
    assert (cropped[:, :20] == 70).all()
    assert (cropped[:, 40:] == 70).all()
    assert (padded == 200).all()
