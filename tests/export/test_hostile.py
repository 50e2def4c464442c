"""Damaged, foreign and hostile files end in one clear line, and nothing is written where nothing belongs.

What somebody hands over is an ``.onnx`` file, an exported folder or a folder of weights. A damaged one is not to be
asked, a stranger's must not read or write other files, nor cost memory or time without end.
"""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import synthetic
from exporting import DILATED, run_folder
from onnx import TensorProto, helper
from PIL import Image

from flyweight.cli.app import run_command
from flyweight.errors import EXIT_CODES
from flyweight.export import around, write
from flyweight.export.c.source import identifier
from flyweight.runs.card import ZOO

ESCAPE = "\x1b]0;owned\x07\x1b[2J"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """As many images as are asked about in one batch that PyTorch does not compile for."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(16):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty working directory, with something beside it that must stay as it is."""
    (tmp_path / "secret").write_text("root:x:0:0")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def ends(images, place, capsys):
    """Predict with something: (exit code, the one line); nothing is written, no bug of ours told."""

    def call(network):
        capsys.readouterr()
        before = seen(place.parent)
        code = run_command(["predict", str(network), str(images), "--json"])
        out, err = capsys.readouterr()
        assert seen(place.parent) == before
        assert code in EXIT_CODES
        assert code != 70, err
        assert "Traceback" not in err
        assert "\x1b" not in out + err
        if code == 0:
            assert err == ""
            assert len(json.loads(out)) == 16
        else:
            assert out == ""
            assert len(err.splitlines()) == 1
            assert err.startswith("flyweight: ")
        return code, err

    return call


def seen(folder):
    """All names below a folder, and what the files hold."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


# 60 files by a seeded generator


def bitten(content, generator):
    """Some bytes flipped."""
    damaged = bytearray(content)
    for at in generator.integers(0, len(content), int(generator.integers(1, 9))):
        damaged[at] ^= int(generator.integers(1, 256))
    return bytes(damaged)


def cut(content, generator):
    """The end missing."""
    return content[: int(generator.integers(0, len(content)))]


def swapped(content, generator):
    """Two parts in each other's place."""
    one, two, three = sorted(generator.integers(0, len(content) + 1, 3))
    return content[:one] + content[two:three] + content[one:two] + content[three:]


def blanked(content, generator):
    """A run of zeros, as a lost block of a disk leaves it."""
    start, end = sorted(generator.integers(0, len(content) + 1, 2))
    return content[:start] + bytes(end - start) + content[end:]


WAYS = (bitten, cut, swapped, blanked)
TARGETS = ("model_pixels.onnx", "model.onnx", "export.json", "config.json", "model.safetensors")


@pytest.mark.parametrize("target", TARGETS)
def test_damaged_files_of_a_seeded_generator(sprint_export, ends, place, target):
    folder = place / "given"
    source = sprint_export if (sprint_export / target).exists() else ZOO / "sprint"
    alone = target.endswith(".onnx")
    codes = []
    for seed in range(12):
        generator = np.random.default_rng([seed, TARGETS.index(target)])
        content = (source / target).read_bytes()
        damaged = WAYS[seed % len(WAYS)](content, generator)
        shutil.copytree(source, folder)
        (folder / target).write_bytes(damaged)
        code, _ = ends(folder / target if alone else folder)
        # what is whole but for words about it may be asked; a graph, weights or a record's structure that is hurt never
        assert code in ((0, 4) if damaged != content else (0,))
        codes.append(code)
        shutil.rmtree(folder)
    assert codes.count(4) >= (11 if target == "model.safetensors" else 6), codes


# an ONNX file that somebody made


def graph_of(path):
    return onnx.load(path)


def resealed(model):
    """As somebody does it who knows how the hash is made."""
    return around.sealed(model)


def elsewhere(tensor, **words):
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in words.items():
        tensor.external_data.add(key=key, value=value)


