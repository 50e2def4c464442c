"""An export is asked without PyTorch, and says what PyTorch says."""

import csv
import io
import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import flyweight
from flyweight.cli.app import run_command
from flyweight.errors import FlyweightError, RunError
from flyweight.export import alone
from flyweight.images import decode
from flyweight.inference.predict import Predictor

FILES = ("", "model_pixels.onnx", "model.onnx", "model_ultralytics.onnx")


def blocks(seed, height, width, channels=3):
    """Coarse random blocks, as an image has areas."""
    coarse = np.random.default_rng(seed).integers(0, 256, (-(-height // 9), -(-width // 9), channels))
    return coarse.repeat(9, 0).repeat(9, 1)[:height, :width].astype(np.uint8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Images of all the kinds that have gone wrong somewhere."""
    folder = tmp_path_factory.mktemp("photos")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(blocks(0, 32, 32)).save(folder / "exact.png")
    Image.fromarray(blocks(1, 300, 400)).save(folder / "turned.jpg", exif=turned)
    Image.fromarray(blocks(2, 70, 40, 4)).save(folder / "transparent.png")
    Image.fromarray(blocks(3, 33, 90, 1)[..., 0]).save(folder / "grey.png")
    Image.fromarray(blocks(4, 50, 50, 1)[..., 0].astype(np.uint16) * 257).save(folder / "sixteen.png")
    Image.fromarray(blocks(5, 61, 47)).quantize(16).save(folder / "palette.gif")
    Image.fromarray(blocks(6, 200, 20)).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(blocks(7, 1, 90)).save(folder / "line.png")
    return folder


@pytest.fixture(scope="module")
def torchs(photos):
    """What PyTorch says of each: all classes."""
    paths = sorted(photos.iterdir())
    # twice, for a batch of 16 is not compiled first
    return flyweight.predict("sprint", paths * 2, top=10)[: len(paths)]


@pytest.mark.parametrize("file", FILES)
def test_it_says_what_pytorch_says(sprint_export, photos, torchs, file):
    paths = sorted(photos.iterdir())
    ours = flyweight.predict(sprint_export / file, paths, top=10)
    for one, other in zip(ours, torchs, strict=True):
        assert one.error is None
        assert one.path == other.path
        assert one.classes[0] == other.classes[0]
        expected = dict(zip(other.classes, other.probabilities, strict=True))
        assert [expected[name] for name in one.classes] == pytest.approx(list(one.probabilities), abs=1e-4)


def test_paths_images_of_pillows_bytes_and_arrays_are_one(sprint_export, photos):
    for network in (flyweight.load("sprint"), flyweight.load(sprint_export)):
        assert isinstance(network, Predictor)
        path = photos / "exact.png"
        array = np.array(Image.open(path))
        batch = np.stack([array, array])
        kinds = network.predict([path, str(path), path.read_bytes(), Image.open(path), array])
        assert len({(one.classes, one.probabilities) for one in kinds}) == 1
        assert [one.path for one in kinds] == [path, path, None, None, None]
        both = network.predict(batch)
        for one in (*both, *network.predict(array), *network.predict(path), *network.predict(str(path))):
            assert one.probabilities == pytest.approx(kinds[0].probabilities, abs=1e-5)
        whole = network.predict([Image.open(photos / "transparent.png"), blocks(2, 70, 40, 4)])
        assert whole[0].probabilities == pytest.approx(whole[1].probabilities, abs=1e-6)
        odd = network.predict([array.astype(float), array[..., :2], b"no image", path])
        assert [one.error is None for one in odd] == [False, False, False, True]
        assert odd[0].error == "image 0 cannot be read as an image: its numbers are float64 and not uint8, 0 to 255"


def test_what_pytorch_runs_is_a_module_and_is_asked_anew_when_its_weights_change(photos):
    import torch

    network = flyweight.load("sprint")
    inputs = torch.randn(2, 3, 32, 32)
    assert torch.equal(network(inputs), network.model(inputs))
    before = network.predict([photos / "exact.png"] * 16)[0].probabilities
    with torch.no_grad():
        network.model.classifier.weight.zero_()
    after = network.predict([photos / "exact.png"] * 16, top=10)[0].probabilities
    assert before[0] > 0.11
    assert after == pytest.approx([0.1] * 10)


def test_temperature_and_threshold_of_the_card_travel_with_the_export(sprint_export, photos, tmp_path, monkeypatch):
    import onnx

    from flyweight.export import around

    # the one that gives logits: in the other the temperature is part of the graph
    model = onnx.load(sprint_export / "model.onnx")
    words = {entry.key: entry.value for entry in model.metadata_props}
    kept = flyweight.load("sprint")
    assert json.loads(words["temperature"]) == kept.temperature
    assert json.loads(words["threshold"]) == kept.threshold
    around.say(model, words | {"temperature": "3.0", "threshold": "0.9"})
    (tmp_path / "warm.onnx").write_bytes(around.sealed(model))
    kept.temperature, kept.threshold = 3.0, 0.9
    paths = sorted(photos.iterdir())
    ours, torchs = flyweight.predict(tmp_path / "warm.onnx", paths, 10), kept.predict(paths, 10)
    assert {one.known for one in ours} == {one.known for one in torchs} == {False}
    for one, other in zip(ours, torchs, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)
    assert "none of my classes (" in ours[0].line(10)
    assert ours[0].as_json()["none_of_my_classes"] is True


# what an environment of numpy, Pillow and onnxruntime lacks, and cyclopts with what it brings
ABSENT = (
    "torch",
    "pydantic",
    "yaml",
    "safetensors",
    "scipy",
    "sklearn",
    "accelerate",
    "filelock",
    "onnx",
    "onnxscript",
)
WITHOUT = f"""
import sys
class Absent:
    names = {ABSENT}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""


def without(code, *arguments, **options):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_command_needs_no_torch(sprint_export, photos, torchs):
    main = "from flyweight.cli.app import main; main()"
    code, out, err = without(main, "predict", sprint_export, photos, "--json", "--top", 10)
    assert (code, err) == (0, "")
    for one, other in zip(json.loads(out), torchs, strict=True):
        assert one["path"] == str(other.path)
        expected = dict(zip(other.classes, other.probabilities, strict=True))
        assert {entry["class"]: entry["probability"] for entry in one["predictions"]} == pytest.approx(
            expected, abs=1e-4
        )
    code, out, err = without(main, "predict", "sprint", photos)
    assert (code, out) == (2, "")
    assert err == (
        "flyweight: this needs torch, which is not installed here: pip install flyweight, with its dependencies\n"
    )


def test_without_its_dependencies_the_command_says_what_it_needs(sprint_export, photos, torchs):
    code = "Absent.names += ('cyclopts', 'rich')\n"
    got, out, err = without(code + "from flyweight.__main__ import main; main()", "predict", "sprint", "cat.png")
    assert (got, out) == (2, "")
    assert err == "flyweight: the command line needs cyclopts, which is not installed here: pip install cyclopts\n"
    say = "import flyweight; print(flyweight.load(sys.argv[1]).predict(sys.argv[2])[0].classes[0])"
    got, out, err = without(code + say, sprint_export, torchs[0].path)
    assert (got, err) == (0, "")
    assert out.strip() == torchs[0].classes[0]


@pytest.mark.parametrize("first", ["model_pixels.onnx", "model.onnx"])
def test_the_program_beside_the_files_says_the_same(sprint_export, torchs, tmp_path, monkeypatch, capsys, first):
    folder = shutil.copytree(sprint_export, tmp_path / "export")
    if first == "model.onnx":
        (folder / "model_pixels.onnx").unlink()
    monkeypatch.setattr(sys, "argv", ["predict.py", *(str(one.path) for one in torchs)])
    runpy.run_path(str(folder / "predict.py"), run_name="__main__")
    for line, other in zip(capsys.readouterr().out.splitlines(), torchs, strict=True):
        assert line.startswith(str(other.path))
        assert other.classes[0] in line
        told = [float(part.split()[-2]) for part in line.removesuffix(")").split(", ")]
        assert told == pytest.approx([100 * share for share in other.probabilities[:3]], abs=0.02)


def test_the_program_answers_beside_an_image_that_is_none(sprint_export, torchs, tmp_path, monkeypatch, capsys):
    (tmp_path / "text.png").write_text("words")
    given = [str(tmp_path / "text.png"), str(tmp_path / "missing.png"), str(torchs[0].path)]
    monkeypatch.setattr(sys, "argv", ["predict.py", *given])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(sprint_export / "predict.py"), run_name="__main__")
    out, err = capsys.readouterr()
    assert (ended.value.code, len(out.splitlines()), len(err.splitlines())) == (3, 1, 2)
    monkeypatch.setattr(sys, "argv", ["predict.py"])
    with pytest.raises(SystemExit, match="name images"):
        runpy.run_path(str(sprint_export / "predict.py"), run_name="__main__")


def test_the_program_is_short_and_prepares_an_image_as_the_decoder_does(photos, tmp_path):
    text = Path(alone.__file__).read_text()
    assert len([line for line in text.splitlines() if line.strip()]) <= 52
    turned = Image.Exif()
    paths = sorted(photos.iterdir())
    for orientation in range(1, 9):
        turned[0x0112] = orientation
        paths.append(tmp_path / f"{orientation}.jpg")
        Image.fromarray(blocks(orientation, 90, 140)).save(paths[-1], exif=turned)
    for resize in ("crop", "pad", "squash"):
        for channels, kind in ((1, "grey"), (3, "RGB")):
            looks = {"size": [24, 40], "resize": resize, "channels": kind}
            for path in paths:
                if (path.name, resize) == ("line.png", "pad"):
                    continue  # Pillow makes nothing of a line
                expected = decode.read(path, (channels, 24, 40), resize)
                assert (alone.pixels(path, looks) == expected).all(), (path.name, resize, kind)


def test_a_folder_is_asked_by_the_first_file_of_the_documented_order(sprint_export, tmp_path):
    folder = shutil.copytree(sprint_export, tmp_path / "export")
    assert flyweight.load(folder).path.name == "model_pixels.onnx"
    (folder / "model_pixels.onnx").unlink()
    with pytest.raises(RunError, match=r"model_pixels.onnx: No such file"):
        flyweight.load(folder)  # the record says it is there, so that something went wrong
    record = json.loads((folder / "export.json").read_text())
    record["files"] = [file for file in record["files"] if file["file"] != "model_pixels.onnx"]
    (folder / "export.json").write_text(json.dumps(record))
    assert flyweight.load(folder).path.name == "model.onnx"
    record["files"] = [{"file": "nano.c", "sha256": "0"}]
    (folder / "export.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match=r"holds no file that can be asked \(nano.c\)"):
        flyweight.load(folder)


def test_a_file_beside_the_record_of_its_export_is_the_one_that_this_says(sprint_export, tmp_path):
    folder = shutil.copytree(sprint_export, tmp_path / "export")
    other = shutil.copy(folder / "model.onnx", folder / "mine.onnx")
    shutil.copy(folder / "model.onnx", folder / "model_pixels.onnx")
    with pytest.raises(RunError, match=r"model_pixels.onnx is damaged or of another export: its SHA-256"):
        flyweight.load(folder / "model_pixels.onnx")
    assert flyweight.load(other).path.name == "mine.onnx"
    # whoever names a file needs no record
    (folder / "export.json").write_text("{")
    assert flyweight.load(folder / "model_pixels.onnx").path.name == "model_pixels.onnx"


def test_a_folder_for_the_hub_is_asked_by_its_weights(sprint_export, tmp_path):
    from flyweight.runs.card import ZOO

    folder = shutil.copytree(ZOO / "sprint", tmp_path / "hub")
    (folder / "export.json").write_text(json.dumps({"files": [{"file": "model.safetensors", "sha256": "0"}]}))
    assert flyweight.load(folder).name == "sprint"


def test_an_onnx_of_somebody_elses_is_refused_by_what_it_lacks(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 32, 32])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3, 32, 32])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "theirs", [entry], [out])
    onnx.save(helper.make_model(graph), tmp_path / "theirs.onnx")
    with pytest.raises(
        FlyweightError, match="its metadata lack classes and preprocessing, without which nobody"
    ) as error:
        flyweight.load(tmp_path / "theirs.onnx")
    assert error.value.exit_code == 4


