"""A folder as the hub has it: its card, our own reader, and what transformers.js would do with web/."""

import ast
import dataclasses
import json
import re

import numpy as np
import onnx
import pytest
import torch
import yaml
from conftest import synthetic
from exporting import DILATED, asked, described, learnt
from huggingface_hub import ModelCard
from PIL import Image

from flyweight.export import gate, huggingface, model_card, onnx_int8, preprocessor, ultralytics
from flyweight.export.subject import Subject
from flyweight.runs.card import load_trained


@pytest.fixture(scope="module")
def dataset():
    return synthetic(3, 3, 16, 16, train=96, test=60)


@pytest.fixture(scope="module")
def made(dataset):
    return Subject(learnt(DILATED, dataset), dataset, "cc-by-4.0")


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("home") / "net"
    folder.mkdir()
    huggingface.write(made, folder)
    return folder


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_all_files_are_where_they_are_looked_for(folder):
    assert files(folder) == [
        "README.md", "config.json", "metrics.json", "model.safetensors", "preprocessor_config.json", "web/config.json",
        "web/onnx/model.onnx", "web/onnx/model_quantized.onnx", "web/preprocessor_config.json",
    ]  # fmt: skip


def test_the_hub_reads_the_card(folder, made):
    card = ModelCard.load(folder / "README.md")
    told = card.data.to_dict()
    assert (told["library_name"], told["pipeline_tag"], told["license"]) == (
        "flyweight", "image-classification", "cc-by-4.0",
    )  # fmt: skip
    (result,) = card.data.eval_results
    assert result.metric_type == "accuracy"
    assert result.metric_value == pytest.approx(made.scores.accuracy / 100, abs=1e-4)
    assert f"{made.scores.accuracy:.2f} % of 60 test images" in card.text
    assert "it always names one of its classes, whatever the image shows: class 0, class 1, class 2." in card.text
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["files"]["web/onnx/model.onnx"]["same"] == metrics["n"] == 60


