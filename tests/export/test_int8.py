"""Networks in 8 bits: how their ranges are found, what the gate asks for, what stays in float."""

import dataclasses

import numpy as np
import onnx
import pytest
import torch
from conftest import synthetic
from exporting import DILATED, EVERY, NORM_LAST, asked, learnt

from flyweight.data.dataset import joined
from flyweight.errors import FlyweightError
from flyweight.export import calibrate, gate, onnx_int8, quantise
from flyweight.export.subject import Subject


@pytest.fixture(scope="module")
def every():
    dataset = synthetic(10, 3, 16, 16, train=160, test=64)
    return Subject(learnt(EVERY, dataset), dataset)


@pytest.fixture(scope="module")
def small():
    """Of few layers, for what tries each of them."""
    dataset = synthetic(3, 3, 16, 16, train=96, test=60)
    return Subject(learnt(DILATED, dataset), dataset)


@pytest.fixture(scope="module")
def written(every, tmp_path_factory):
    folder = tmp_path_factory.mktemp("int8")
    (artefact,) = onnx_int8.write(every, folder)
    return artefact, folder / artefact.file


def test_it_loses_nothing_that_matters_and_is_smaller(every, written):
    artefact, path = written
    assert every.scores.accuracy > 90  # or nothing here would mean anything
    assert artefact.agreement.lost <= gate.MOST_LOST
    assert artefact.agreement.n == 64
    assert artefact.note.startswith("8 bits by ")
    assert "on 80 training images" in artefact.note  # half of them: the others choose
    said = asked(path, every.inputs(0, 64))
    assert said.argmax(1).tolist().count(0) < 64
    assert (said.argmax(1) == every.labels).mean() * 100 == pytest.approx(artefact.agreement.accuracy)


def test_weights_are_signed_bytes_by_channel_and_logits_are_floats(every, written):
    model = onnx.load(written[1])
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, [(entry.domain, entry.version) for entry in model.opset_import]) == (8, [("", 18)])
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 12
    for node in convolutions:
        weight = makers[node.input[1]]
        assert weight.op_type == "DequantizeLinear"
        values, scales = (constants[name] for name in weight.input[:2])
        assert (values.dtype, scales.shape) == (np.int8, (len(values),))
        assert makers[node.input[0]].op_type == "DequantizeLinear"
    zeros = {constants[node.input[2]].dtype for node in model.graph.node if node.op_type == "QuantizeLinear"}
    assert zeros == {np.dtype(np.int8)}
    # behind the last layer nothing is rounded
    assert makers["logits"].op_type == "Reshape"
    assert makers[makers["logits"].input[0]].op_type == "Conv"
    assert len(np.unique(asked(written[1], every.inputs(0, 64)))) > 256


def test_any_number_of_images(every, written):
    said = asked(written[1], every.inputs(0, 5))
    assert asked(written[1], every.inputs(0, 1)) == pytest.approx(said[:1], abs=1e-5)


