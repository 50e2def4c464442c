"""ONNX files that say what their network says, through real sessions."""

import ast
import json

import numpy as np
import onnx
import pytest
import torch
from conftest import synthetic
from exporting import DILATED, EVERY, NORM_LAST, asked, of_module, subject
from torch import nn

from flyweight.errors import FlyweightError
from flyweight.export import around, formats, gate, graph, onnx_float, onnx_uint8, ultralytics
from flyweight.images.preprocess import normalize

SETS = {"grey": (3, 1, 28, 28), "many": (300, 3, 24, 16), "ten": (10, 3, 16, 16)}


@pytest.fixture(scope="module")
def every():
    return subject(EVERY)


def attributes(node):
    return {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}


def says_the_same(exported, folder):
    """Hold each flavour against PyTorch, by nothing of flyweight's own."""
    card, test = exported.card, exported.dataset.test
    images = np.array(test.images[:5])
    inputs = normalize(torch.from_numpy(images), card.mean, card.std)
    with torch.no_grad():
        logits = exported.trained.model(inputs)
    told = (logits / card.temperature).softmax(1).numpy()  # what predict tells
    shares = (images / 255).astype(np.float32).transpose(0, 3, 1, 2)
    for count in (1, 5):  # any number of images
        said = asked(folder / onnx_float.FILE, inputs.numpy()[:count])
        assert said == pytest.approx(logits.numpy()[:count], abs=1e-4)
        said = asked(folder / onnx_uint8.FILE, images[:count])
        assert said == pytest.approx(told[:count], abs=1e-5)
    said = asked(folder / ultralytics.FILE, shares[:1])
    assert said == pytest.approx(told[:1], abs=1e-5)


def write_all(exported, folder):
    for module in (onnx_float, onnx_uint8, ultralytics):
        for artefact in module.write(exported, folder):
            assert artefact.bytes == (folder / artefact.file).stat().st_size
            assert artefact.agreement.same == artefact.agreement.n == len(exported.dataset.test)
            assert artefact.agreement.difference < 1e-4
            assert artefact.agreement.lost == 0


def test_a_network_of_every_layer_says_the_same_in_every_flavour(every, tmp_path):
    write_all(every, tmp_path)
    says_the_same(every, tmp_path)


@pytest.mark.parametrize("name", ["grey", "many"])
def test_any_classes_and_images(name, tmp_path):
    exported = subject(DILATED, synthetic(*SETS[name]))
    write_all(exported, tmp_path)
    says_the_same(exported, tmp_path)


def test_a_norm_after_the_relu_stays_a_norm(tmp_path):
    exported = subject(NORM_LAST)
    write_all(exported, tmp_path)
    says_the_same(exported, tmp_path)
    kinds = [node.op_type for node in onnx.load(tmp_path / onnx_float.FILE).graph.node]
    assert kinds.count("BatchNormalization") == 2
    assert "Dropout" not in kinds


def test_the_file_is_one_that_old_readers_open(every, tmp_path):
    (artefact,) = onnx_float.write(every, tmp_path)
    model = onnx.load(tmp_path / artefact.file)
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, [(entry.domain, entry.version) for entry in model.opset_import]) == (8, [("", 18)])
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert not any(tensor.HasField("data_location") and tensor.data_location for tensor in model.graph.initializer)
    kinds = {node.op_type for node in model.graph.node}
    # folded, and the mean over the map as what it is
    assert kinds == {"Conv", "Relu", "Add", "GlobalAveragePool", "Reshape"}
    for node in model.graph.node:
        assert attributes(node).get("auto_pad", b"NOTSET") == b"NOTSET"
        assert node.op_type != "Conv" or len(attributes(node)["pads"]) == 4
    (entry,) = model.graph.input
    assert [side.dim_param or side.dim_value for side in entry.type.tensor_type.shape.dim] == ["batch", 3, 16, 16]


