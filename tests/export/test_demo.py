"""The page of a network: its engine says what PyTorch says, its resizing is Pillow's, and it holds nothing else."""

import base64
import dataclasses
import hashlib
import html
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import synthetic
from exporting import DILATED, NORM_LAST, learnt, of_module, run_folder, subject
from onnx import TensorProto, helper, numpy_helper, shape_inference
from torch import nn

from flyweight.errors import FlyweightError
from flyweight.evaluation import explain
from flyweight.export import demo, gate, quantise
from flyweight.export.demo import looking, page, running
from flyweight.export.demo.lowered import lowered
from flyweight.export.demo.packed import packed
from flyweight.export.demo.serving import Serving
from flyweight.export.subject import Subject
from flyweight.images import decode

PARTS = Path(demo.__file__).parent
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="NO NODE, so the page's scripts run in the browser's tests alone")


def network_of(made):
    return lowered(quantise.prepared(made.model()), made.card, made.name)


@pytest.fixture(scope="module")
def every():
    dataset = synthetic(10, 3, 16, 16, train=160, test=64)
    return Subject(learnt(DILATED, dataset), dataset)


@pytest.fixture(scope="module")
def network(every):
    return network_of(every)


@pytest.fixture(scope="module")
def written(every, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    return demo.write(every, folder)[0], (folder / "index.html").read_text()


def held(text):
    """What the page's scripts read."""
    return json.loads(re.search('<script type="application/json" id="network">(.*?)</script>', text)[1])


def test_it_is_one_page_that_names_no_other_place(every, written):
    artefact, text = written
    assert artefact.agreement.same == artefact.agreement.n == 64
    assert artefact.agreement.difference < 1e-5
    assert every.scores.accuracy > 90  # or nothing here would mean anything
    assert not re.findall(r"https?:|//cdn|@import|url\(", text)
    assert len(re.findall("<script", text)) == 2
    assert "connect-src &#39;none&#39;" in text or "connect-src 'none'" in text
    # the policy lets run what stands there, and nothing else
    for element in ("script", "style"):
        content = re.search(rf"<{element}(?: type=\"module\")?>(.*?)</{element}>", text, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in html.unescape(text)


def test_test_images_of_each_class_are_on_it(every, written):
    samples = held(written[1])["samples"]
    assert [sample["label"] for sample in samples] == sorted([*range(10)] * 2)
    first = decode.decode(base64.b64decode(samples[2]["image"].split(",")[1]), (3, 16, 16), "crop")
    assert (first == every.pixels(1, 2)[0]).all()


class Everything(nn.Module):
    """What the table's networks are not made of."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 9, (3, 1), (1, 2), (1, 0), bias=True)
        self.group = nn.Conv2d(9, 6, (1, 3), padding=(0, 2), dilation=(1, 2), groups=3)
        self.many = nn.Conv2d(6, 12, 3, padding=1, groups=6)
        self.norm = nn.BatchNorm2d(12)
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(12, 5, 1), nn.SiLU(), nn.Conv2d(5, 12, 1))
        self.highest = nn.MaxPool2d(3, 2, 1)
        self.average = nn.AvgPool2d(3, 2, 1)
        self.uncounted = nn.AvgPool2d(3, 2, 1, count_include_pad=False)
        self.last = nn.Conv2d(36, 7, 1)
        self.linear = nn.Linear(7 * 8 * 4, 10)

    def forward(self, x):
        x = nn.functional.relu6(self.group(self.first(x)))
        x = self.norm(torch.relu(self.many(x)))
        x = x * torch.sigmoid(self.squeeze(x)) + x.mean((2, 3), keepdim=True)
        x = torch.cat([self.highest(x), self.average(x) * 2 - 0.5, self.uncounted(x)], 1)
        return self.linear(self.last(x).clamp(-1, 2).flatten(1))


class NormFirst(nn.Sequential):
    """Its map does not go on through a mean and one linear layer."""

    def __init__(self):
        super().__init__(
            nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 3, 2), nn.MaxPool2d(7), nn.Flatten(), nn.Linear(4, 6),
            nn.Sigmoid(), nn.Linear(6, 10),
        )  # fmt: skip


def agrees(made, network):
    # one after the other: the arena keeps what the image before has left in it
    logits = running.answers(packed(network), 24, 10, made.pixels)
    assert np.abs(logits - made.logits[:24]).max() < 2e-5 * np.abs(made.logits).max()
    assert np.ptp(made.logits) > 0.1


class Joined(nn.Module):
    """Maps of several widths, one behind another in one."""

    def __init__(self, widths):
        super().__init__()
        self.parts = nn.ModuleList(nn.Conv2d(3, width, 3, padding=1) for width in widths)
        self.last = nn.Conv2d(sum(widths), 10, 1)

    def forward(self, x):
        return self.last(torch.cat([part(x).relu() for part in self.parts], 1)).mean((2, 3))


@pytest.mark.parametrize("widths", [(8, 8), (8, 8, 8), (4, 8, 16), (16, 4, 4, 4), (3, 5)])
def test_what_is_put_together_lies_over_nothing_that_is_still_read(widths):
    torch.manual_seed(0)
    made = of_module(Joined(widths))
    agrees(made, network_of(made))


def test_a_network_of_everything_says_what_pytorch_says():
    torch.manual_seed(1)
    made = of_module(Everything())
    agrees(made, network_of(made))


def test_what_has_no_heat_map_of_the_reports_gets_none():
    torch.manual_seed(1)
    made = of_module(NormFirst())
    network = network_of(made)
    agrees(made, network)
    assert looking.heat(made.trained, network, packed(network), made.pixels(0, 8)) is None


def test_grey_images_and_norms_after_the_relu():
    made = subject(NORM_LAST, synthetic(10, 1, 16, 16))
    network = network_of(made)
    agrees(made, network)
    assert looking.heat(made.trained, network, packed(network), made.pixels(0, 8)) is not None


def test_no_map_lies_on_another_that_is_still_read(network):
    memory = packed(network)
    rows = memory.steps
    ends = {
        at: (row[3], row[3] + step.target.bytes // 4)
        for at, (row, step) in enumerate(zip(rows, network.steps, strict=True))
    }
    makers = {step.target: at for at, step in enumerate(network.steps)}
    for at, step in enumerate(network.steps):
        later = {source for after in network.steps[at + 1 :] for source in after.sources} | {network.looked}
        beside = [one for one in later if one in makers and makers[one] < at]
        beside += [] if step.kind in ("add", "pixels") else step.sources
        start, end = ends[at]
        assert end * 4 <= memory.arena
        for one in beside:
            low, high = ends[makers[one]]
            assert high <= start or end <= low, (step.name, one.name)


def test_weights_keep_24_bits(network):
    memory, at = packed(network), 0
    weights = np.zeros((len(memory.packed) // 3, 4), np.uint8)
    weights[:, 1:] = memory.packed.reshape(-1, 3)
    whole = weights.reshape(-1).view("<i4") >> 8
    parts = []
    for count, factor in memory.parts:
        assert np.log2(factor) % 1 == 0
        parts.append(whole[at : at + count] * factor)
        at += count
    assert at == len(whole)
    largest = max(np.abs(step.weight).max() for step in network.steps if step.weight is not None)
    assert np.abs(np.concatenate(parts)).max() >= largest
    exact = network.steps[1].weight
    kept = next(part for part in parts[2:] if len(part) == exact.size)
    assert np.abs(np.sort(kept) - np.sort(exact.reshape(-1))).max() <= np.abs(exact).max() * 2**-23


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (("LeakyRelu", ["a"], {}), "the operator LeakyRelu (mine)"),
        (("MaxPool", ["a"], {"kernel_shape": [2, 2], "ceil_mode": 1}), "MaxPool with ceil_mode or places (mine)"),
        (("Add", ["a", "half"], {}), "Add of a map and a constant of another shape (mine)"),
        (("Div", ["a", "a"], {}), "Div of two maps (mine)"),
        (("Concat", ["a", "a"], {"axis": 2}), "Concat of other than channels (mine)"),
        (("Flatten", ["a"], {"axis": 2}), "Flatten to 2 dimensions (mine)"),
    ],
)
def test_what_has_no_step_is_refused_by_name(every, node, words):
    kind, inputs, settings = node
    weights = {"W": (4, 3, 3, 3), "half": (14, 14)}
    constants = [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in weights.items()]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "W"], ["a"], name="first"),
            helper.make_node(kind, inputs, ["b"], name="mine", **settings),
        ],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 16, 16])],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)],
        constants,
    )
    model = shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]))
    with pytest.raises(FlyweightError) as raised:
        lowered(model, every.card, "net")
    assert str(raised.value) == f"demo cannot hold net: {words} has no step in the page's engine; use others"


def test_what_says_something_else_is_not_written(every, tmp_path, monkeypatch):
    def damaged(network):
        made = packed(network)
        return dataclasses.replace(made, packed=np.roll(made.packed, 300))

    monkeypatch.setattr(demo, "packed", damaged)
    with pytest.raises(gate.GateError, match="index.html does not say what the network says"):
        demo.write(every, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_told(every, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FlyweightError, match=r"needs wasmtime: pip install 'flyweight\[export\]'"):
        demo.write(every, tmp_path)


def test_names_cannot_leave_their_place(every, network):
    names = ("</script><script>alert(1)</script>", '"><b>', "a\x1b[0m\u2028", "&amp;", *every.card.classes[4:])
    made = dataclasses.replace(every.trained, card=dataclasses.replace(every.card, classes=names))
    named = Subject(made, dataclasses.replace(every.dataset, classes=names))
    agreed = gate.agreement(named.logits, named.logits, named.labels)
    text = page.assembled(named, network, packed(network), None, agreed)
    assert "<script>alert" not in text
    assert '"><b>' not in text
    assert held(text)["classes"][:4] == [names[0], names[1], "a\ufffd[0m\ufffd", names[3]]
    assert held(text)["map"] is None


def test_samples_leave_the_page_small(every, monkeypatch):
    monkeypatch.setattr(page, "SAMPLE_BYTES", 3000)
    few = page.samples(every)
    assert 0 < len(few) < 20
    assert sum(len(one.image) for one in few) < 3000 * 4 / 3 + 30 * len(few)


SCRIPT = """
const { prepared } = require(process.argv[1]);
const cases = JSON.parse(require("fs").readFileSync(0));
const found = cases.map(({ width, height, pixels, size, resize, tall }) => {
  const rgba = Buffer.from(pixels, "base64");
  const rows = (first, count) => rgba.subarray(first * width * 4, (first + count) * width * 4);
  return Buffer.from(prepared({ width, height, rows }, size, resize, tall)).toString("base64");
});
console.log(JSON.stringify(found));
"""


def resized(cases):
    """What the page's script makes of RGBA images, (H, W, 4), and shapes."""
    asked = [
        {
            "width": image.shape[1], "height": image.shape[0], "pixels": base64.b64encode(image.tobytes()).decode(),
            "size": dict(zip(("channels", "height", "width"), shape, strict=True)), "resize": resize, "tall": page.TALL,
        }
        for image, shape, resize in cases
    ]  # fmt: skip
    ran = subprocess.run(
        [NODE, "-e", SCRIPT, PARTS / "resize.js"], input=json.dumps(asked), capture_output=True, text=True, check=True
    )
    return [
        np.frombuffer(base64.b64decode(one), np.uint8).reshape(shape[1], shape[2], shape[0])
        for one, (_, shape, _) in zip(json.loads(ran.stdout), cases, strict=True)
    ]


@needs_node
def test_resizing_is_pillows_to_the_last_bit():
    random, cases = np.random.default_rng(0), []
    sides = [(32, 32), (1, 1), (1, 90), (47, 1), (31, 33), (640, 480), (33, 700), (1300, 900)]
    sides += [tuple(random.integers(2, 300, 2)) for _ in range(40)]
    for number, (width, height) in enumerate(sides):
        image = random.integers(0, 256, (height, width, 4), np.uint8)
        if number % 3:
            image[..., 3] = 255
        if number % 4 == 0:
            image[..., :3] = image[..., :1]
        shape = [(3, 32, 32), (1, 28, 28), (3, 24, 40), (3, 97, 64)][number % 4]
        cases += [(image, shape, resize) for resize in ("crop", "pad", "squash")]
    for (image, shape, resize), ours in zip(cases, resized(cases), strict=True):
        opaque = (image[..., 3] == 255).all()
        theirs = decode.fitted(image[..., :3].copy() if opaque else image, shape, resize)
        assert (ours == theirs).all(), (image.shape, shape, resize)


needs_clang = pytest.mark.skipif(
    shutil.which("clang") is None or shutil.which("wasm-ld") is None,
    reason="NO CLANG, so the committed engine is not built again: `make programs` as root installs it",
)


@needs_clang
def test_the_engine_is_what_its_source_makes(every, network, tmp_path, monkeypatch):
    built = tmp_path / "engine.wasm"
    tool = Path(__file__).parents[2] / "tools" / "engine.py"
    subprocess.run([sys.executable, tool, built], check=True)
    made_by = subprocess.run(["clang", "--version"], capture_output=True, text=True, check=True).stdout
    if f"clang version {COMMITTED} " in f"{made_by.splitlines()[0]} ".replace("\n", " "):
        assert built.read_bytes() == running.ENGINE.read_bytes()
    monkeypatch.setattr(running, "ENGINE", built)
    agrees(every, network)


COMMITTED = "14.0.6"
"""Of clang, which made the engine that is committed."""


@needs_node
def test_the_pages_own_script_runs_the_engine(every, written):
    """In node: probabilities of test images, and the heat map of the report."""
    network = held(written[1])
    script = """
        const fs = require("fs");
        const { Engine, softmax } = require(process.argv[1]);
        const { network, images, labels } = JSON.parse(fs.readFileSync(0));
        Engine.open(network).then((engine) => {
          const said = images.map((image, at) => {
            const logits = engine.logits(Buffer.from(image, "base64"));
            return { probabilities: softmax(logits, network.temperature), heat: Array.from(engine.heat(labels[at])) };
          });
          console.log(JSON.stringify(said));
        });
    """
    pixels, classes = every.pixels(0, 30), every.logits[:30].argmax(1)
    asked = {
        "network": network,
        "images": [base64.b64encode(image.tobytes()).decode() for image in pixels],
        "labels": classes.tolist(),
    }
    ran = subprocess.run(
        [NODE, "-e", script, PARTS / "engine.js"], input=json.dumps(asked), capture_output=True, text=True, check=True
    )
    found = json.loads(ran.stdout)
    ours = np.array([one["probabilities"] for one in found])
    assert np.abs(ours - every.probabilities[:30]).max() < 1e-5
    maps = np.array([one["heat"] for one in found]).reshape(30, 16, 16)
    assert np.abs(maps - explain.gradcam(every.trained, pixels, classes.tolist())).max() < 1e-3


def test_a_port_that_is_taken_is_told():
    with Serving(b"page", 0) as server, pytest.raises(FlyweightError) as raised:
        Serving(b"page", server.server_port)
    assert re.fullmatch(r"--port \d+: Address already in use; name another, or 0 for a free one", str(raised.value))


PROGRAM = """
import sys
from flyweight.cli import app, job
from flyweight.data import registry
from flyweight.data.reader import Reader
from conftest import synthetic
made = synthetic(4, 3, 16, 16)
reader = Reader("synthetic", "Made", "made by the tests", lambda path, **options: made, spec=made.spec)
registry.READERS = (reader, *registry.READERS)
app.main(["demo", "net", "--port", "0"])
"""


def interruptible():
    """Where the tests run in the background, SIGINT is ignored by all that they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.early
def test_the_command_serves_the_page_until_it_is_interrupted(tmp_path):
    run_folder(tmp_path / "net", DILATED, synthetic(4, 3, 16, 16))
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
        preexec_fn=interruptible,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        address = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address), process.stderr.read()
        with urllib.request.urlopen(address) as answer:
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
            assert held(answer.read().decode())["classes"] == [f"class {number}" for number in range(4)]
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{address}config.json")
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (0, "")
    assert err.splitlines()[-1] == "Ctrl-C ends it"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net"]
