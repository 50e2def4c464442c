"""Networks as C: the program that gcc makes says to the last bit what NumPy computes, in the memory planned."""

import dataclasses
import json
import subprocess

import numpy as np
import onnx
import pytest
from c_programs import WATCHED, Random, apart, card_of, compiled, needs_gcc, program, shipped
from conftest import synthetic
from exporting import EVERY, NORM_LAST, learnt, of_module, trained
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from flyweight.errors import FlyweightError
from flyweight.export import c, calibrate, gate, quantise
from flyweight.export.c import reference
from flyweight.export.c.integers import MOST_SHIFT, Addition, Convolution, fixed_point, levels
from flyweight.export.c.lowered import lowered
from flyweight.export.c.plan import least, planned
from flyweight.export.c.source import identifier
from flyweight.export.choices import choices
from flyweight.export.subject import Subject
from flyweight.runs.card import ZOO, load_trained

KIB = 1024


def images(count, height=16, width=16, channels=3, seed=0):
    found = np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), np.uint8)
    found[0], found[1] = 0, 255
    return found


def said(network, pixels):
    return reference.answers(network, len(pixels), lambda start, end: pixels[start:end])


@pytest.fixture(scope="module")
def every():
    dataset = synthetic(10, 3, 16, 16, train=160, test=64)
    return Subject(learnt(EVERY, dataset), dataset)


@pytest.fixture(scope="module")
def written(every, tmp_path_factory):
    folder = tmp_path_factory.mktemp("c")
    return c.write(every, folder), folder


def test_it_loses_nothing_that_matters_and_tells_its_sizes(every, written):
    (header, source), folder = written
    assert sorted(path.name for path in folder.iterdir()) == ["rows.c", "rows.h"]
    assert (header.file, source.file) == ("rows.h", "rows.c")
    assert every.scores.accuracy > 90  # or nothing here would mean anything
    assert source.agreement.lost <= gate.MOST_LOST
    assert source.agreement.n == 64
    # of 8 bits a logit is some hundredths of the largest one off
    assert source.agreement.difference < 0.1 * np.abs(every.logits).max()
    network = c.brought(every).network
    weights = sum(step.weight.size for step in network.steps if isinstance(step, Convolution))
    counted = sum(weight.numel() for weight in every.trained.model.parameters() if weight.ndim == 4)
    assert weights == counted
    assert f"constants {network.constant_bytes:,}" in source.note
    assert f"#define ROWS_ARENA_BYTES {source.note.split()[1].replace(',', '')}\n" in (folder / "rows.h").read_text()


@needs_gcc
def test_the_program_says_to_the_last_bit_what_numpy_computes(every, written):
    (_, source), folder = written
    asked = compiled(folder, "rows", "-O1", *WATCHED)
    pixels = np.concatenate([every.pixels(0, 64), images(40)])
    classes, logits = asked(pixels, 10)
    expected = said(c.brought(every).network, pixels)
    assert logits.tobytes() == expected.tobytes()
    assert (classes == expected.argmax(1)).all()
    assert (classes[:64] == every.labels).mean() * 100 == pytest.approx(source.agreement.accuracy)
    assert ", code " in source.note
    assert "(gcc -Os, " in source.note


TABLES = {
    "kernels": {
        "blocks": [
            [{"width": 5, "kernel": kernel} for kernel in (1, 3, 5, 7)],
            [{"width": 6, "padding": 3}, {"width": 4, "kernel": 1, "padding": 1}],
        ]
    },
    "strides": {
        "blocks": [
            [{"width": 6, "stride": 2}, {"width": 7, "padding": 0}, {"width": 7, "kernel": 1, "stride": 3}],
            [{"width": 8, "kernel": 5, "dilation": 2, "padding": 4}],
        ]
    },
    "dilated": {"blocks": [[{"width": 6, "dilation": 2}, {"width": 6, "dilation": 3, "residual": True}]]},
    "separable": {
        "blocks": [
            [
                {"width": 6, "kind": "separable", "stride": 2},
                {"width": 6, "kind": "separable", "residual": True, "dilation": 2},
                {"width": 4, "kind": "separable", "kernel": 5},
            ]
        ]
    },
    "norm last": {"blocks": [[{"width": 6}, {"width": 6, "residual": True}]], "order": "relu-norm", "pool": 8},
}


