"""Whatever people hand in: scripts that train, notebooks, packages, functions, instances, missing modules."""

import json
import sys

import pytest
import torch

from flyweight.errors import FlyweightError
from flyweight.networks.custom import instance
from flyweight.networks.reference import is_reference, parse

NET = """
class Net(nn.Sequential):
    def __init__(self, width=4, classes=10, kernel=3):
        super().__init__(nn.Conv2d(3, width, kernel), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))
"""
HEAD = "import torch\nimport torch.nn as nn\n"


def parameters(text, tell=None):
    told = []
    network = instance(text, 10, tell or told.append)
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    return sum(p.numel() for p in network.parameters())


def of(width, kernel=3):
    return 3 * kernel**2 * width + width + 10 * width + 10


@pytest.fixture
def written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "nowhere"))

    def write(name, text):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return name

    return write


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("net.py:Net", of(4)),
        ("net.py:Net()", of(4)),
        ("net.py:Net(8, kernel=5)", of(8, 5)),
        ("net.py:Net(width=8)", of(8)),
        ("net.py:make_model()", of(6)),
        ("net.py:make_model(width=2)", of(2)),
        ("net.py:make_model", of(6)),
        ("net.py:model", of(7)),
        ("net.py:Zoo.small", of(3)),
        ("net:Net(width=8)", of(8)),
    ],
)
def test_forms(written, text, expected):
    more = "def make_model(width=6):\n    return Net(width)\nmodel = Net(7)\nclass Zoo:\n    small = Net(3)\n"
    written("net.py", f"{HEAD}{NET}{more}")
    assert parameters(text) == expected


def test_a_file_with_one_network_needs_no_name(written):
    inner = "class Block(nn.Conv2d):\n    pass\n"
    outer = NET.replace("nn.Conv2d(3", "Block(3")
    assert parameters(written("one.py", HEAD + inner + outer)) == of(4)
    written("several.py", f"{HEAD}{NET}{NET.replace('Net', 'Other')}def make():\n    return Net()\n")
    with pytest.raises(FlyweightError, match=r"holds 3 networks: name one of several\.py:Net, several\.py:Other, sev"):
        instance("several.py", 10)
    with pytest.raises(FlyweightError, match=r"none\.py holds no nn\.Module: name one, as none\.py:Net"):
        instance(written("none.py", "WIDTH = 3\n"), 10)


TRAINING = f"""
import argparse
import os
import urllib.request
import torchsummary
from tqdm import tqdm
from torchvision import datasets, transforms
{HEAD}
parser = argparse.ArgumentParser()
parser.add_argument("--width", type=int, default=5)
args = parser.parse_args()
print("starting", flush=True)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
transform = transforms.Compose([transforms.ToTensor()])
train_set = datasets.CIFAR10("data", download=True)
urllib.request.urlretrieve("http://127.0.0.1:9/x", "x")
open("mark.txt", "w").close()
OPTIONS = dict(width=args.width)
OPTIONS["kernel"] = 5
{NET.replace("width=4", "width=OPTIONS['width']").replace("kernel=3", "kernel=OPTIONS['kernel']")}
model = Net().cuda()
torchsummary.summary(model, (3, 32, 32))
for epoch in tqdm(range(1000000)):
    for x, y in train_set:
        model(x)
os._exit(3)
if __name__ == "__main__":
    model = None
"""


def test_a_script_that_trains_is_not_run(written, tmp_path, capfd):
    told = []
    assert parameters(written("script.py", TRAINING), told.append) == of(5, 5)
    assert not (tmp_path / "mark.txt").exists()
    assert capfd.readouterr().out == ""
    lines = TRAINING.splitlines()
    first, last = lines.index('print("starting", flush=True)') + 1, lines.index("os._exit(3)") + 1
    assert len(told) == 1
    assert f"lines {first} to {first + 5}" in told[0]
    assert told[0].endswith(f"to {last} were not run: Net does not need them")


def test_an_instance_is_made_without_training_it(written, tmp_path, capfd):
    # .cuda() and an argument parser are a part of how it is made; its summary and its training are not
    told = []
    assert parameters(f"{written('script.py', TRAINING)}:model", told.append) == of(5, 5)
    assert not (tmp_path / "mark.txt").exists()
    assert capfd.readouterr().out == ""


TABLE = """
BLOCKS = {}
def register(name):
    def keep(block):
        BLOCKS[name] = block
        return block
    return keep
@register("first")
class First(nn.Conv2d): pass
class Second(nn.Conv2d): pass
def add(name, block):
    BLOCKS[name] = block
add("second", Second)
"""


