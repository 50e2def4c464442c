"""Images of one's own, through the command line's own functions: train, resume, evaluate, report, predict."""

import io
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from flyweight.cli.app import run_command

FEW = ("--epochs", "2", "--set", "model.network=nano", "--set", "train.precision=float32", "--set", "train.workers=0")


def photographs():
    """Three real photographs that other packages bring along, as (name, image)."""
    from matplotlib import cbook
    from sklearn.datasets import load_sample_images

    china, flower = load_sample_images().images
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        portrait = np.asarray(Image.open(file).convert("RGB"))
    return (("flower", flower), ("portrait", portrait), ("temple", china))


def parts(pixels, count, seed):
    """Parts of a photograph in the proportions 4:3, each from a place of its own."""
    generator = np.random.default_rng(seed)
    height, width, _ = pixels.shape
    for _ in range(count):
        wide = int(generator.integers(width // 2, 3 * width // 4))
        tall = wide * 3 // 4
        top, left = generator.integers(0, height - tall), generator.integers(0, width - wide)
        yield Image.fromarray(pixels[top : top + tall, left : left + wide])


def digits_in_folders(folder):
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images[:400], digits.target[:400], strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.round(image * (255 / 16)).astype(np.uint8)).save(folder / str(label) / f"{number}.png")
    return folder / "3" / "3.png"


def photographs_in_folders(folder):
    """Most of 200x150 and some of 4000x3000 pixels, in splits as Roboflow calls them."""
    for number, (name, pixels) in enumerate(photographs()):
        for split, count in (("train", 24), ("valid", 4), ("test", 4)):
            (folder / split / name).mkdir(parents=True)
            for index, part in enumerate(parts(pixels, count, 10 * number + len(split))):
                size = (4000, 3000) if index == 0 else (200, 150)
                part.resize(size).save(folder / split / name / f"{index}.jpg", quality=90)
    return folder / "test" / "flower" / "0.jpg"


def photographs_in_parquet(folder):
    """Columns called image and label, and the names of the classes in the schema's metadata, as the hub writes them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [name for name, _ in photographs()]
    info = {"info": {"features": {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}}}
    folder.mkdir()
    for split, count in (("train", 24), ("test", 6)):
        rows = []
        for label, (_, pixels) in enumerate(photographs()):
            for part in parts(pixels, count, 10 * label + count):
                buffer = io.BytesIO()
                part.resize((80, 60)).save(buffer, "PNG")
                rows.append({"image": {"bytes": buffer.getvalue(), "path": None}, "label": label})
        table = pa.Table.from_pylist(rows).replace_schema_metadata({"huggingface": json.dumps(info)})
        pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    (folder.parent / "one.png").write_bytes(buffer.getvalue())
    return folder.parent / "one.png"


def digits_in_arrays(file):
    """Grey, 28x28, with the names of MedMNIST."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = (np.round(image * (255 / 16)).astype(np.uint8) for image in digits.images[:400])
    images = np.stack([np.asarray(Image.fromarray(image).resize((28, 28))) for image in small])
    cuts = {"train": slice(0, 300), "val": slice(300, 350), "test": slice(350, 400)}
    arrays = {f"{split}_images": images[cut] for split, cut in cuts.items()}
    labels = {f"{split}_labels": digits.target[:400][cut, None].astype(np.uint8) for split, cut in cuts.items()}
    np.savez_compressed(file, **arrays, **labels)
    Image.fromarray(images[3]).save(file.parent / "one.png")
    return file.parent / "one.png"


SETS = {
    # (writes the set and returns an image of it, classes, the shape of its images)
    "digits": (digits_in_folders, [str(digit) for digit in range(10)], [1, 32, 32]),
    "photographs": (photographs_in_folders, ["flower", "portrait", "temple"], [3, 64, 64]),
    "parquet": (photographs_in_parquet, ["flower", "portrait", "temple"], [3, 64, 64]),
    "set.npz": (digits_in_arrays, [str(digit) for digit in range(10)], [1, 32, 32]),
}


@pytest.mark.early
@pytest.mark.parametrize("kind", SETS)
def test_a_path_alone_is_enough_from_training_to_prediction(kind, tmp_path, monkeypatch, capsys):
    make, classes, shape = SETS[kind]
    monkeypatch.chdir(tmp_path)
    place = kind if kind.endswith(".npz") else "set"
    image = make(tmp_path / place)
    assert run_command(["train", "--data", place, "--out", "run", *FEW]) == 0
    told = capsys.readouterr()
    assert ("no test images" in told.err) == (kind == "digits")
    assert re.search(r"^validation accuracy .* at the last epoch", told.out, re.M)
    assert re.search(r"^test accuracy ", told.out, re.M)
    run = tmp_path / "run"
    card = json.loads((run / "config.json").read_text())
    assert (card["classes"], card["input_shape"], card["resize"]) == (classes, shape, "squash")
    weights = (run / "model.safetensors").read_bytes()
    page = re.sub('base64,[^"]*', "", (run / "report.html").read_text())
    for word in ("brief", "CIFAR", "R6", "R9"):
        assert word not in page, word
        assert word not in (run / "REPORT.md").read_text(), word

    # the last epoch is taken away, and done again
    sorted((run / "checkpoints").glob("*.pt"))[-1].unlink()
    (run / "model.safetensors").unlink()
    assert run_command(["train", "--resume", "run", "--no-report"]) == 0
    assert (run / "model.safetensors").read_bytes() == weights

    capsys.readouterr()
    assert run_command(["evaluate", "run", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["split"] == "test"
    assert [score["name"] for score in scores["per_class"]] == classes
    wrong = (run / "mistakes.csv").read_text().splitlines()
    assert wrong[0].split(",")[-1] == "name"
    if kind in ("digits", "photographs"):
        assert all((tmp_path / "set" / line.rsplit(",", 1)[1]).is_file() for line in wrong[1:])

    assert run_command(["predict", "run", str(image), "--json"]) == 0
    [answer] = json.loads(capsys.readouterr().out)
    assert answer["predictions"][0]["class"] in classes


def test_what_a_network_has_never_seen_is_all_tested(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    digits_in_folders(tmp_path / "set")
    assert run_command(["train", "--data", "set", "--out", "run", "--no-report", *FEW]) == 0
    # its own set by its path, and one part of it more: what it was trained on is not tested
    for options in ((), ("--data", "set")):
        capsys.readouterr()
        assert run_command(["evaluate", "run", *options, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["n"] == 60
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "set" / "0" / "black.png")
    assert run_command(["evaluate", "run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] in (60, 61)

    new = tmp_path / "new" / "7"
    new.mkdir(parents=True)
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(new / f"{index}.png")
    capsys.readouterr()
    assert run_command(["evaluate", "run", "--data", "new", "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["n"] == 3
    assert "all 3 images are test images" in told.err
    for index in (1, 2):
        (new / f"{index}.png").unlink()
    assert run_command(["evaluate", "run", "--data", "new", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 1
    (tmp_path / "tests").mkdir()
    shutil.copytree(new.parent, tmp_path / "tests" / "test")
    assert run_command(["evaluate", "run", "--data", "tests", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 1
    new.rename(new.with_name("unicorn"))
    assert run_command(["evaluate", "run", "--data", "new"]) == 3
    assert "classes that the network does not know (unicorn)" in capsys.readouterr().err