@needs_gcc
@pytest.mark.parametrize("name", TABLES)
def test_every_kind_of_layer_is_the_same_to_the_last_bit(name, tmp_path):
    shape = (3, 8, 8) if name == "norm last" else (2, 15, 15)
    network = Random(len(name)).network(TABLES[name], shape, classes=4)
    pixels = images(20, *shape[1:], shape[0])
    # with a place of its own for each map all of them can be looked at
    classes, logits, arenas = program(network, tmp_path, "-O1", *WATCHED, plan=apart(network), arena=True)(pixels, 4)
    for one, expected in reference.maps(network, pixels):
        if not one.wide:
            start = apart(network).places[one]
            assert arenas[:, start : start + one.bytes].tobytes() == expected.tobytes(), one.name
            # and not both of them only zeros or ends of the scale
            assert len(np.unique(expected)) > 3
    assert logits.tobytes() == expected.tobytes()
    assert (classes == expected.reshape(20, 4).argmax(1)).all()
    # and with the places that are planned, where one map follows another
    assert planned(network).bytes < apart(network).bytes
    _, again = program(network, tmp_path, "-O1", *WATCHED)(pixels, 4)
    assert again.tobytes() == logits.tobytes()


@needs_gcc
def test_nano_on_200_images(tmp_path):
    made = load_trained(ZOO / "nano")
    dataset = dataclasses.replace(
        synthetic(10, 3, 32, 32, train=64, test=8),
        classes=made.card.classes, mean=made.card.mean, std=made.card.std,
    )  # fmt: skip
    subject = Subject(made, dataset)
    ways = choices(subject)
    network = lowered(ways.model, ways.ranges["minmax"], subject.card, subject.name)
    pixels = images(200, 32, 32)
    _, logits = program(network, tmp_path)(pixels, 10)
    expected = said(network, pixels)
    assert logits.tobytes() == expected.tobytes()
    # and it is the network: what it says of the training images is what PyTorch says of them
    numbers = network.logits.numbers(said(network, ways.pixels))
    assert ways.loss(numbers) < 0.05
    # its largest maps are those of sprint
    assert (planned(network).bytes, planned(network, in_place=False).bytes) == (16 * KIB, 24 * KIB)


@pytest.mark.parametrize(
    ("name", "in_place", "separate"), [("sprint", 16, 24), ("strided", 24, 36), ("dilated", 288, 384)]
)
def test_the_arena_is_as_small_as_by_hand(name, in_place, separate):
    network = shipped(name)
    assert planned(network).bytes == least(network) == in_place * KIB
    assert planned(network, in_place=False).bytes == least(network, in_place=False) == separate * KIB


def test_no_map_lies_on_another_that_is_still_read():
    for seed, table in enumerate(TABLES.values()):
        network = Random(seed).network(table, (2, 16, 16))
        plan = planned(network)
        for at, step in enumerate(network.steps):
            later = {source for after in network.steps[at + 1 :] for source in after.sources}
            made = [network.entry, *(before.target for before in network.steps[:at])]
            beside = [one for one in made if one in later]
            beside += [] if isinstance(step, Addition) or getattr(step, "pointwise", False) else step.sources
            if not step.target.wide:
                start = plan.places[step.target]
                for one in beside:
                    assert plan.places[one] + one.bytes <= start or start + step.target.bytes <= plan.places[one]
                assert start + step.target.bytes <= plan.bytes


def test_factors_are_kept_to_31_bits():
    factors = np.array([1e-12, 2e-5, 0.3, 0.5, 0.999999999, 1.0, 700.0, -0.02, 0.0])
    multiplier, shift = fixed_point(factors)
    kept = multiplier / 2.0 ** shift.astype(int)
    assert np.abs(kept - factors).max() < 700 * 2**-30
    assert np.abs(kept - factors)[1:5] == pytest.approx(0, abs=2**-31)
    assert (shift.max(), shift.min()) == (MOST_SHIFT, 21)


@pytest.mark.parametrize(("low", "high"), [(0, 6), (-2, 3), (-5, 0), (1, 2), (0, 0)])
def test_zero_is_a_level(low, high):
    scale, zero = levels(low, high)
    assert scale > 0
    assert -128 <= zero <= 127
    for number in (low, high):
        assert -128.6 < number / scale + zero < 127.6


def test_what_loses_too_much_is_not_written_and_the_worst_layer_is_told(every, tmp_path, monkeypatch):
    monkeypatch.setattr(c, "MOST_LOST", -200)
    again = Subject(every.trained, every.dataset)
    again.once("choices", lambda: choices(every))
    with pytest.raises(gate.GateError, match=r"points of accuracy on 64 test images.*the worst layer is c\d\.\S+: it"):
        c.write(again, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_worst_layer_is_the_one_with_the_damage(every):
    network, ways = c.brought(every).network, choices(every)
    place, hurt = [(at, step) for at, step in enumerate(network.steps) if isinstance(step, Convolution)][5]
    damaged = dataclasses.replace(hurt, weight=np.roll(hurt.weight, 1, -1))
    steps = (*network.steps[:place], damaged, *network.steps[place + 1 :])
    assert c.worst(dataclasses.replace(network, steps=steps), ways) == hurt.name


@needs_gcc
@pytest.mark.parametrize(
    ("channels", "table"),
    [
        (3, NORM_LAST),
        (1, nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))),
    ],
    ids=["norm last", "own"],
)
def test_norms_after_the_relu_and_classes_of_ones_own(channels, table, tmp_path):
    dataset = synthetic(10, channels, 16, 16)
    subject = of_module(table, dataset) if isinstance(table, nn.Module) else Subject(trained(table, dataset), dataset)
    model = quantise.prepared(subject.model())
    seen = calibrate.watch(model, [subject.inputs(0, 32)])
    ranges = {name: calibrate.all_of_it(one) for name, one in seen.items()}
    network = lowered(model, ranges, subject.card, subject.name)
    pixels = subject.pixels(0, 32)
    expected = said(network, pixels)
    off = np.abs(network.logits.numbers(expected) - subject.logits[:32]).max()
    assert off < 0.05 * np.ptp(subject.logits)
    _, logits = program(network, tmp_path, "-O1", *WATCHED)(pixels, 10)
    assert logits.tobytes() == expected.tobytes()