@pytest.mark.parametrize("made", ["BLOCKS['first'](3", "BLOCKS['second'](3", "globals()['Second'](3"])
def test_what_is_registered_or_looked_up_by_name_is_there(written, made):
    main = "def main():\n    BLOCKS['x'] = 1\n    raise ValueError\nmain()\n"
    text = HEAD + TABLE + NET.replace("nn.Conv2d(3", made) + main
    assert parameters(f"{written('net.py', text)}:Net") == of(4)


WIDE = "from torch import nn\nW = [8, 4]\n{before}\n" + (
    "class Net(nn.Sequential):\n    def __init__(self):\n"
    "        super().__init__(nn.Conv2d(3, W[0], 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(W[0], 10))\n"
)


@pytest.mark.parametrize(
    ("before", "width"),
    [
        ("W.reverse()", 4),
        ("W.sort()", 4),
        ("def setup():\n    global W\n    W = [6]\nsetup()", 6),
        ("def setup(widths):\n    widths[0] = 6\nsetup(W)", 6),
        ("def setup(widths):\n    widths[0] = 6\nsetup(widths=W)", 6),
        ("last = W.pop()\nW.insert(0, last)", 4),
        ("from argparse import ArgumentParser\np = ArgumentParser()\ng = p.add_mutually_exclusive_group()\n"
         "g.add_argument('--w', default=6)\na = p.parse_args()\nW = [a.w]", 6),
    ],
)  # fmt: skip
def test_what_changes_the_network_on_its_way_is_run(written, before, width):
    assert parameters(written("net.py", WIDE.format(before=before)) + ":Net") == of(width)


def test_what_is_printed_while_it_is_built_goes_to_standard_error(written, capsys):
    written("net.py", f"{HEAD}{NET}        print('made')\n")
    instance("net.py:Net", 10)
    assert capsys.readouterr() == ("", "made\n")


def notebook(*sources):
    cells = [{"cell_type": "code", "source": source} for source in sources]
    return json.dumps({"cells": [{"cell_type": "markdown", "source": ["# Net"]}, *cells], "nbformat": 4})


def test_a_notebook_runs_the_cells_that_define(written, tmp_path):
    content = notebook(
        "!pip install torchsummary\n%matplotlib inline\nimport torch, torchsummary",
        ["import torch.nn as nn\n", "%time x = 1\n", "WIDTH = 9"],
        NET.replace("width=4", "width=WIDTH").splitlines(keepends=True),
        "%%bash\nrm -rf *",
        "open('mark.txt', 'w')\nnet = Net()\nfor epoch in range(10**9): pass",
        "print 'python 2'",
    )
    written("work.ipynb", content)
    for text in ("work.ipynb", "work.ipynb:Net"):
        told = []
        assert parameters(text, told.append) == of(9)
        assert told == ["work.ipynb: cells 1 and 4 to 6 were left out: Net does not need them"]
    assert parameters("work.ipynb:Net(width=2)") == of(2)
    assert not (tmp_path / "mark.txt").exists()


def test_a_notebooks_error_names_its_cell(written):
    written("work.ipynb", notebook(HEAD, f"{NET}        self.missing(3)"))
    with pytest.raises(FlyweightError, match=r"AttributeError: .*\(work\.ipynb, cell 2:5\)"):
        instance("work.ipynb:Net", 10)
    with pytest.raises(FlyweightError, match="this is no notebook"):
        instance(written("no.ipynb", "[]"), 10)


def test_a_package_with_relative_imports(written, tmp_path, monkeypatch):
    written("mine/__init__.py", "")
    written("mine/parts/__init__.py", "")
    written("mine/parts/width.py", "WIDTH = 5\n")
    written("mine/nets/__init__.py", "")
    written("mine/nets/net.py", f"from ..parts.width import WIDTH\n{HEAD}{NET.replace('width=4', 'width=WIDTH')}")
    assert parameters("mine/nets/net.py:Net") == of(5)
    assert parameters("mine.nets.net:Net(kernel=1)") == of(5, 1)
    # and where the folder is no package by itself
    written("plain/width.py", "WIDTH = 6\n")
    written("plain/net.py", f"from .width import WIDTH\n{HEAD}{NET.replace('width=4', 'width=WIDTH')}")
    assert parameters("plain/net.py:Net") == of(6)
    # and where a file of the package imports it by its whole name
    written("mine/nets/whole.py", f"from mine.parts.width import WIDTH\n{HEAD}{NET.replace('width=4', 'width=WIDTH')}")
    assert parameters("mine/nets/whole.py:Net") == of(5)


