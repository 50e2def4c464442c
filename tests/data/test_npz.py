"""Arrays of images in one .npz file."""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cifar10_sets import flip, refused, silent
from image_sets import npz_file, picture
from PIL import Image

from flyweight import data
from flyweight.cli.app import run_command
from flyweight.data import npz, registry
from flyweight.data.listing import Listing
from flyweight.recipes.sections import DataConfig

pytestmark = pytest.mark.usefixtures("own_places")


def listed(path: Path) -> Listing:
    return npz.listing(path, DataConfig(), silent)


def images(count: int = 4, *shape: int) -> np.ndarray:
    return np.arange(count * int(np.prod(shape or (5, 6))), dtype=np.uint8).reshape(count, *(shape or (5, 6)))


@pytest.mark.parametrize("grey", [True, False])
def test_a_file_as_medmnist_has_it(grey: bool, tmp_path: Path) -> None:
    dataset = data.load(path=npz_file(tmp_path / "x.npz", grey), config=DataConfig(size=28))
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (20, 10, 10)
    assert dataset.classes == ("0", "1")
    assert dataset.test.names[3] == "test image 3"
    assert dataset.test.labels[3] == 1
    assert dataset.test.images.shape == (10, 28, 28, 1 if grey else 3)
    assert np.array_equal(dataset.test.images[3].squeeze(), picture(203, 28, 28, grey))


LABELS = np.array([10, 9, 0, 2])
SETS: dict[str, tuple[dict[str, np.ndarray], list[tuple[str, str]], tuple[str, ...] | None]] = {
    "as Keras has it": (
        {"x_train": images(2), "y_train": np.array([3, 1]), "x_test": images(1), "y_test": np.array([1])},
        [("train", "3"), ("train", "1"), ("test", "1")],
        ("1", "3"),
    ),
    "no splits": ({"images": images(), "labels": LABELS}, [("", str(n)) for n in LABELS], ("0", "2", "9", "10")),
    "scikit-learn's names": ({"data": images(), "target": LABELS[:, None]}, [("", str(n)) for n in LABELS], None),
    "names of classes": (
        {"images": images(2, 5, 6, 3), "labels": np.array([2, 0]), "class_names": np.array(["z", "b", "a"])},
        [("", "a"), ("", "z")],
        ("z", "b", "a"),
    ),
    "names as labels": ({"X": images(2, 5, 6, 1), "y": np.array(["b", "a"])}, [("", "b"), ("", "a")], None),
    "an object beside": (
        {"images": images(1), "labels": np.array([True]), "meta": np.array([{}], object)},
        [("", "1")],
        ("1",),
    ),
}


@pytest.mark.parametrize("name", SETS)
def test_arrays_are_found_by_their_names(name: str, tmp_path: Path) -> None:
    arrays, expected, classes = SETS[name]
    found = listed(npz_file(tmp_path / "x.npz", **arrays))
    assert [(entry.split, entry.label) for entry in found.entries] == expected
    assert classes is None or found.classes == classes
    pictures = np.concatenate([array for array in arrays.values() if array.dtype == np.uint8])
    for _ in range(2):
        assert np.array_equal(list(found.contents()), pictures)


REFUSED: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "floats": ({"images": images() / 255, "labels": LABELS}, "(4x5x6 float64) must be uint8, 0 to 255: save images"),
    "wide numbers": ({"images": images().astype(np.int64), "labels": LABELS}, "save images.astype('uint8')"),
    "several classes an image": ({"images": images(), "labels": np.eye(4, dtype=np.uint8)}, "labels.argmax(1)"),
    "volumes": ({"images": images(4, 5, 5, 5), "labels": LABELS}, "images x height x width, or x 3"),
    "channels first": ({"images": images(4, 3, 5, 5), "labels": LABELS}, "channels come last"),
    "flat": ({"data": images(4, 25), "target": LABELS}, "images x height x width"),
    "other counts": ({"images": images(), "labels": LABELS[:3]}, "differ in their number"),
    "numbers with a point": ({"images": images(), "labels": LABELS / 2}, "must be whole numbers or text"),
    "objects": ({"images": images(), "labels": LABELS.astype(object)}, "must be whole numbers or text"),
    "Fortran": ({"images": np.asfortranarray(images()), "labels": LABELS}, "numpy.ascontiguousarray(images)"),
    "other names": ({"a": images(), "b": LABELS}, "or images and labels; it holds a (4x5x6 uint8), b (4 int64)"),
    "too few names": ({"images": images(), "labels": LABELS, "classes": np.array(["a"])}, "labels are 0 to 10, but"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_arrays_are_one_line(case: str, tmp_path: Path) -> None:
    arrays, reason = REFUSED[case]
    line = refused(lambda: listed(npz_file(tmp_path / "x.npz", **arrays)))
    assert reason in line
    assert str(tmp_path / "x.npz") in line


def test_images_without_labels_are_left_out_and_told(tmp_path: Path) -> None:
    arrays = {"train_images": images(), "train_labels": LABELS, "test_images": images()}
    found = listed(npz_file(tmp_path / "x.npz", **arrays))
    assert {entry.split for entry in found.entries} == {"train"}
    assert found.notes == ("Images without labels of their own were left out: test_images.",)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "no zip": lambda file: file.write_text("x" * 500),
    "empty": lambda file: file.write_bytes(b""),
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:3000]),
    "a flipped bit": lambda file: flip(file, 2000),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_one_line(damage: str, tmp_path: Path) -> None:
    file = npz_file(tmp_path / "x.npz")
    DAMAGE[damage](file)
    assert registry.choose(None, file).name == "npz"
    assert f"{file} cannot be read as an .npz file" in refused(lambda: data.load(path=file))


def test_images_are_streamed(tmp_path: Path) -> None:
    """80 MB of images, of which 1 is in memory."""
    many = np.zeros((100_000, 28, 28), np.uint8)
    np.savez_compressed(tmp_path / "x.npz", images=many, labels=np.arange(100_000) % 2)
    del many
    found = listed(tmp_path / "x.npz")
    tracemalloc.start()
    assert sum(1 for _ in found.contents()) == 100_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20


def test_digits_in_a_file_train_without_any_other_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = (digits.images[:300] * 15.9).astype(np.uint8)
    grey = np.stack([np.asarray(Image.fromarray(image).resize((28, 28))) for image in small])
    np.savez(tmp_path / "digits.npz", images=grey, labels=digits.target[:300])
    monkeypatch.chdir(tmp_path)
    assert run_command(["train", "--data", "digits.npz", "--epochs", "1", "--out", "run", "--no-report"]) == 0
    assert "validation accuracy" in capsys.readouterr().out
    assert run_command(["evaluate", "run", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert 30 < scores["n"] < 60
    assert len(scores["per_class"]) == 10