@needs_gcc
def test_names_of_classes_and_networks_cannot_leave_their_string(tmp_path):
    names = ('"; int x', "*/ \\", "café ??/", "a\nb")
    network = Random().network({"blocks": [[{"width": 4}]]}, (1, 8, 8), classes=4)
    program(network, tmp_path, classes=names, name='7*/ "Ünet"\n#error')
    (path,) = tmp_path.glob("network_7_net_error.c")
    (tmp_path / "names.c").write_text(
        f'#include <stdio.h>\n#include "{path.stem}.h"\n'
        f"int main(void) {{ int i; for (i = 0; i < 4; i++) {{ fputs({path.stem}_class_names[i], stdout); putchar(0); }}"
        " return 0; }\n"
    )
    subprocess.run(["gcc", "-std=c99", tmp_path / "names.c", path, "-o", tmp_path / "names"], check=True)
    told = subprocess.run([tmp_path / "names"], capture_output=True, check=True).stdout
    assert told.decode().split("\0")[:-1] == list(names)
    assert identifier("course-tuned") == "course_tuned"


def graph_of(*nodes):
    """A prepared graph of some nodes between a map of 4x6x6 and logits; a 1x1 convolution of the weights W ends it."""
    draw = np.random.default_rng(0)
    constants = {"W": draw.normal(size=(3, 4, 1, 1)), "G": draw.normal(size=(4, 2, 3, 3)), "one": np.ones((1, 4, 1, 1))}
    constants |= dict.fromkeys(("scale", "shift", "mean", "variance"), np.ones(4))
    graph = helper.make_graph(
        [*nodes, helper.make_node("GlobalAveragePool", ["b"], ["p"]), helper.make_node("Conv", ["p", "W"], ["l"]),
         helper.make_node("Flatten", ["l"], ["logits"])],
        "tiny",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, ["batch", 4, 6, 6])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()],
    )  # fmt: skip
    return onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]))


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (helper.make_node("MaxPool", ["a"], ["b"], name="pool", kernel_shape=[2, 2]), "the operator MaxPool (pool)"),
        (helper.make_node("HardSwish", ["a"], ["b"], name="act"), "the operator HardSwish (act)"),
        (helper.make_node("Relu", ["a"], ["b"], name="relu"), "the operator Relu (relu)"),
        (
            helper.make_node("BatchNormalization", ["a", "scale", "shift", "mean", "variance"], ["b"], name="norm"),
            "the operator BatchNormalization (norm)",
        ),
        (helper.make_node("Conv", ["a", "G"], ["b"], name="two", group=2), "a convolution in 2 groups (two)"),
        (helper.make_node("Add", ["a", "one"], ["b"], name="plus"), "Add of a constant (plus)"),
        (
            helper.make_node("AveragePool", ["a"], ["b"], name="mean", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            "an average with padding or with steps that differ from axis to axis (mean)",
        ),
    ],
    ids=lambda value: value.op_type if hasattr(value, "op_type") else "",
)
def test_what_has_no_step_is_refused_by_name(node, words):
    model = graph_of(node)
    card = card_of((4, 6, 6), ("x", "y", "z"))
    ranges = dict.fromkeys(("a", "b", "p", "l", "logits"), (-1.0, 1.0))
    with pytest.raises(FlyweightError) as raised:
        lowered(model, ranges, card, "mine")
    assert str(raised.value) == f"c cannot hold mine: {words} has no integer step here; use others"
    # the rest of the graph is no reason
    fine = graph_of(helper.make_node("Conv", ["a", "G2"], ["b"]))
    fine.graph.initializer.append(numpy_helper.from_array(np.ones((4, 4, 3, 3), np.float32), "G2"))
    assert len(lowered(onnx.shape_inference.infer_shapes(fine), ranges, card, "mine").steps) == 3


def test_the_record_holds_what_is_told(written):
    (_, source), _ = written
    told = json.loads(json.dumps(source.as_json()))
    assert told["takes"] == "image, 16x16x3 uint8"
    assert told["gives"] == "class, and logits int16"
    assert told["note"].startswith("arena ")
