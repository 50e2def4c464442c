"""Hostile exports, images, submissions and names."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence

import onnx
from canaries import Case, Place, pickles
from hostile_runs import packed, written_card
from onnx import TensorProto, helper

from flyweight.export import around

Make = Callable[[Place], Sequence[str]]
CACHE = ("cache", "cache/*")


def cases() -> Iterator[Case]:
    """All of them."""
    for name, change in GRAPHS.items():
        yield Case("ONNX", name, _graph(change), (4,))
    for name, make in EXPORTS.items():
        yield Case("exports", name, make, (0, 2, 4), ("new", "new/*"))
    for name, make in FOLDERS.items():
        yield Case("folders of images", name, make, (0, 3), ("maps", "maps/*", "page.html", *CACHE))
    for number, call in enumerate(NAMES, start=1):
        yield Case("names", f"a name that leads out ({number})", _called(call), (2, 3, 4), CACHE)
    for name, text in SUBMISSIONS.items():
        yield Case("submissions", name, _submission(text, "notebook" in name), (0, 1, 2))


# ONNX and exports


def _elsewhere(**words: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in words.items():
            tensor.external_data.add(key=key, value=value)

    return change


def _operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.microsoft.extensions"
    model.graph.node[0].op_type = "PyOp"


def _looped(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Loop", ["", ""], [], body=helper.make_graph([], "b", [], [])))


def _function(model: onnx.ModelProto) -> None:
    model.functions.add(name="f", domain="d")


GRAPHS = {
    "weights in a neighbour": _elsewhere(location="../outside/bystander.txt"),
    "weights in a file of the system": _elsewhere(location="/etc/passwd", offset="0", length="4"),
    "weights in the memory": _elsewhere(location="*/_ORT_MEM_ADDR_/*", offset="4096", length="16"),
    "an operator in Python": _operator, "a loop": _looped, "a function": _function,
}  # fmt: skip


def _graph(change: Callable[[onnx.ModelProto], None]) -> Make:
    def make(place: Place) -> Sequence[str]:
        folder = place.copy("export")
        model = onnx.load(folder / "model_pixels.onnx")
        change(model)
        content = around.sealed(model)
        (folder / "model_pixels.onnx").write_bytes(content)
        record = json.loads((folder / "export.json").read_text())
        for entry in record["files"]:
            if entry["file"] == "model_pixels.onnx":
                entry["sha256"] = hashlib.sha256(content).hexdigest()
        (folder / "export.json").write_text(json.dumps(record))
        return "predict", "export", "photos/test"

    return make


def _script(place: Place) -> Sequence[str]:
    """What an export's own program would do when it is started is nothing that a command does."""
    folder = place.copy("export")
    for name in ("predict.py", "__init__.py", "onnxruntime.py", "sitecustomize.py"):
        place.evil(folder / name)
    return "predict", "export", "photos/test"


def _recorded(place: Place) -> Sequence[str]:
    folder = place.copy("export")
    record = json.loads((folder / "export.json").read_text())
    for entry in record["files"]:
        entry["file"] = "../outside/bystander.txt"
    (folder / "export.json").write_text(json.dumps(record))
    return "predict", "export", "photos/test"


def _claimed(place: Place) -> Sequence[str]:
    """A record that calls somebody's files its own, in the place of a new export."""
    place.copy("run")
    (place.work / "new").symlink_to(place.outside)
    (place.outside / "export.json").write_text(json.dumps({"files": [{"file": "bystander.txt", "sha256": ""}]}))
    return "export", "run", "--to", "new", "--format", "onnx-uint8"


def _titled(place: Place) -> Sequence[str]:
    written_card(place.copy("run"), network="../../outside/canary")
    return "export", "run", "--to", "new", "--format", "onnx-uint8", "c", "huggingface"


def _pickled_weights(place: Place) -> Sequence[str]:
    """A checkpoint under the name of the weights, and its hash on the card."""
    folder = place.copy("run")
    content = packed(pickles(place.canary)["os.system"])
    (folder / "model.safetensors").write_bytes(content)
    (folder / "pytorch_model.bin").write_bytes(content)
    written_card(folder, sha256=hashlib.sha256(content).hexdigest())
    return "predict", "run", "photos/test"


EXPORTS = {
    "programs in it": _script, "a record that leads out": _recorded, "a place that is a link": _claimed,
    "a network whose name leads out": _titled, "weights that are pickled": _pickled_weights,
}  # fmt: skip


# images and names


def _links(place: Place) -> Sequence[str]:
    photos = place.copy("run").parent / "photos" / "train"
    (photos / "red" / "passwd.png").symlink_to("/etc/passwd")
    (photos / "red" / "endless.png").symlink_to("/dev/zero")
    (photos / "red" / "back").symlink_to("../..")
    (photos / "outside").symlink_to(place.outside)
    return "data", "photos", "--page", "page.html"


def _explained(place: Place) -> Sequence[str]:
    place.copy("run")
    images = place.work / "images"
    images.mkdir()
    source = next((place.work / "photos" / "test" / "red").iterdir())
    for name in ("..\\..\\outside\\canary.png", "%2e%2e%2foutside%2fcanary.png", "-o.png", "a\n..png", "...png"):
        shutil.copy(source, images / name)
    (images / "link.png").symlink_to(source)
    return "predict", "run", "images", "--explain", "maps"


def _piped(place: Place) -> Sequence[str]:
    place.copy("run")
    images = place.work / "images"
    images.mkdir()
    os.mkfifo(images / "pipe.png")
    (images / "zero.png").symlink_to("/dev/zero")
    (images / "terminal.png").symlink_to("/dev/tty")
    (images / "pickled.png").write_bytes(pickles(place.canary)["os.system"])
    (images / "post.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(touch) (w) file\n")
    return "predict", "run", "images"


FOLDERS = {"links that lead out": _links, "names for the maps": _explained, "what is no image": _piped}
NAMES = (
    ("predict", "../outside", "photos"), ("evaluate", "../../../../../../etc"), ("report", "../outside"),
    ("train", "../outside/bystander.txt"), ("train", "--resume", "../outside"), ("check", "../outside/nothing.py:Net"),
    ("check", "nano", "--rules", "../../outside/bystander.txt"), ("export", "..", "--to", "new"),
    ("data", "hub:../../outside"), ("train", "--data", "hub:a/../../b"), ("predict", "nano/../nano", "photos"),
)  # fmt: skip


def _called(call: Sequence[str]) -> Make:
    return lambda place: call


# submissions in processes of their own

SUBMISSIONS = {
    "that writes": "open(CANARY, 'w').close()",
    "that calls the system": "os.system('touch ' + CANARY)",
    "that starts a program": "import subprocess; subprocess.Popen(['touch', CANARY], start_new_session=True)",
    "that calls the C library": "import ctypes; ctypes.CDLL(None).creat(CANARY.encode(), 0o600)",
    "that renames": "os.rename(CANARY.replace('canary', 'bystander.txt'), CANARY)",
    "that says a nest": "exec(NEST)",
    "that is a notebook": "Path(CANARY).touch()",
}


def _submission(code: str, notebook: bool = False) -> Make:
    def make(place: Place) -> Sequence[str]:
        path = place.evil(place.work / "mine.py", code)
        if notebook:
            sources = [f"!touch {place.canary}", f"%%bash\ntouch {place.canary}", path.read_text()]
            cells = [{"cell_type": "code", "source": text, "metadata": {}, "outputs": []} for text in sources]
            path = place.work / "mine.ipynb"
            path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}))
        return "check", f"{path.name}:Net", "--isolated", "--input", "3,16,16"

    return make