def test_neighbours_of_the_same_name_are_told_apart(written):
    for width in (3, 5):
        written(f"{width}/parts.py", f"WIDTH = {width}\n")
        written(f"{width}/net.py", f"from parts import WIDTH\n{HEAD}{NET.replace('width=4', 'width=WIDTH')}")
    assert [parameters(f"{width}/net.py") for width in (3, 5, 3)] == [of(3), of(5), of(3)]


def test_what_is_not_installed_is_stood_in_for_and_told(written):
    text = f"import nosuch.models as zoo\nfrom nosuch import tools\n{HEAD}{NET}        self.kind = zoo.resnet18\n"
    told = []
    assert parameters(written("net.py", text), told.append) == of(4)
    assert told == ["net.py imports nosuch, not installed here: a stand-in is imported, which is told where it is used"]
    assert "nosuch" not in sys.modules


@pytest.mark.parametrize(
    ("line", "what"),
    [("zoo.resnet18(weights=None)", "nosuch.models.resnet18"), ("zoo.widths + 1", "nosuch.models.widths")],
)
def test_a_missing_module_that_the_network_uses_is_named(written, line, what):
    written("net.py", f"import nosuch.models as zoo\n{HEAD}{NET}        {line}\n")
    with pytest.raises(FlyweightError) as error:
        instance("net.py:Net", 10)
    assert f"the network uses {what}, and the module nosuch is not here: install it" in str(error.value)
    assert str(error.value).endswith("(net.py:8)")


def test_an_import_that_the_file_does_without_is_left_to_fail(written):
    text = f"try:\n    import nosuch\n    WIDTH = 1\nexcept ImportError:\n    WIDTH = 8\n{HEAD}"
    assert parameters(written("net.py", text + NET.replace("width=4", "width=WIDTH"))) == of(8)


def test_a_lightning_module_is_a_module(written):
    text = f"import pytorch_lightning as pl\nimport torchmetrics\n{HEAD}{NET}"
    lit = (
        "class Lit(pl.LightningModule):\n    def __init__(self):\n        super().__init__()\n"
        "        self.save_hyperparameters()\n        self.accuracy = torchmetrics.Accuracy(task='multiclass')\n"
        "        self.net = Net()\n    def forward(self, x): return self.net(x)\n"
        "    def training_step(self, batch, i): return pl.whatever(batch)\n"
    )
    assert parameters(written("lit.py", text + lit)) == of(4)


NEEDY = (
    f"{HEAD}{NET.replace('width=4', 'width').replace('classes=10', 'n_classes').replace(', classes', ', n_classes')}"
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("needy.py:Net", "Net needs width, without default: write a value for each ..., as in 'needy.py:Net(width=.."),
        ("needy.py:Net(kernel=5)", "as in 'needy.py:Net(kernel=5, width=...)'"),
        ("needy.py:Net(widht=5)", "did you mean 'width'"),
        ("needy.py:Net(width=torch.ones(3))", "'torch.ones(3)' is no plain value"),
        ("needy.py:Net(**{'width': 3})", "without **"),
        ("needy.py:import os", "is no name"),
        ("needy.py:net", "has no nn.Module named 'net' (did you mean 'Net'?) (it has Net)"),
        ("needy.py:HEAD()", "no nn.Module named 'HEAD'"),
        ("no.such.module:Net", "there is no module no here"),
        ("values:make()", "make returns int: it must return an nn.Module"),
        ("os:system('touch mark.txt')", "functions of os make no networks"),
        ("torch.hub:load('a/b', 'c')", "functions of torch make no networks"),
        ("slip.py:Net", "this is no Python 3: invalid syntax"),
        ("missing.py", "there is no file 'missing.py'"),
    ],
)
def test_what_cannot_be_built_is_one_line(written, text, words):
    written("needy.py", NEEDY)
    written("values.py", "def make():\n    return 3\n")
    written("slip.py", "class Net(:\n")
    with pytest.raises(FlyweightError) as error:
        instance(text, 10)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "source", "name", "called"),
    [
        ("a/b c.py:Net", "a/b c.py", "Net", False),
        ("a.py.old/n.py:N(x='q.py:Z')", "a.py.old/n.py", "N", True),
        (r"C:\n.py:N(a={'b': 1})", r"C:\n.py", "N", True),
        ("netz/größe.ipynb", "netz/größe.ipynb", "", False),
        ("a.b:C.d", "a.b", "C.d", False),
    ],
)
def test_what_a_reference_says(text, source, name, called):
    assert is_reference(text)
    found = parse(text)
    assert (found.source, found.name, found.called) == (source, name, called)


def test_a_built_in_name_is_no_reference():
    assert not is_reference("sprint")
    assert not is_reference("sprnt-2.5")
