"""Forty submissions as a class might hand them in: built-in networks written out and mutated, and what is right.

A sound one is a built-in network's rows written out as a plain script; a faulty one has one row changed; a rude one
does something besides, at import, while it is built or in its forward pass.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from flyweight.networks.builtin import NETWORKS
from flyweight.recipes.network import Network, Row

HEAD = """\
import os
import sys
import torch
import torch.nn as nn
import torch.nn.functional as F

"""
BLOCKS = """
def layer(inputs, width, kernel, stride, dilation, separable):
    padding = dilation * (kernel - 1) // 2
    if separable:
        conv = nn.Sequential(
            nn.Conv2d(inputs, inputs, kernel, stride, padding, dilation, inputs, bias=False),
            nn.Conv2d(inputs, width, 1, bias=False),
        )
    else:
        conv = nn.Conv2d(inputs, width, kernel, stride, padding, dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU())


class Net(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        inputs = 3
        for name, rows in ROWS.items():
            layers = nn.ModuleList()
            for width, kernel, stride, dilation, separable, residual in rows:
                layers.append(layer(inputs, width, kernel, stride, dilation, separable))
                inputs = width
            self.add_module(name, layers)
        self.pool = POOL
        self.classifier = nn.Conv2d(inputs, num_classes, 1, bias=False)
BUILT
    def forward(self, x):
FORWARD
        for name, rows in ROWS.items():
            for layer, row in zip(getattr(self, name), rows):
                y = layer(x)
                x = x + y if row[-1] else y
        return self.classifier(self.pool(x)).flatten(1)

"""
AFTER = """
if __name__ == "__main__":
    net = Net()
    print(net)
"""

# what a rude one does, where, and how it ends: the words of its error, or the mark of the network as it stands
FOREVER, MEMORY = "it takes more than", "it needs more memory than"
TRAIN = "net = Net()\nfor epoch in range(10**9):\n    net(torch.rand(1, 3, 32, 32))\n"
SUMMARY = "import torchsummary\nfrom tqdm import tqdm\ntorchsummary.summary(Net().cuda(), (3, 32, 32))\n"
ARGUMENTS = "import argparse\nargs = argparse.ArgumentParser().parse_args(['--no'])\n"
DELETE = "        [os.remove(os.path.join(FOLDER, file)) for file in os.listdir(FOLDER)]\n"
CONNECT = "        import socket; socket.create_connection(('1.1.1.1', 53), 2)\n"
CHILD = "        import subprocess; subprocess.Popen(['sleep', '987654'], start_new_session=True)\n"
RUDE = (
    ("loops at import", "ROWS_BELOW", "while True:\n    ROWS = {}\n", FOREVER),
    ("loops in its forward pass", "FORWARD", "        while True: pass\n", FOREVER),
    ("sleeps while it is built", "BUILT", "        import time; time.sleep(10**6)\n", FOREVER),
    ("leaves", "FORWARD", "        os._exit(0)\n", "ended the process with code 0"),
    ("leaves while it is built", "BUILT", "        os._exit(3)\n", "ended the process with code 3"),
    ("kills itself", "BUILT", "        os.kill(os.getpid(), 9)\n", "ended the process by signal 9"),
    ("takes all memory", "BUILT", "        self.all = [bytearray(2**28) for _ in range(10**6)]\n", MEMORY),
    ("takes all memory in torch", "FORWARD", "        y = [torch.ones(2**26) for _ in range(10**6)]\n", MEMORY),
    ("prints megabytes", "BUILT", "        for _ in range(3000): print('x' * 1000, flush=True)\n", None),
    ("prints past Python", "FORWARD", "        os.write(1, b'y' * 10**6)\n", None),
    ("trains at import", "AFTER", TRAIN, None),
    ("parses arguments", "AFTER", ARGUMENTS, None),
    ("exits at import", "AFTER", "sys.exit(1)\n", None),
    ("exits while it is built", "BUILT", "        sys.exit(0)\n", "SystemExit"),
    ("raises at import", "ROWS_BELOW", "ROWS = ROWS[0]\n", "KeyError"),
    ("raises in its forward pass", "FORWARD", "        x.view(7, -1)\n", "is invalid for input of size"),
    ("has an error of syntax", "AFTER", "def broken(:\n", "no Python 3"),
    ("deletes its neighbours", "BUILT", DELETE, "Error"),
    ("writes beside it", "FORWARD", "        open(os.path.join(FOLDER, 'marks.csv'), 'w')\n", "Error"),
    ("writes and deletes where it is", "BUILT", "        open('a', 'w').close(); os.remove('a')\n", None),
    ("asks the network", "BUILT", CONNECT, "Error"),
    ("leaves a child behind", "BUILT", CHILD, None),
    ("needs a GPU and tools", "AFTER", SUMMARY, None),
)


@dataclass(frozen=True)
class Submission:
    """One file, and what is right of it.

    Attributes:
        name: of the file.
        failing: names of the rules that it breaks; None where it cannot be judged.
        error: words of why it cannot be judged.
    """

    name: str
    text: str
    failing: frozenset[str] | None = frozenset()
    error: str = ""


AVERAGE = "nn.AdaptiveAvgPool2d(1)"


def script(network: Network, pool: str = AVERAGE, names: str = "c{}", **places: str) -> str:
    """A built-in network's rows as somebody would write them in a script."""
    rows = {
        names.format(number): [
            (row.width, row.kernel, row.stride, row.dilation, row.kind == "separable", row.residual) for row in block
        ]
        for number, block in enumerate(network.blocks, start=1)
    }
    listed = "ROWS = {\n" + "".join(f"    {name!r}: {content},\n" for name, content in rows.items()) + "}\n"
    text = BLOCKS.replace("POOL", pool).replace("BUILT\n", places.get("BUILT", ""))
    text = text.replace("FORWARD\n", places.get("FORWARD", ""))
    folder = "FOLDER = os.path.dirname(__file__)\n"
    return HEAD + folder + listed + places.get("ROWS_BELOW", "") + text + places.get("AFTER", "") + AFTER


def faulty(rng: random.Random) -> list[tuple[str, str, frozenset[str]]]:
    """A fault, the script that has it, and the rules that it breaks; of networks drawn at random."""

    def drawn() -> Network:
        return NETWORKS[rng.choice(["strided", "nano"])]

    def wide() -> Network:
        found = NETWORKS["strided"]
        rows = tuple(row.model_copy(update={"width": 256, "residual": False}) for row in found.blocks[-1])
        return found.model_copy(update={"blocks": (*found.blocks[:-1], rows)})

    def every(change: dict[str, object]) -> Network:
        found = drawn()
        blocks = tuple(tuple(row.model_copy(update=change) for row in block) for block in found.blocks)
        return found.model_copy(update={"blocks": blocks})

    def shorter() -> Network:
        found = drawn()
        first: tuple[Row, ...] = found.blocks[1]
        return found.model_copy(update={"blocks": (found.blocks[0], first[:1] + first[2:], *found.blocks[2:])})

    return [
        ("too wide", script(wide()), frozenset({"R7 fewer than 200,000 parameters"})),
        ("no dilation", script(every({"dilation": 1})), frozenset({"R4 dilated convolution", ENDS})),
        ("no separable", script(every({"kind": "dense", "width": 24, "residual": False})), frozenset({SEPARABLE})),
        ("two in a block", script(shorter()), frozenset({"R1 three convolutions a block"})),
        (
            "max pooling",
            script(drawn(), pool="nn.Sequential(nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1))"),
            frozenset({MAX}),
        ),
        (
            "max at the end",
            script(drawn(), pool="nn.AdaptiveMaxPool2d(1)"),
            frozenset({MAX, "R5 global average pooling"}),
        ),
        # the brief's blocks are taken by their places then
        ("other names", script(drawn(), names="block{}"), frozenset()),
    ]


ENDS, MAX = "R1 blocks end with stride 2 or dilated", "R1 no max pooling"
SEPARABLE = "R3 depthwise separable convolution"
NAMES = ("müller", "Ælfgifu", "李明", "o'neill b", "=cmd()", "<b>bold", "naïve 🙂", "-x", "a;b", "$HOME")


def forty(seed: int = 0) -> list[Submission]:
    """Forty submissions, in an order of their own."""
    rng = random.Random(seed)
    found = [
        Submission(f"{number:02} {name}.py", script(NETWORKS[rng.choice(["sprint", "strided", "nano", "dilated"])]))
        for number, name in enumerate(NAMES, start=1)
    ]
    found += [
        Submission(f"{number:02} {fault}.py", text, rules)
        for number, (fault, text, rules) in enumerate(faulty(rng), start=len(found) + 1)
    ]
    for number, (what, place, code, ends) in enumerate(RUDE, start=len(found) + 1):
        text = script(NETWORKS[rng.choice(["strided", "nano"])], **{place: code})
        failing = frozenset[str]() if ends is None else None
        found.append(Submission(f"{number:02} {what}.py", text, failing, ends or ""))
    rng.shuffle(found)
    assert len(found) == 40
    return found


def write(submissions: list[Submission], folder: Path) -> list[str]:
    """Write the files; returns their names."""
    folder.mkdir(exist_ok=True)
    for one in submissions:
        (folder / one.name).write_text(one.text, encoding="utf-8")
    return [one.name for one in submissions]