@pytest.mark.parametrize(
    "words",
    [
        {"location": "../secret"},
        {"location": "/etc/passwd", "offset": "0", "length": "4"},
        {"location": "weights.bin"},
        # onnxruntime takes this one for an address in its own memory
        {"location": "*/_ORT_MEM_ADDR_/*", "offset": "4096", "length": "16"},
    ],
)
@pytest.mark.parametrize("where", ["initializer", "attribute", "mark alone", "words alone"])
def test_weights_in_another_file_are_refused(sprint_export, ends, place, words, where):
    (place / "weights.bin").write_bytes(bytes(4096))
    model = graph_of(sprint_export / "model_pixels.onnx")
    tensor = model.graph.initializer[0]
    if where == "attribute":
        node = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("t", TensorProto.FLOAT, [1], [0.0]))
        elsewhere(node.attribute[0].t, **words)
        model.graph.node.insert(0, node)
    elif where == "mark alone":
        tensor.data_location = TensorProto.EXTERNAL
    elif where == "words alone":
        tensor.external_data.add(key="location", value=words["location"])
    else:
        elsewhere(tensor, **words)
    Path("given.onnx").write_bytes(resealed(model))
    code, line = ends("given.onnx")
    assert code == 4
    assert "it holds weights that lie in another file, and is not opened" in line


@pytest.mark.parametrize("content", [b"Soft\xffax", b"Softmix"])
def test_what_onnxruntime_refuses_is_one_line_too(sprint_export, ends, content):
    """It would print of its own, and try again."""
    model = graph_of(sprint_export / "model_pixels.onnx")
    words(graph_sha256=None, words_sha256=None)(model)
    Path("given.onnx").write_bytes(model.SerializeToString().replace(b"Softmax", content))
    code, line = ends("given.onnx")
    assert code == 4
    assert "onnxruntime cannot open given.onnx: " in line


def test_a_second_graph_behind_the_first_is_seen(sprint_export, ends):
    """A parser that expects one graph merges both; one that takes the last would look at the harmless one."""
    content = (sprint_export / "model_pixels.onnx").read_bytes()
    other = onnx.ModelProto()
    elsewhere(other.graph.initializer.add(name="w"), location="../secret")
    for both in (content + other.SerializeToString(), other.SerializeToString() + content):
        Path("given.onnx").write_bytes(both)
        assert ends("given.onnx")[0] == 4


def altered(model, change):
    change(model)
    return model


def looped(model):
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", ""], [], body=body))


def called(model):
    model.graph.node[0].domain = f"evil{ESCAPE}"


def function(model):
    model.functions.add(name="f", domain="d")


def words(**changes):
    def change(model):
        kept = {entry.key: entry.value for entry in model.metadata_props} | changes
        around.say(model, {key: value for key, value in kept.items() if value is not None})

    return change


def looks(**changes):
    def change(model):
        (kept,) = (json.loads(entry.value) for entry in model.metadata_props if entry.key == "preprocessing")
        words(preprocessing=json.dumps(kept | changes))(model)

    return change


def typed(model):
    """Its input and its output are called as ours, and are 64 bits wide."""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE


def sequences(model):
    model.graph.node.append(helper.make_node("SequenceConstruct", ["probabilities"], ["many"]))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_sequence_value_info("probabilities", TensorProto.FLOAT, None))


def renamed(model):
    model.graph.output[0].name = model.graph.node[-1].output[0] = "others"


def entered(model):
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def enlarged(model):
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 10**9


def no_softmax(model):
    """Logits under the name of probabilities."""
    last = model.graph.node.pop()
    model.graph.node.append(helper.make_node("Identity", last.input, last.output))