def test_what_an_export_cannot_do_is_said(sprint_export, photos, capsys):
    assert run_command(["predict", str(sprint_export), str(photos), "--fast"]) == 2
    assert "an export is asked as it is: leave --fast out" in capsys.readouterr().err
    with pytest.raises(FlyweightError, match="top must be at least 1"):
        flyweight.load(sprint_export).predict(photos / "exact.png", top=0)


# the command


def test_a_table_has_a_row_an_image_and_starts_no_formula(sprint_export, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(photos / "exact.png", "=HYPERLINK(1).png")
    Path("broken.png").write_bytes((photos / "exact.png").read_bytes()[:100])
    Path("notes.txt").touch()
    Path("model.bin").touch()
    assert run_command(["predict", str(sprint_export), ".", "--top", "2", "--csv", "out.csv"]) == 3
    out, err = capsys.readouterr()
    assert out == "out.csv\n"
    left, broken = err.splitlines()
    assert left == "left out, by their names no images: 2 files (model.bin, notes.txt)"
    assert broken.startswith("flyweight: broken.png cannot be read as an image: ")
    head, good, bad = csv.reader(io.StringIO(Path("out.csv").read_text()))
    assert head[:5] == ["path", "class", "probability", "class_2", "probability_2"]
    assert head[-1] == "error"
    assert good[0] == "'=HYPERLINK(1).png"
    assert (good[-1], bad[0], bad[1]) == ("", "broken.png", "")
    assert "cannot be read" in bad[-1]
    assert len(head) == len(good) == len(bad)
    # standard output holds the table alone; a table of ours is replaced, and nothing else
    assert run_command(["predict", str(sprint_export), "=HYPERLINK(1).png", "--csv", "-"]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("path,class,probability,class_2,probability_2,class_3")
    assert run_command(["predict", str(sprint_export), "=HYPERLINK(1).png", "--csv", "out.csv"]) == 0
    Path("mine.csv").write_text("my own\n")
    capsys.readouterr()
    for to in ("mine.csv", "notes.txt", "nowhere/out.csv", "."):
        assert run_command(["predict", str(sprint_export), ".", "--csv", to]) == 2
        assert capsys.readouterr().err.startswith(f"flyweight: --csv {to}: ")
    assert Path("mine.csv").read_text() == "my own\n"


def test_one_image_comes_by_standard_input(sprint_export, photos, monkeypatch, capsys):
    def piped(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    piped((photos / "turned.jpg").read_bytes())
    assert run_command(["predict", str(sprint_export), "-", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    (expected,) = flyweight.predict(sprint_export, photos / "turned.jpg")
    assert told == expected.as_json() | {"path": "-"}
    piped(b"")
    assert run_command(["predict", str(sprint_export), "-"]) == 3
    assert capsys.readouterr().err == "flyweight: - cannot be read as an image: it is empty\n"
    assert run_command(["predict", str(sprint_export), "-", "-"]) == 3
    assert run_command(["predict", str(sprint_export), "x.png", "--tpo", "1"]) == 2
    assert "there is no option --tpo" in capsys.readouterr().err