def test_layers_are_called_as_their_modules_and_nothing_of_this_machine_is_told(every, tmp_path):
    onnx_float.write(every, tmp_path)
    content = (tmp_path / onnx_float.FILE).read_bytes()
    named = {node.name for node in onnx.load_from_string(content).graph.node if node.op_type == "Conv"}
    modules = dict(every.trained.model.named_modules())
    assert named == {name for name, module in modules.items() if isinstance(module, nn.Conv2d)}
    values = {name for node in onnx.load_from_string(content).graph.node for name in (*node.input, *node.output)}
    assert not any("/" in name or "\\" in name for name in values)
    for word in (b".py", b"torch", b"stack", b"hook", b"File"):
        assert word not in content, word


def test_the_same_network_gives_the_same_bytes():
    one, other = (subject(DILATED).model().SerializeToString(deterministic=True) for _ in range(2))
    assert one == other


def test_what_travels_with_the_graph(every, tmp_path):
    onnx_float.write(every, tmp_path)
    model = onnx.load(tmp_path / onnx_float.FILE)
    told = {entry.key: entry.value for entry in model.metadata_props}
    card = every.card
    assert tuple(json.loads(told["classes"])) == card.classes
    assert json.loads(told["preprocessing"])["mean"] == list(card.mean)
    assert json.loads(told["preprocessing"])["size"] == [16, 16]
    assert json.loads(told["preprocessing"])["resize"] == "crop"
    assert (told["weights_sha256"], told["data_fingerprint"]) == (card.sha256, card.fingerprint)
    assert model.producer_name == "flyweight"


def test_normalisation_stays_a_subtraction_and_a_division(every, tmp_path):
    onnx_uint8.write(every, tmp_path)
    model = onnx.load(tmp_path / onnx_uint8.FILE)
    assert [node.op_type for node in model.graph.node[:5]] == ["Transpose", "Cast", "Div", "Sub", "Div"]
    (entry,) = model.graph.input
    assert entry.type.tensor_type.elem_type == onnx.TensorProto.UINT8


def test_ultralytics_finds_its_literals(every, tmp_path):
    ultralytics.write(every, tmp_path)
    model = onnx.load(tmp_path / ultralytics.FILE)
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert told["task"] == "classify"
    assert ast.literal_eval(told["names"]) == dict(enumerate(every.card.classes))
    assert ast.literal_eval(told["imgsz"]) == [16, 16]
    assert [int(told[key]) for key in ("stride", "batch", "channels")] == [1, 1, 3]
    (entry,) = model.graph.input
    assert entry.name == "images"
    # of any number of images it would take the size for any, too, and ask with 640x640
    assert [side.dim_value for side in entry.type.tensor_type.shape.dim] == [1, 3, 16, 16]
    assert model.graph.output[0].type.tensor_type.shape.dim[0].dim_value == 1


def test_a_path_of_a_users_class_is_not_told():
    class Named:
        network = "/home/somebody/secret/net.py:Net"

    assert around.network(Named) == "net.py:Net"