def test_what_loses_too_much_is_not_written_and_the_worst_layer_is_told(small, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_int8, "MOST_LOST", -1)
    monkeypatch.setattr(onnx_int8, "MOST_LEFT", 1)
    again = Subject(small.trained, small.dataset)
    layer = r"c\d\.conv\d[\w.]*|classifier"
    with pytest.raises(
        gate.GateError, match=rf"points of accuracy.*left in float: ({layer}).*the worst layer is ({layer})"
    ):
        onnx_int8.write(again, tmp_path)
    # and it is not searched for again
    with pytest.raises(gate.GateError):
        onnx_int8.write(again, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_layer_that_stays_in_float_keeps_its_weights(small, tmp_path, monkeypatch):
    found, asked_for = onnx_int8.agreement, []

    def twice(*arguments):
        asked_for.append(found(*arguments))
        return dataclasses.replace(asked_for[-1], lost=9.0) if len(asked_for) == 1 else asked_for[-1]

    monkeypatch.setattr(onnx_int8, "agreement", twice)
    (artefact,) = onnx_int8.write(Subject(small.trained, small.dataset), tmp_path)
    layer = artefact.note.partition("training images, ")[2].removesuffix(" left in float")
    model = onnx.load(tmp_path / artefact.file)
    makers = {name: node for node in model.graph.node for name in node.output}
    (node,) = (node for node in model.graph.node if node.name == layer)
    assert node.op_type == "Conv"
    assert node.input[1] not in makers
    assert {makers[one.input[1]].op_type for one in model.graph.node if one.op_type == "Conv" and one is not node} == {
        "DequantizeLinear"
    }


def test_without_training_images_there_are_no_ranges(small, tmp_path):
    empty = dataclasses.replace(small.dataset, train=joined([]))
    again = Subject(small.trained, small.dataset)
    again.dataset = empty
    with pytest.raises(FlyweightError, match="8 bits are calibrated on training images, and synthetic has none"):
        onnx_int8.write(again, tmp_path)


def test_a_norm_after_the_relu_stays_in_float(tmp_path):
    dataset = synthetic(3, 1, 16, 16, train=96, test=60)
    (artefact,) = onnx_int8.write(Subject(learnt(NORM_LAST, dataset), dataset), tmp_path)
    model = onnx.load(tmp_path / artefact.file)
    constants = {tensor.name for tensor in model.graph.initializer}
    norms = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    assert len(norms) == 2
    assert all(set(node.input[1:]) <= constants for node in norms)


def test_the_ranges_are_those_of_the_values_that_flow(every):
    model = quantise.prepared(every.model())
    seen = calibrate.watch(model, [every.inputs(0, 16), every.inputs(16, 24)])
    inputs = torch.from_numpy(every.inputs(0, 24))
    with torch.no_grad():
        first = every.trained.model.c1.conv1(inputs)
        logits = every.trained.model(inputs)
    name = next(node.output[0] for node in model.graph.node if node.op_type == "Relu")
    assert seen[name].low == 0
    assert seen[name].high == pytest.approx(float(first.max()), rel=1e-4)
    assert seen[name].counts.sum() == first.numel()
    assert (seen["logits"].low, seen["logits"].high) == pytest.approx(
        (float(logits.min()), float(logits.max())), rel=1e-3
    )
    assert (seen["pixel_values"].low, seen["pixel_values"].high) == (float(inputs.min()), float(inputs.max()))


def with_values(values):
    values = np.asarray(values, np.float64)
    counts, _ = np.histogram(np.abs(values), calibrate.BINS, (0, np.abs(values).max()))
    return calibrate.Seen(values.min(), values.max(), counts)


def test_a_percentile_leaves_out_its_share():
    # 1 to 10,000, all alike: 99.9 % of them end at 9,990
    low, high = calibrate.percentile(99.9)(with_values(np.arange(1, 10_001)))
    assert low == 1
    assert 9990 <= high <= 9990 + 2 * 10_000 / calibrate.BINS


@pytest.mark.parametrize("sign", [False, True])
def test_entropy_gives_up_a_lonely_outlier_and_nothing_else(sign):
    values = np.random.default_rng(0).normal(size=100_000)
    values = values if sign else np.abs(values)
    low, high = calibrate.entropy(with_values([*values, 60.0]))
    assert 3 < high < 15
    assert -15 < low < -3 if sign else low == values.min()
    even = np.linspace(0, 1, 100_000)
    assert calibrate.entropy(with_values(even))[1] > 0.9


NOTHING = calibrate.Seen(0, 0, np.array([10, *[0] * (calibrate.BINS - 1)]))


@pytest.mark.parametrize("method", calibrate.METHODS)
def test_no_method_goes_beyond_the_values(method):
    for seen in (NOTHING, with_values(np.linspace(-3, 1, 1000)), with_values(np.full(5, 2.0))):
        low, high = calibrate.METHODS[method](seen)
        assert seen.low <= low <= high <= seen.high