def test_the_program_on_the_card_runs_and_is_right(folder, made, monkeypatch, capsys):
    (program,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(folder)
    for index in (0, 1):
        Image.fromarray(made.dataset.test.images[index]).save("image.png")
        exec(program, {})
        assert capsys.readouterr().out.strip() == made.card.classes[made.logits[index].argmax()]
    (folder / "image.png").unlink()


def test_our_own_reader_opens_it(folder, made):
    again = load_trained(folder)
    with torch.no_grad():
        said = again.model(torch.from_numpy(made.inputs(0, 60)))
    assert said.numpy() == pytest.approx(made.logits, abs=1e-5)
    assert (again.card.classes, again.card.mean) == (made.card.classes, made.card.mean)


def test_the_stand_in_is_named_in_web_alone(folder):
    root, web = (json.loads((folder / name).read_text()) for name in ("config.json", "web/config.json"))
    # no library has this one: it stops where it would have built another network
    assert root["model_type"] == "flyweight"
    assert web["model_type"] == "resnet"
    assert root["id2label"] == web["id2label"] == {"0": "class 0", "1": "class 1", "2": "class 2"}
    assert web["label2id"]["class 2"] == 2


def as_transformers_js(image, looks):
    """What its image processor does to an RGB image of the network's size, from its source."""
    pixels = image.astype(np.float32)
    if looks["do_rescale"]:
        pixels = pixels * looks["rescale_factor"]
    if looks["do_normalize"]:
        pixels = (pixels - looks["image_mean"]) / looks["image_std"]
    return pixels.astype(np.float32).transpose(2, 0, 1)[None]


def test_transformers_js_would_say_the_same(folder, made):
    looks = json.loads((folder / "web" / "preprocessor_config.json").read_text())
    for index in range(4):
        x = as_transformers_js(made.dataset.test.images[index], looks)
        assert asked(folder / "web/onnx/model.onnx", x)[0] == pytest.approx(made.logits[index], abs=1e-4)
        assert asked(folder / "web/onnx/model_quantized.onnx", x).argmax() == made.logits[index].argmax()
    for name in ("model", "model_quantized"):
        model = onnx.load(folder / "web" / "onnx" / f"{name}.onnx")
        assert [entry.name for entry in model.graph.input] == ["pixel_values"]
        assert [entry.name for entry in model.graph.output] == ["logits"]


def test_a_browser_has_colours_and_the_network_takes_grey(tmp_path, monkeypatch, capsys):
    dataset = synthetic(3, 1, 16, 16, train=96, test=60)
    made = Subject(learnt(DILATED, dataset), dataset)
    huggingface.write(made, tmp_path)
    looks = json.loads((tmp_path / "web" / "preprocessor_config.json").read_text())
    assert looks["do_convert_rgb"]
    image = dataset.test.images[0].repeat(3, axis=2)
    for name in ("model", "model_quantized"):
        said = asked(tmp_path / "web" / "onnx" / f"{name}.onnx", as_transformers_js(image, looks))
        assert said.argmax() == made.logits[0].argmax()
    # red alone is as bright as 0.299 of white
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    grey = np.full((16, 16, 3), 0.299 * 200)
    one, other = (asked(tmp_path / "web/onnx/model.onnx", as_transformers_js(each, looks)) for each in (red, grey))
    assert one == pytest.approx(other, abs=1e-4)
    assert "license: unknown" in (tmp_path / "README.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", (tmp_path / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(dataset.test.images[0][..., 0]).save("image.png")
    exec(program, {})
    assert capsys.readouterr().out.strip() == made.card.classes[made.logits[0].argmax()]


def test_without_8_bits_a_plain_call_in_a_browser_still_works(made, tmp_path, monkeypatch):
    def closed(subject):
        raise gate.GateError("it loses too much")

    monkeypatch.setattr(onnx_int8, "quantised", closed)
    huggingface.write(made, tmp_path)
    assert not (tmp_path / "web/onnx/model_quantized.onnx").exists()
    assert json.loads((tmp_path / "web/config.json").read_text())["transformers.js_config"] == {"dtype": "fp32"}
    assert "no model\\_quantized.onnx: it loses too much" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("shape", "resize", "size", "crops", "words"),
    [
        ((3, 32, 32), "crop", {"shortest_edge": 32}, True, None),
        ((3, 32, 48), "crop", {"height": 32, "width": 48}, False, "they were cut to 48:32"),
        ((1, 28, 28), "squash", {"height": 28, "width": 28}, False, None),
        ((3, 64, 64), "pad", {"height": 64, "width": 64}, False, "they were put whole on grey"),
    ],
)
def test_how_an_image_gets_its_size(dataset, shape, resize, size, crops, words):
    card = dataclasses.replace(described(DILATED, dataset), input_shape=shape, resize=resize)
    looks = preprocessor.config(card)
    assert (looks["size"], looks["do_center_crop"], looks["resample"]) == (size, crops, 3)
    assert looks["do_convert_rgb"] == (shape[0] == 3)
    found = preprocessor.inexact(card)
    assert found is None if words is None else found.endswith(words)


def test_no_path_and_no_odd_name_gets_out(made, dataset, tmp_path):
    odd = ("a | b", "<script>alert(1)</script>", 'it\'s "so"\n---\nlicense: mit')
    card = dataclasses.replace(
        made.card, classes=odd, network="/home/somebody/net.py:Net", teacher="/home/somebody/runs/t", start="C:\\me\\s"
    )
    subject = Subject(
        dataclasses.replace(made.trained, card=card, folder=tmp_path / "my: net\n"),
        dataclasses.replace(dataset, classes=odd),
    )
    huggingface.write(subject, tmp_path)
    ultralytics.write(subject, tmp_path)
    for path in files(tmp_path):
        content = (tmp_path / path).read_bytes()
        assert b"somebody" not in content, path
        assert b"C:" not in content.replace(b"C:\\\\me", b"?") or b"me\\s" not in content, path
    text = (tmp_path / "README.md").read_text()
    assert "<script>" not in text
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head)["license"] == "unknown"
    assert "begun with s and distilled from t" in body
    named = {entry.key: entry.value for entry in onnx.load(tmp_path / ultralytics.FILE).metadata_props}["names"]
    assert tuple(ast.literal_eval(named).values()) == odd


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("cifar10", ("CIFAR-10", "uoft-cs/cifar10")),
        ("photos", ("photos", None)),
        ("folder", ("folder", None)),
        ("hub:me/cats@abc", ("me/cats", "me/cats")),
    ],
)
def test_a_data_set_has_a_name_and_perhaps_an_address(name, told):
    assert model_card.data_set(name) == told