HOSTILE = {
    "a loop": (looped, "a graph within the graph"),
    "an operator of nobody's": (called, "it holds the operator evil"),
    "a function": (function, "functions of its own"),
    "no classes": (words(classes=None), "its metadata lack classes,"),
    "no words at all": (lambda model: around.say(model, {}), "lack classes and preprocessing"),
    "another number of classes": (words(classes=json.dumps(["a", "b"])), "2 numbers are due"),
    "no class": (words(classes="[]"), "metadata hold no classes"),
    "classes that are no list": (words(classes='{"0": "a"}'), "metadata hold no classes"),
    "classes that are no text": (words(classes=json.dumps(list(range(10)))), "metadata hold no classes"),
    "classes that are no JSON": (words(classes="['a', 'b']"), "metadata hold no classes"),
    "classes without a bottom": (words(classes="[" * 100_000), "metadata hold no classes"),
    "preprocessing that is none": (words(preprocessing="3"), "metadata hold no classes"),
    "a size too large": (looks(size=[10**9, 10**9]), "(size and channels)"),
    "a size as text": (looks(size=["32", "32"]), "(size and channels)"),
    "a size that is none": (looks(size=[32]), "metadata hold no classes"),
    "a size of another graph": (looks(size=[64, 64]), "where its metadata say tensor(uint8) of 64x64x3"),
    "channels of another graph": (looks(channels="grey"), "metadata hold no classes"),
    "no channels": (looks(channels=0), "(size and channels)"),
    "a mean of nothing": (looks(mean=[float("nan")] * 3), "(mean and std)"),
    "a deviation of zero": (looks(std=[0, 0, 0]), "(mean and std)"),
    "numbers too large": (looks(std=[10**400] * 3), "metadata hold no classes"),
    "another resize": (looks(resize="../crop"), "(resize)"),
    "a temperature of zero": (words(temperature="0"), "(temperature and threshold)"),
    "a temperature as text": (words(temperature='"1"'), "(temperature and threshold)"),
    "another temperature": (words(temperature="[1]"), "(temperature and threshold)"),
    "64 bits": (typed, "given.onnx"),
    "a sequence": (sequences, "given.onnx"),
    "another output": (renamed, "gives nothing as probabilities"),
    "two inputs": (entered, "takes pixels, more"),
    "another input": (enlarged, "given.onnx"),
    "no probabilities": (no_softmax, "numbers that are no probabilities"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_another_network_is_refused(sprint_export, ends, kind):
    change, said = HOSTILE[kind]
    Path("given.onnx").write_bytes(resealed(altered(graph_of(sprint_export / "model_pixels.onnx"), change)))
    code, line = ends("given.onnx")
    assert code == 4
    assert said in line


def test_names_that_a_terminal_obeys_are_told_harmlessly(sprint_export, ends, capsys, images):
    classes = [f"{ESCAPE}{number}\n" for number in range(10)]
    model = altered(graph_of(sprint_export / "model_pixels.onnx"), words(classes=json.dumps(classes), network=ESCAPE))
    name = f"given{ESCAPE[:4]}.onnx"
    Path(name).write_bytes(resealed(model))
    assert run_command(["predict", name, str(images)]) == 0
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert "\x07" not in out + err
    assert len(out.splitlines()) == 16
    assert run_command(["predict", name, str(images), "--csv", "-"]) == 0
    assert "\x1b" not in capsys.readouterr().out
    Path(name).write_bytes(b"no")
    assert ends(name)[0] == 4


def test_a_graph_that_was_changed_after_the_export_is_refused(sprint_export, ends):
    model = graph_of(sprint_export / "model_pixels.onnx")
    weight = model.graph.initializer[0]
    weight.raw_data = bytes(len(weight.raw_data))
    Path("given.onnx").write_bytes(model.SerializeToString())
    code, line = ends("given.onnx")
    assert code == 4
    assert "its graph is not the one that flyweight wrote" in line


def test_words_that_were_changed_after_the_export_are_refused(sprint_export, ends):
    content = (sprint_export / "model_pixels.onnx").read_bytes()
    assert content.count(b'"airplane"') == 1
    Path("given.onnx").write_bytes(content.replace(b'"airplane"', b'"airplate"'))
    code, line = ends("given.onnx")
    assert code == 4
    assert "what it says of itself is not what flyweight wrote" in line


# an exported folder that somebody made


@pytest.mark.parametrize(
    "files",
    [
        3, "abc", [3], [[]], [{"file": 3, "sha256": "0"}], [{"file": "model.onnx"}], [{"file": [], "sha256": "0"}],
        {"file": "model.onnx"}, None,
    ],
)  # fmt: skip
def test_a_record_of_the_wrong_kind(sprint_export, ends, place, files):
    shutil.copytree(sprint_export, "given")
    Path("given/export.json").write_text(json.dumps({"files": files}))
    code, line = ends("given")
    assert code == 4
    assert "export.json is damaged" in line


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[]", b"[" * 100_000, b"1" * 10_000, b'"files"', b'{"files": []}']
)
def test_a_record_that_is_none(sprint_export, ends, content):
    shutil.copytree(sprint_export, "given")
    Path("given/export.json").write_bytes(content)
    assert ends("given")[0] == 4


@pytest.mark.parametrize(
    "path", ["../secret", "/etc/passwd", "..\\..\\secret", "model\0.onnx", "a" * 5000, "../evil.onnx"]
)
def test_a_path_in_a_record_leads_nowhere(sprint_export, ends, place, path):
    """A folder's files are looked for by our names alone."""
    shutil.copy(sprint_export / "model.onnx", place.parent / "evil.onnx")
    shutil.copytree(sprint_export, "given")
    record = json.loads(Path("given/export.json").read_text())
    for file in record["files"]:
        file["file"] = path
    Path("given/export.json").write_text(json.dumps(record))
    code, line = ends("given")
    assert code == 4
    assert "holds no file that can be asked" in line


def test_a_file_that_is_a_folder_a_pipe_or_too_large(sprint_export, ends, place):
    shutil.copytree(sprint_export, "given")
    for path in (Path("given/model_pixels.onnx"), Path("given/export.json"), Path("alone.onnx")):
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        told = ends(path if path.name == "alone.onnx" else "given")[1]
        assert "it is not a regular file; export the network again" in told
        path.unlink()
        path.mkdir()
        assert ends(path if path.name == "alone.onnx" else "given")[0] == 4
        path.rmdir()
        if path.name == "model_pixels.onnx":
            shutil.copy(sprint_export / path.name, path)
    with Path("huge.onnx").open("wb") as file:
        file.truncate(2**40)  # a hole, no bytes
    code = run_command(["predict", "huge.onnx", "nothing.png"])
    assert code == 3
    before = Path("huge.onnx").stat()
    Path("image.png").write_bytes(b"")
    assert run_command(["predict", "huge.onnx", "image.png"]) == 4
    assert Path("huge.onnx").stat().st_mtime_ns == before.st_mtime_ns


def test_a_link_to_another_file_is_not_what_the_record_says(sprint_export, ends, place):
    shutil.copytree(sprint_export, "given")
    Path("given/model_pixels.onnx").unlink()
    Path("given/model_pixels.onnx").symlink_to("/etc/passwd")
    assert "its SHA-256 is not the one in export.json" in ends("given")[1]


@pytest.mark.parametrize("name", ["/tmp/evil/", "...", "CON", "ä" * 300, "\0", "a/../b", "c:\\x", "", "9", "-"])
def test_a_c_file_is_named_by_letters_and_digits_alone(name):
    assert re.fullmatch("[a-z][a-z0-9_]{0,59}", identifier(around.last(name)))


@pytest.mark.parametrize("name", ["nul\0.onnx", "n" * 5000 + ".onnx", "n" * 5000, "nul\0", "nothing.onnx", "", "."])
def test_a_name_that_no_file_has(ends, name):
    assert ends(name)[0] == 4


# a folder of weights that somebody made

TABLE = {"blocks": [[{"width": 8}]]}


@pytest.mark.parametrize(
    "changes",
    [
        {"network": "../../../../etc/passwd"}, {"network": "/etc/passwd:Net"}, {"network": "nul\0.py:Net"},
        {"network": f"{ESCAPE}:Net"}, {"network": "n" * 5000 + ":Net"}, {"network": ESCAPE, "table": TABLE},
        {"input_shape": [3, 10**9, 10**9]}, {"input_shape": [10**9, 1, 1]}, {"input_shape": [3, 2**70, 1]},
        {"mean": ["NaN"] * 3}, {"std": [1e400] * 3}, {"classes": []}, {"classes": ["a"] * 9}, {"temperature": 1e400},
        {"network": "x", "table": {"blocks": [[{"width": 10**12}]]}},
        {"network": "x", "table": {"blocks": [[{"width": 10**400}]]}},
        {"network": "x", "table": {"blocks": [[{"width": 8, "padding": 10**9}]]}},
        {"network": "x", "table": {"blocks": [[{"width": 8}] * 5000]}},
        {"network": "x", "table": {"blocks": []}}, {"network": "x", "table": [[]]},
    ],
)  # fmt: skip
def test_a_card_with_something_in_it(ends, place, changes):
    shutil.copytree(ZOO / "sprint", "given")
    card = json.loads(Path("given/config.json").read_text())
    Path("given/config.json").write_text(json.dumps(card | changes))
    assert ends("given")[0] == 4
    del card["checksum"]  # as whoever changed it by design would leave it out
    Path("given/config.json").write_text(json.dumps(card | changes))
    assert ends("given")[0] == 4


def test_weights_and_a_card_that_are_a_pipe(ends, place):
    shutil.copytree(ZOO / "sprint", "given")
    Path("given/config.json").unlink()
    os.mkfifo("given/config.json")
    assert "not a regular file" in ends("given")[1]


def test_a_map_that_no_machine_holds_is_found_before_it_is_made(ends, place):
    """The card, the weights and the hash all fit: only the padding is another one."""
    dataset = synthetic(10, 3, 16, 16)
    run_folder(place / "given", {"blocks": [[{"width": 8}]]}, dataset)
    assert ends("given")[0] == 0
    card = json.loads(Path("given/config.json").read_text())
    card["table"]["blocks"][0][0]["padding"] = 60_000
    del card["checksum"]
    Path("given/config.json").write_text(json.dumps(card))
    code, line = ends("given")
    assert code == 4
    assert "is too large" in line


# an export of what somebody made


@pytest.fixture
def made(place, monkeypatch):
    from flyweight.data import registry
    from flyweight.data.reader import Reader

    dataset = synthetic(4, 3, 16, 16)
    reader = Reader("synthetic", "Made", "made by the tests", lambda path, **options: dataset, spec=dataset.spec)
    monkeypatch.setattr(registry, "READERS", (reader, *registry.READERS))
    return dataset


def test_a_networks_name_names_no_place_outside(made, place, capsys):
    run_folder(place / "net", DILATED, made, network=f"../../{ESCAPE}..\\..\\evil")
    before = seen(place.parent)
    assert run_command(["export", "net", "--to", "out", "--format", "onnx-uint8", "c"]) == 0, capsys.readouterr()
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    after = seen(place.parent)
    new = set(after) - set(before)
    assert {key: after[key] for key in before} == before
    assert all(path.startswith("work/out") for path in new)
    record = json.loads(Path("out/export.json").read_text())
    assert {path.name for path in Path("out").iterdir()} == {file["file"] for file in record["files"]} | {"export.json"}
    for file in record["files"]:
        assert hashlib.sha256((Path("out") / file["file"]).read_bytes()).hexdigest() == file["sha256"]


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"[" * 100_000, b'{"files": [{"file": []}]}', b'{"files": 3}', None]
)
def test_a_folder_with_a_record_that_is_none_is_not_ours_to_replace(made, place, capsys, content):
    run_folder(place / "net", DILATED, made)
    Path("out").mkdir()
    Path("out/mine.txt").write_text("mine")
    if content is None:
        os.mkfifo("out/export.json")
    else:
        Path("out/export.json").write_bytes(content)
    assert run_command(["export", "net", "--to", "out", "--force"]) == 2
    assert "it is no export, so name another" in capsys.readouterr().err
    assert Path("out/mine.txt").read_text() == "mine"


def test_a_link_is_not_a_way_to_write_elsewhere_unasked(made, place, capsys):
    run_folder(place / "net", DILATED, made)
    (place.parent / "theirs").mkdir()
    (place.parent / "theirs" / "a.txt").write_text("theirs")
    Path("out").symlink_to(place.parent / "theirs")
    before = seen(place.parent / "theirs")
    assert run_command(["export", "net", "--to", "out", "--force"]) == 2
    assert seen(place.parent / "theirs") == before


def test_the_record_is_read_by_both_sides(sprint_export):
    assert write._ours(sprint_export)
