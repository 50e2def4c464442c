"""What a scan finds in a folder of images that has one of everything."""

import shutil

import numpy as np
import pytest
from conftest import synthetic
from image_sets import image_folder, picture, save

from flyweight import data
from flyweight.data import findings
from flyweight.data.dataset import silent
from flyweight.data.scan import scan

pytestmark = pytest.mark.usefixtures("own_places")


@pytest.fixture
def folder(tmp_path):
    """Two classes in two splits, and what may be wrong with such a set."""
    root = image_folder(tmp_path / "photos", ("cat", "dog"), 12, ("train", "test"))
    shutil.copy(root / "train/cat/0.png", root / "train/cat/copy.png")  # within a class
    shutil.copy(root / "train/cat/1.png", root / "train/dog/cat.png")  # across classes
    shutil.copy(root / "train/dog/2.png", root / "test/dog/seen.png")  # a leak
    save(root / "test/cat/squeezed.jpg", picture(3), quality=90)  # a leak as well: train/cat/3.png
    for level in (20, 220):
        save(root / f"train/dog/flat{level}.png", np.full((20, 24, 3), level, np.uint8))
    shutil.copy(root / "train/dog/4.png", root / "train/dog/4-really-png.jpg")
    (root / "train/dog/4.png").unlink()
    (root / "test/dog/text.jpg").write_text("no image")
    (root / "test/dog/empty.png").touch()
    (root / "readme.txt").write_text("photos")
    save(root / "train/dog/wide.png", picture(77, 20, 200))
    return root


def members(found):
    return [sorted(member.called for member in copies.members) for copies in found]


def test_everything_is_found_and_marked(folder):
    found = scan(data.load(path=folder), silent)
    assert members(found.equal) == [
        ["train/cat/0.png", "train/cat/copy.png"],
        ["train/cat/1.png", "train/dog/cat.png"],
        ["test/dog/seen.png", "train/dog/2.png"],
    ]
    assert [findings.where(copies) for copies in found.equal] == ["within a class", "across classes", "across splits"]
    assert members(found.near) == [["test/cat/squeezed.jpg", "train/cat/3.png"]]
    assert [(leak.split, leak.equal, leak.near) for leak in found.leaks if leak.split == "test"] == [("test", 1, 1)]
    assert dict(found.left_out) == {
        "readme.txt": "it is in no class's folder",
        "test/dog/text.jpg": "it is no image",
        "test/dog/empty.png": "it is empty",
    }
    assert found.misnamed == (("train/dog/4-really-png.jpg", "PNG"),)
    assert found.formats == {"PNG": 54, "JPEG": 1}
    assert found.images == 55
    assert sum(found.counts["train"]) + sum(found.counts["validation"]) == 29
    assert (found.sizes.width, found.sizes.kinds) == ((24.0, 24.0, 200.0), 2)
    assert found.sizes.frequent[0] == ((24, 20), 54)


def test_equal_members_of_a_near_pair_count_for_the_leak(folder):
    shutil.copy(folder / "test/cat/squeezed.jpg", folder / "test/cat/again.jpg")
    test = scan(data.load(path=folder), silent).leaks[-1]
    assert (test.split, test.images, test.equal, test.near) == ("test", 27, 1, 2)


def test_the_words_and_the_json_say_it(folder):
    (folder / "train/cat\x1b[31m").mkdir()
    save(folder / "train/cat\x1b[31m/0.png", picture(999))
    save(folder / "train/cat\x1b[31m/1.png", picture(998))
    found = scan(data.load(path=folder), silent)
    text = findings.render(found)
    assert "\x1b" not in text
    assert "LEAK: 2 of 26 test images (7.7 %) have a copy among the training images, 1 an equal one, 1 a nearly" in text
    assert "test/dog/text.jpg   it is no image" in text
    assert "class_weights=balanced" in text
    content = findings.as_json(found)
    assert sum(row["train"] + row["validation"] + row["test"] for row in content["classes"]) == content["images"]
    assert {one["name"] for one in content["left_out"]} == {"readme.txt", "test/dog/text.jpg", "test/dog/empty.png"}
    assert content["near"][0]["across_splits"] is True


def test_a_set_without_files_is_scanned_by_its_arrays():
    dataset = synthetic(3, 1, 28, 28, train=60, test=30)
    test = dataset.test.images.copy()
    test[0] = dataset.train.images[5]
    twice = data.Split(test, dataset.test.labels)
    found = scan(data.Dataset(**{**vars(dataset), "test": twice}), silent)
    assert members(found.equal) == [["test image 0", "training image 5"]]
    assert (found.formats, found.left_out, found.sizes.kinds) == ({}, (), 1)
    assert found.leaks[0].equal == 1


def test_the_digits_have_no_duplicates_to_speak_of(tmp_path):
    """Handwritten digits look alike by the thousand."""
    found = scan(data.load("digits", cache=tmp_path), silent)
    assert found.equal == ()
    assert len(found.near) < 0.03 * found.images


def test_what_is_shown_of_many_classes():
    found = scan(synthetic(50, 1, 16, 16, train=200, test=50), silent)
    assert len(findings.shown_classes(found, 20)) == 20
    assert "The largest and smallest of 50 classes" in findings.render(found)