class Own(nn.Module):
    """What people write: functions, a squeeze, a linear head, a maximum beside a mean."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding="same"), nn.BatchNorm2d(8)
        self.squeeze, self.head = nn.Linear(8, 8), nn.Linear(16, 10)

    def forward(self, x):
        x = nn.functional.silu(self.norm(self.first(x)))
        x = x * torch.sigmoid(self.squeeze(x.mean((2, 3))))[:, :, None, None]
        x = nn.functional.max_pool2d(x, 2)
        return self.head(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1).view(len(x), -1))


def test_a_users_own_network_says_the_same(tmp_path):
    torch.manual_seed(0)
    exported = of_module(Own())
    write_all(exported, tmp_path)
    says_the_same(exported, tmp_path)


class Around(nn.Module):
    """A convolution, one operator and a mean."""

    def __init__(self, operator):
        super().__init__()
        self.convolution, self.operator = nn.Conv2d(3, 10, 3), operator

    def forward(self, x):
        return self.operator(self.convolution(x)).flatten(2).mean(2)


REFUSED = {
    "aten.median": lambda x: x.flatten(2).median(2).values[:, :, None],
    "chooses its way": lambda x: x if x.mean() > 0.1 else -x,
    "ceil_mode": lambda x: nn.functional.avg_pool2d(x, 3, 2, padding=1, ceil_mode=True),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_a_graph_cannot_hold_is_refused_by_name(words, tmp_path):
    with pytest.raises(FlyweightError, match=rf"ONNX cannot hold net.py:Own: .*{words}"):
        onnx_float.write(of_module(Around(REFUSED[words])), tmp_path)
    assert list(tmp_path.iterdir()) == []


class Drifting(nn.Module):
    """Says something else each time: what it was when the graph was made, no graph can know."""

    def __init__(self):
        super().__init__()
        self.convolution, self.times = nn.Conv2d(3, 10, 3), 0

    def forward(self, x):
        self.times += 1
        return self.convolution(x).mean((2, 3)) * self.times


def test_a_graph_that_says_something_else_does_not_pass_the_gate(tmp_path):
    with pytest.raises(gate.GateError, match="model.onnx does not say what the network says: of 32 test images"):
        onnx_float.write(of_module(Drifting()), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_graph_knows_how_many_images_there_are(tmp_path):
    # a trace would keep the two images that it was made with
    exported = of_module(Around(lambda x: x.view(len(x), -1, 14, 14) * float(len(x))))
    model = exported.model()
    graph._refuse(model, "it")
    assert asked(model.SerializeToString(), exported.inputs(0, 1))[0] == pytest.approx(
        asked(model.SerializeToString(), exported.inputs(0, 4))[0] / 4, abs=1e-5
    )


def test_an_average_over_other_axes_stays_what_it_is(tmp_path):
    exported = of_module(Around(lambda x: x.mean(1, keepdim=True) + x))
    write_all(exported, tmp_path)
    says_the_same(exported, tmp_path)


LOGITS = np.array([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0]], np.float32)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (LOGITS + np.float32(2e-4), "by up to 0.0002"),
        (LOGITS[:, ::-1], "of 2 test images 1 get another class"),
        (LOGITS[:, :2], "gives .2,. numbers"),
        (np.full_like(LOGITS, np.nan), "not finite"),
    ],
)
def test_the_gate_closes(said, words):
    with pytest.raises(gate.GateError, match=words):
        gate.equal_or_raise("model.onnx", said, LOGITS, np.array([0, 1]))


def test_the_gate_opens_for_rounding_alone():
    found = gate.equal_or_raise("model.onnx", LOGITS + np.float32(5e-5), LOGITS, np.array([0, 0]))
    assert (found.n, found.same, found.accuracy, found.lost) == (2, 2, 50, 0)
    # two classes that PyTorch itself holds for equal
    tied = np.array([[1.0, 1.0 + 1e-6]], np.float32)
    assert gate.equal_or_raise("model.onnx", tied[:, ::-1], tied, np.array([0])).same == 0
    # of large numbers float32 has fewer digits behind the point
    large = LOGITS * 1e4
    assert gate.equal_or_raise("model.onnx", large + np.float32(0.1), large, np.array([0, 0])).same == 2


def test_formats_are_known_by_name_and_each_is_a_module():
    assert [one.name for one in formats.chosen([])] == ["onnx"]
    assert [one.name for one in formats.chosen(["ultralytics", "onnx"])] == ["onnx", "ultralytics"]
    with pytest.raises(FlyweightError, match="no format 'onxx' .did you mean 'onnx'"):
        formats.chosen(["onxx"])


def test_the_exporter_leaves_logging_and_warnings_as_they_were(every, recwarn, capsys):
    import logging

    before = logging.root.manager.disable
    graph.build(every.trained.model, every.card.input_shape, "again")
    assert logging.root.manager.disable == before
    assert not recwarn.list
    assert capsys.readouterr() == ("", "")
