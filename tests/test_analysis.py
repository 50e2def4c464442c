"""Expected values are arithmetic that a reader can redo, or come from a method that shares nothing with flyweight."""

import copy
import sys
from dataclasses import replace

import faulty_networks
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from random_networks import gradient_field, random_network
from torch import nn

from flyweight import analysis
from flyweight.analysis import operators, oracle
from flyweight.analysis.layout import HEIGHT, WIDTH
from flyweight.analysis.links import Window
from flyweight.analysis.probe import _poisoned_convolution
from flyweight.analysis.receptive_field import build_graph, field_size
from flyweight.analysis.recorder import record
from flyweight.data.cifar10 import SPEC
from flyweight.errors import FlyweightError
from flyweight.networks import builtin
from flyweight.networks.build import build
from flyweight.recipes.sections import ModelConfig


class Net(nn.Module):
    """Modules by name, a function that uses them, then global average pooling and a classifier."""

    def __init__(self, function, channels=8, **modules):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.function = function
        self.fc = nn.Linear(channels, 10)

    def forward(self, x):
        return self.fc(self.function(self, x).mean((2, 3)))


def conv(inputs, outputs, kernel=3, **options):
    options.setdefault("padding", kernel // 2 if isinstance(kernel, int) else 0)
    return nn.Conv2d(inputs, outputs, kernel, **options)


def field(function, channels=8, shape=(3, 32, 32), **modules):
    return analysis.analyze(Net(function, channels, **modules), shape).receptive_field


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small convolutions beside a busy machine: two threads wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def course():
    return analysis.analyze(build(ModelConfig(network="course"), SPEC), (3, 32, 32))


# --- the brief's own network

# (kind, output, parameters) of each row of torchsummary's table for the original network
COURSE = [
    ("Conv2d", (16, 32, 32), 3 * 16 * 9),
    ("ReLU", (16, 32, 32), 0),
    ("BatchNorm2d", (16, 32, 32), 32),
    ("Dropout", (16, 32, 32), 0),
    ("Conv2d", (16, 32, 32), 2304),
    ("ReLU", (16, 32, 32), 0),
    ("BatchNorm2d", (16, 32, 32), 32),
    ("Dropout", (16, 32, 32), 0),
    ("Conv2d", (16, 30, 30), 2304),
    ("ReLU", (16, 30, 30), 0),
    ("BatchNorm2d", (16, 30, 30), 32),
    ("Dropout", (16, 30, 30), 0),
    ("Conv2d", (32, 30, 30), 4608),
    ("ReLU", (32, 30, 30), 0),
    ("BatchNorm2d", (32, 30, 30), 64),
    ("Dropout", (32, 30, 30), 0),
    ("Conv2d", (32, 30, 30), 9216),
    ("ReLU", (32, 30, 30), 0),
    ("BatchNorm2d", (32, 30, 30), 64),
    ("Dropout", (32, 30, 30), 0),
    ("Conv2d", (32, 15, 15), 9216),
    ("ReLU", (32, 15, 15), 0),
    ("BatchNorm2d", (32, 15, 15), 64),
    ("Dropout", (32, 15, 15), 0),
    ("Conv2d", (32, 15, 15), 288),
    ("Conv2d", (48, 15, 15), 1536),
    ("ReLU", (48, 15, 15), 0),
    ("BatchNorm2d", (48, 15, 15), 96),
    ("Dropout", (48, 15, 15), 0),
    ("Conv2d", (48, 15, 15), 20736),
    ("ReLU", (48, 15, 15), 0),
    ("BatchNorm2d", (48, 15, 15), 96),
    ("Dropout", (48, 15, 15), 0),
    ("Conv2d", (48, 8, 8), 20736),
    ("ReLU", (48, 8, 8), 0),
    ("BatchNorm2d", (48, 8, 8), 96),
    ("Dropout", (48, 8, 8), 0),
    ("Conv2d", (64, 8, 8), 27648),
    ("ReLU", (64, 8, 8), 0),
    ("BatchNorm2d", (64, 8, 8), 128),
    ("Dropout", (64, 8, 8), 0),
    ("Conv2d", (64, 8, 8), 36864),
    ("ReLU", (64, 8, 8), 0),
    ("BatchNorm2d", (64, 8, 8), 128),
    ("Dropout", (64, 8, 8), 0),
    ("Conv2d", (64, 8, 8), 36864),
    ("ReLU", (64, 8, 8), 0),
    ("BatchNorm2d", (64, 8, 8), 128),
    ("Dropout", (64, 8, 8), 0),
    ("AvgPool2d", (64, 1, 1), 0),
    ("Conv2d", (10, 1, 1), 640),
]


def test_course_table_is_that_of_torchsummary(course):
    assert [(layer.kind, layer.output_shape, layer.parameters) for layer in course.layers] == COURSE


def test_course_totals(course):
    assert course.parameters == course.trainable_parameters == sum(row[2] for row in COURSE) == 174_352
    assert course.macs == 32_282_272 == sum(layer.macs for layer in course.layers)
    assert course.receptive_field.value == 51
    assert course.receptive_field.status == "proved"
    assert course.receptive_field.before == "pool"
    assert not course.unknown
    assert not course.dead_taps
    assert not course.unreached


def test_course_receptive_field_of_each_convolution(course):
    fields = [layer.receptive_field for layer in course.layers if layer.kind == "Conv2d"]
    # + 2 * (product of the strides before) * dilation for each 3x3, + 0 for the pointwise, none after the pooling
    expected = [3, 5, 9, 11, 13, 15, 19, 19, 23, 27, 35, 43, 51]
    assert fields == [*[(size, size) for size in expected], None]


def test_course_layers_are_counted_as_people_count_them(course):
    assert len(course.convolutions) == 14
    assert len(course.convolution_layers) == 13
    separable = [layer for layer in course.convolution_layers if layer.separable]
    assert [layer.name for layer in separable] == ["c3.conv1.0.depthwise"]
    assert [layer.name for layer in course.convolution_layers if layer.strided] == ["c2.conv3.0", "c3.conv3.0"]
    assert [layer.name for layer in course.convolution_layers if layer.dilated] == ["c1.conv3.0"]
    assert [(pooling.name, pooling.kind, pooling.whole) for pooling in course.poolings] == [("pool", "average", True)]


# --- formula, probe and gradient against each other


def check_random(seeds):
    for seed in seeds:
        network, shape = random_network(seed)
        found = analysis.analyze(network, shape).receptive_field
        assert (found.status, "enlarged" in found.detail) == ("proved", True), (seed, found)
        largest = max(found.height, found.width)
        third = gradient_field(network.features, shape, largest)
        assert third == (found.height, found.width), (seed, third, found)


def test_random_networks():
    check_random(range(60))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_thousand_random_networks():
    check_random(range(1000))


def test_poisoned_convolution_marks_what_the_real_one_marks():
    generator = torch.Generator().manual_seed(0)
    for groups, transposed in ((1, False), (2, False), (4, False), (1, True), (2, True)):
        x = torch.rand(1, 4, 12, 11, generator=generator, dtype=torch.float64)
        x[0, 1, 3, 4] = torch.nan
        shape = (4, 6 // groups, 3, 2) if transposed else (8, 4 // groups, 3, 2)
        weight = torch.rand(shape, generator=generator, dtype=torch.float64)
        geometry = ([2, 1], [1, 0], [1, 2], transposed, [0, 0], groups)
        real = torch.ops.aten.convolution(x, weight, None, *geometry)
        assert torch.equal(_poisoned_convolution(x, weight, None, *geometry).isnan(), real.isnan())


def test_a_wrong_formula_is_contradicted(monkeypatch):
    class Blind(Window):
        """Takes every dilation for 1."""

        def reads(self, outputs):
            return Window(self.kernel, self.stride, self.padding, 1, self.unit).reads(outputs)

    monkeypatch.setattr(operators, "Window", Blind)
    network = faulty_networks.Sound()
    found = analysis.analyze(network, (3, 32, 32)).receptive_field
    assert found.value == 67  # 75 without the 8 that the dilation adds
    assert found.status == "contradicted"


def test_a_wrong_claim_at_the_real_size_is_contradicted():
    network = Net(lambda net, x: net.a(x).reshape(1, 8, 16, 16), a=conv(3, 8))  # takes no other size
    graph = build_graph(record(network, (3, 16, 16)))
    [target] = graph.trace.nodes[0].outputs
    assert field_size(graph, target)[0] == {HEIGHT: 3, WIDTH: 3}
    assert oracle.prove(network, graph, target, {HEIGHT: 3, WIDTH: 3}).status == "proved"
    [(value, links)] = graph.effects[0].links.items()
    graph.effects[0].links[value] = links | {WIDTH: Window(5, padding=2)}
    proof = oracle.prove(network, graph, target, {HEIGHT: 3, WIDTH: 5})
    assert proof.status == "contradicted"
    assert proof.detail == "width: position 0 does not read line 2 of the picture"


# --- branches, sizes, forms


def basic_block(inputs, outputs, stride):
    body = nn.Sequential(
        conv(inputs, outputs, stride=stride, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        conv(outputs, outputs, bias=False),
        nn.BatchNorm2d(outputs),
    )
    short = nn.Sequential() if stride == 1 else nn.Conv2d(inputs, outputs, 1, stride, bias=False)
    return body, short


class ResNet20(nn.Module):
    """He et al. 2016, section 4.2: three stages of three blocks of two convolutions, 16, 32 and 64 channels."""

    def __init__(self):
        super().__init__()
        self.stem = conv(3, 16, bias=False)
        pairs = [
            basic_block(inputs, outputs, stride)
            for stage, outputs in enumerate((16, 32, 64))
            for inputs, stride in ((max(16, outputs // 2), 2 if stage else 1), (outputs, 1), (outputs, 1))
        ]
        self.bodies = nn.ModuleList([body for body, _ in pairs])
        self.shorts = nn.ModuleList([short for _, short in pairs])
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.stem(x))
        for body, short in zip(self.bodies, self.shorts, strict=True):
            x = F.relu(body(x) + short(x), inplace=True)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


def test_resnet_20():
    facts = analysis.analyze(ResNet20(), (3, 32, 32))
    # the stem, six convolutions at step 1, one at step 1 and five at 2, one at step 2 and five at 4
    assert facts.receptive_field.value == 3 + 6 * 2 + (2 + 5 * 4) + (4 + 5 * 8)
    assert facts.receptive_field.status == "proved"
    # stem, three stages, two shortcuts, classifier; then the two numbers of each norm's channels
    weights = 432 + 6 * 2304 + 4608 + 5 * 9216 + 18432 + 5 * 36864 + 512 + 2048 + 650
    norms = 2 * 6 * (16 + 32 + 64)
    assert facts.parameters == weights + norms
    assert [layer.name for layer in facts.layers[:3]] == ["stem", "relu", "bodies.0.0"]
    assert not facts.unknown


def test_branches_of_different_strides_meet_again():
    def forward(net, x):
        return net.down(net.first(x)) + net.step(F.avg_pool2d(net.first(x), 3, 2, 1))

    found = field(forward, first=conv(3, 8), down=conv(8, 8, 5, stride=2), step=conv(8, 8, 3))
    # 3 + 4 on the left; 3 + 2 + 2 * 2 on the right
    assert (found.value, found.status) == (9, "proved")


def test_enlarging_branch_is_not_the_same_everywhere():
    def forward(net, x):
        return x.repeat(1, 2, 1, 1) + F.interpolate(net.down(x), scale_factor=2)

    found = field(forward, channels=6, down=conv(3, 6, 3, stride=2))
    # position 2i + 1 reads itself and 2i - 1 .. 2i + 1; position 2i reads 2i - 1 .. 2i + 1 too
    assert (found.value, found.status) == (3, "proved")


def test_two_axes():
    found = field(
        lambda net, x: net.b(net.a(x)), a=conv(3, 8, (3, 5), stride=(2, 1)), b=conv(8, 8, (2, 3), dilation=(1, 2))
    )
    # height 3 + 1 * 2, width 5 + 2 * 2
    assert found.value == (5, 9)
    assert found.status == "proved"


@pytest.mark.parametrize("shape", [(3, 20, 44), (1, 33, 17), (5, 32, 32)])
def test_input_of_other_shape_and_channels(shape):
    facts = analysis.analyze(Net(lambda net, x: net.b(net.a(x)), a=conv(shape[0], 8), b=conv(8, 8, stride=2)), shape)
    assert facts.receptive_field.value == 5
    assert facts.layers[1].output_shape == (8, (shape[1] + 1) // 2, (shape[2] + 1) // 2)


def test_depthwise_dilation_moved_into_the_batch():
    def forward(net, x):
        batch, channels, height, width = x.shape
        x = x.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 3, 5, 1, 2, 4)
        x = net.spread(x.reshape(batch * 4, channels, height // 2, width // 2))
        x = x.view(batch, 2, 2, channels, height // 2, width // 2).permute(0, 3, 4, 1, 5, 2)
        return net.point(x.reshape(batch, channels, height, width))

    network = Net(forward, spread=conv(3, 3, groups=3), point=nn.Conv2d(3, 8, 1))
    facts = analysis.analyze(network, (3, 32, 32))
    assert (facts.receptive_field.value, facts.receptive_field.status) == (5, "proved")
    assert facts.convolutions[0].dilation == (2, 2)
    assert facts.convolutions[0].dilated


@pytest.mark.parametrize("name", builtin.NETWORKS)
def test_channels_last_changes_no_fact(name):
    def without_places(facts):
        """A copy into another memory format is an operator more: places in the trace move."""
        layers = facts.convolution_layers
        return replace(
            facts,
            convolutions=tuple(replace(part, node=0) for part in facts.convolutions),
            convolution_layers=tuple(replace(e, parts=tuple(replace(p, node=0) for p in e.parts)) for e in layers),
            poolings=tuple(replace(pooling, node=0) for pooling in facts.poolings),
            head=replace(facts.head, targets=()),
        )

    network = build(ModelConfig(network=name), SPEC)
    plain = analysis.analyze(network, (3, 32, 32))
    last = analysis.analyze(network.to(memory_format=torch.channels_last), (3, 32, 32))
    assert last.receptive_field.status == "proved"
    assert without_places(last) == without_places(plain)


def test_normalisation_of_channels_between_two_permutes():
    # the second permute leaves a map in channels-last behind, as the pooling finds it in a ConvNeXt
    class Normed(faulty_networks.Sound):
        def forward(self, x):
            y = self.features(x).permute(0, 2, 3, 1)
            return self.fc(self.pool(F.layer_norm(y, (64,)).permute(0, 3, 1, 2)).flatten(1))

    facts = analysis.analyze(Normed(), (3, 32, 32))
    assert (facts.receptive_field.value, facts.receptive_field.status) == (75, "proved")
    assert facts.head.pooling == ("pool",)
    assert not facts.unknown
    assert facts.macs == analysis.analyze(faulty_networks.Sound(), (3, 32, 32)).macs


def test_strides_of_ones_own_are_not_understood():
    # a map of one pixel that lies in a larger one: other strides read its neighbours
    facts = analysis.analyze(
        Net(lambda net, x: net.a(x)[:, :, :1, :1].as_strided((1, 8, 1, 1), (8, 1, 8, 8)), a=conv(3, 8)), (3, 16, 16)
    )
    assert [unknown.operator for unknown in facts.unknown] == ["as_strided"]


def test_channels_last_and_linear_layers_as_in_convnext():
    def forward(net, x):
        y = net.spread(x).permute(0, 2, 3, 1)
        return x + net.down(F.gelu(net.up(net.norm(y)))).permute(0, 3, 1, 2)

    modules = {
        "spread": conv(8, 8, 7, groups=8),
        "norm": nn.LayerNorm(8),
        "up": nn.Linear(8, 32),
        "down": nn.Linear(32, 8),
    }
    network = Net(lambda net, x: forward(net, net.stem(x)), stem=nn.Conv2d(3, 8, 4, 4), **modules)
    facts = analysis.analyze(network, (3, 32, 32))
    assert (facts.receptive_field.value, facts.receptive_field.status) == (4 + 6 * 4, "proved")
    assert facts.receptive_field.gathered == ()
    assert facts.macs == 8 * 8 * (48 * 8 + 49 * 8 + 2 * 8 * 32) + 80


@pytest.mark.parametrize(
    ("function", "modules", "expected"),
    [
        (lambda net, x: net.b(F.pixel_unshuffle(x, 2)), {"b": conv(12, 8, 3)}, 6),
        (lambda net, x: net.b(F.pixel_shuffle(net.a(x), 2)), {"a": conv(3, 8, 3), "b": conv(2, 8, 3)}, 4),
        (
            lambda net, x: net.b(torch.cat([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)], 1)),
            {"b": conv(12, 8, 3)},
            6,
        ),
        (lambda net, x: net.b(net.a(x)), {"a": nn.ConvTranspose2d(3, 8, 4, 2, 1), "b": conv(8, 8, 3)}, 3),
        (
            lambda net, x: net.a(x)[:, :, 1:-1, 1:-1] + net.b(x)[:, :, 1:-1, 1:-1],
            {"a": conv(3, 8), "b": conv(3, 8, 7)},
            7,
        ),
        (lambda net, x: net.a(F.pad(x, (2, 2, 2, 2))), {"a": conv(3, 8, 5, padding=0)}, 5),
        (lambda net, x: net.a(x), {"a": conv(3, 8, 5, padding_mode="reflect")}, 5),
        (lambda net, x: net.a(torch.where(x > 0, x, torch.zeros_like(x))), {"a": conv(3, 8)}, 3),
        (lambda net, x: net.a(F.hardsigmoid(F.hardswish(x.clamp(0, 6)))), {"a": conv(3, 8)}, 3),
        (lambda net, x: net.a(F.max_pool2d(x, 2)), {"a": conv(3, 8)}, 6),
        (lambda net, x: net.c(torch.cat(net.a(x).chunk(2, 1)[::-1], 1)), {"a": conv(3, 8), "c": conv(8, 8)}, 5),
    ],
)
def test_forms(function, modules, expected):
    found = field(function, **modules)
    assert (found.value, found.status) == (expected, "proved")


def test_fixed_size_inside_is_compared_at_the_real_size():
    def forward(net, x):
        return net.a(x).reshape(1, 8, 32, 32)  # takes no other size

    found = field(forward, a=conv(3, 8))
    assert (found.value, found.status) == (3, "proved")
    assert "32x32" in found.detail


def test_adaptive_pooling_inside():
    # six bins of 32 / 6: the longest is floor(5.33 i) to ceil(5.33 (i + 1)) - 1, 6 or 7 pixels
    longest = max(-(-(i + 1) * 32 // 6) - i * 32 // 6 for i in range(6))
    found = field(lambda net, x: net.a(F.adaptive_avg_pool2d(x, 6)), a=nn.Conv2d(3, 8, 1))
    assert (found.value, found.status) == (longest, "proved")


def test_squeeze_and_excite_is_told_apart():
    def forward(net, x):
        y = net.a(x)
        return net.b(y * torch.sigmoid(net.gate(y.mean((2, 3), keepdim=True))))

    facts = analysis.analyze(Net(forward, a=conv(3, 8), gate=nn.Conv2d(8, 8, 1), b=conv(8, 8)), (3, 32, 32))
    assert (facts.receptive_field.value, facts.receptive_field.status) == (5, "proved")
    assert facts.receptive_field.gathered == ("mean",)
    assert next(layer for layer in facts.layers if layer.name == "b").field_note == "and whole map"
    assert facts.head.pooling == ("mean_2",)


@pytest.mark.parametrize(
    "norm", [nn.GroupNorm(2, 8), nn.InstanceNorm2d(8), nn.BatchNorm2d(8, track_running_stats=False)]
)
def test_statistics_over_space_are_told_apart(norm):
    found = field(lambda net, x: net.b(net.norm(net.a(x))), a=conv(3, 8), norm=norm, b=conv(8, 8))
    assert (found.value, found.status, found.gathered) == (5, "proved", ("norm",))


def test_signal_of_one_dimension():
    class Signal(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv1d(2, 4, 5, padding=2), nn.Conv1d(4, 4, 3, dilation=3)

        def forward(self, x):
            return self.b(self.a(x)).mean(2)

    found = analysis.analyze(Signal(), (2, 40)).receptive_field
    assert (found.height, found.width, found.status) == (1, 5 + 2 * 3, "proved")


# --- what is not known


@pytest.mark.parametrize(
    ("function", "layer"),
    [
        (lambda net, x: net.a(torch.fft.fft2(x).real), "fft_c2c"),
        (lambda net, x: net.a(x.roll(3, 2)), "roll"),
        (lambda net, x: net.a(torch.from_numpy(x.numpy() * 2)), "the network"),
        (lambda net, x: net.a(x) if x.max().item() > 0 else net.a(-x), "the network"),
        (lambda net, x: net.a(F.interpolate(x, scale_factor=2, mode="bilinear")), "upsample_bilinear2d"),
    ],
)
def test_what_is_not_understood_is_unknown(function, layer):
    facts = analysis.analyze(Net(function, a=conv(3, 8)), (3, 32, 32))
    assert facts.receptive_field.value is None
    assert facts.receptive_field.status == "unknown"
    assert layer in facts.receptive_field.detail
    assert facts.unknown[0].layer == layer


def test_work_that_may_be_hidden_is_not_zero():
    facts = analysis.analyze(Net(lambda net, x: net.a(torch.fft.fft2(x).real), a=conv(3, 8)), (3, 32, 32))
    assert facts.macs is None
    assert next(layer for layer in facts.layers if layer.name == "fft_c2c").macs is None


def test_overwriting_a_part_of_a_map_is_unknown():
    def forward(net, x):
        shifted = torch.zeros_like(x)
        shifted[:, :, 1:] = x[:, :, :-1]
        return net.a(shifted)

    found = field(forward, a=conv(3, 8))
    assert (found.value, found.status) == (None, "unknown")


def test_constants_of_a_file_are_no_hole():
    scale = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)
    assert field(lambda net, x: net.a(x * scale), a=conv(3, 8)).status == "proved"


# --- kinds of layers


@pytest.mark.parametrize(
    ("function", "separable"),
    [
        (lambda net, x: net.point(F.relu(net.norm(net.depth(x)))), True),
        (lambda net, x: net.point(F.silu(net.depth(x))), True),
        (lambda net, x: net.point(net.depth(x) * torch.sigmoid(net.depth(x).mean((2, 3), keepdim=True))), False),
        (lambda net, x: net.point(net.depth(x) + x), False),
        (lambda net, x: net.point(F.max_pool2d(net.depth(x), 2)), False),
        (lambda net, x: net.wide(net.depth(x)), False),
    ],
)
def test_depthwise_separable(function, separable):
    modules = {"depth": conv(3, 3, groups=3), "norm": nn.BatchNorm2d(3), "point": conv(3, 8, 1), "wide": conv(3, 8, 3)}
    facts = analysis.analyze(Net(function, **modules), (3, 16, 16))
    assert any(layer.separable for layer in facts.convolution_layers) is separable


def test_grouped_convolution_is_not_depthwise():
    facts = analysis.analyze(Net(lambda net, x: net.a(x), channels=4, a=conv(4, 4, groups=2)), (4, 16, 16))
    assert not facts.convolutions[0].depthwise
    assert facts.layers[0].details == "3x3 in 2 groups"
    assert facts.layers[0].parameters == 3 * 3 * 2 * 4 + 4


def test_a_kernel_of_one_pixel_is_not_the_depthwise_half():
    modules = {"scale": nn.Conv2d(3, 3, 1, groups=3), "point": nn.Conv2d(3, 8, 1)}
    facts = analysis.analyze(Net(lambda net, x: net.point(net.scale(x)), **modules), (3, 16, 16))
    assert [layer.separable for layer in facts.convolution_layers] == [False, False]


def test_dilation_of_a_single_tap_is_no_dilation():
    facts = analysis.analyze(Net(lambda net, x: net.a(x), a=nn.Conv2d(3, 8, 1, dilation=4)), (3, 16, 16))
    assert not facts.convolutions[0].dilated


def test_pooling_kinds():
    def forward(net, x):
        return net.a(F.avg_pool2d(F.max_pool2d(x, 2), 2)[:, :, ::2])

    facts = analysis.analyze(Net(forward, a=conv(3, 8)), (3, 32, 32))
    found = [(pooling.kind, pooling.whole) for pooling in facts.poolings]
    assert found == [("max", False), ("average", False), ("subsampling", False), ("average", True)]


def split(x):
    return x.reshape(1, 3, x.shape[2] // 2, 2, x.shape[3] // 2, 2)


@pytest.mark.parametrize(
    "function",
    [
        lambda net, x: torch.maximum(x[..., 1:], x[..., :-1]),
        lambda net, x: torch.max(x[..., 1:], x[..., :-1]),
        lambda net, x: torch.minimum(-x[:, :, ::2], -x[:, :, 1::2]),
        lambda net, x: x[:, :, 1:].clamp(min=x[:, :, :-1]),
        lambda net, x: torch.maximum(x, F.pad(x[..., 1:], (0, 1))),
        lambda net, x: torch.maximum(x, x.flip(3)),
        lambda net, x: torch.maximum(net.point(x)[..., 1:], net.point(x)[..., :-1]),
        lambda net, x: torch.stack([x[..., 1:], x[..., :-1]]).amax(0),
        lambda net, x: torch.cat([x[..., 1:], x[..., :-1]], 1).view(1, 2, 3, 32, 31).max(1).values,
        lambda net, x: x * torch.sigmoid(-(-x).amin((2, 3), keepdim=True)),
        lambda net, x: F.max_pool1d(x.flatten(2), 2).view(1, 3, 32, 16),
    ],
)
def test_a_maximum_over_space_is_found_however_it_is_written(function):
    network = Net(lambda net, x: net.a(function(net, x)), a=conv(3, 8), point=conv(3, 3, 1))
    facts = analysis.analyze(network, (3, 32, 32))
    assert ("max", True) in [(pooling.kind, pooling.known) for pooling in facts.poolings]


@pytest.mark.parametrize(
    "function",
    [
        lambda net, x: split(x).amax((3, 5)),
        lambda net, x: F.pixel_unshuffle(x, 2).view(1, 3, 4, 16, 16).amax(2),
        lambda net, x: torch.maximum(*x.chunk(2, 3)),
        lambda net, x: torch.maximum(x, x.roll(1, 3)),
        lambda net, x: x * x.roll(1, 3).amax((2, 3), keepdim=True),
        lambda net, x: x.roll(1, 3).unbind(3)[0].amax(2)[:, :, None, None] * x,
    ],
)
def test_a_maximum_over_what_is_not_known_is_not_sure(function):
    facts = analysis.analyze(Net(lambda net, x: net.a(function(net, x)), a=conv(3, 8)), (3, 32, 32))
    assert ("max", False) in [(pooling.kind, pooling.known) for pooling in facts.poolings]


@pytest.mark.parametrize(
    "function",
    [
        lambda net, x: torch.maximum(*net.a(x).chunk(2, 1)),  # maxout
        lambda net, x: net.a(x).view(1, 4, 2, 32, 32).amax(2),
        lambda net, x: torch.maximum(net.b(x), net.c(x)),
        lambda net, x: torch.maximum(net.d(x), net.d(x) + net.e(net.d(x))),
        lambda net, x: torch.maximum(net.d(x), 0.1 * net.d(x)),
        lambda net, x: torch.maximum(net.d(x)[..., 1:], 0.1 * net.d(x)[..., 1:]),
        lambda net, x: net.d(x).clamp(0, 6),
        lambda net, x: torch.cat([net.d(x), net.e(net.d(x))], 1).amax(1, keepdim=True).repeat(1, 4, 1, 1),
    ],
)
def test_a_maximum_over_features_is_no_pooling(function):
    modules = {"a": conv(3, 8), "b": conv(3, 4), "c": conv(3, 4, 5), "d": conv(3, 4), "e": conv(4, 4)}
    facts = analysis.analyze(Net(function, channels=4, **modules), (3, 32, 32))
    assert [(pooling.kind, pooling.whole) for pooling in facts.poolings] == [("average", True)]


# --- dead weight


def test_dilation_larger_than_the_map_is_dead():
    facts = analysis.analyze(Net(lambda net, x: net.a(x), a=conv(3, 8, padding=8, dilation=8)), (3, 8, 8))
    # only the centre of nine taps ever sees the 8x8 map
    [dead] = facts.dead_taps
    assert (dead.layer, dead.taps, dead.of, dead.parameters) == ("a", 8, 9, 8 * 3 * 8)
    assert (facts.receptive_field.value, facts.receptive_field.live) == (17, (1, 1))
    assert not facts.convolutions[0].dilated


def test_one_dead_axis_and_padding_before_the_convolution():
    def forward(net, x):
        return net.a(F.pad(x, (1, 1, 6, 6)))

    facts = analysis.analyze(Net(forward, a=nn.Conv2d(3, 8, 3, dilation=(6, 1))), (3, 6, 6))
    [dead] = facts.dead_taps
    assert (dead.taps, dead.parameters) == (6, 6 * 3 * 8)
    assert facts.receptive_field.value == (13, 3)
    assert facts.receptive_field.live == (1, 3)


def test_a_single_tap_is_followed_where_it_stands():
    # the first of two taps sees the map, the second only padding; the sum also reads the pixel itself, 5 to the right
    def forward(net, x):
        return net.a(F.pad(x, (0, 9)))[..., :4] + net.b(x)[..., 5:9]

    network = Net(forward, a=nn.Conv2d(3, 8, (1, 2), dilation=9), b=nn.Conv2d(3, 8, 1))
    found = analysis.analyze(network, (3, 9, 9)).receptive_field
    assert (found.value, found.live) == ((1, 10), (1, 6))


def test_seven_of_eight_is_alive():
    assert not analysis.analyze(Net(lambda net, x: net.a(x), a=conv(3, 8, padding=7, dilation=7)), (3, 8, 8)).dead_taps


def test_unreached_layers():
    def forward(net, x):
        net.lost(x)
        return net.a(x)

    facts = analysis.analyze(Net(forward, a=conv(3, 8), lost=conv(3, 4, bias=False), never=conv(3, 2)), (3, 16, 16))
    assert [(u.layer, u.parameters) for u in facts.unreached] == [("lost", 108), ("never", 56)]
    assert "never ran" in facts.unreached[1].reason
    assert "does not reach" in facts.unreached[0].reason


# --- parameters, sharing, state


def test_reused_module_is_counted_once_and_runs_twice():
    facts = analysis.analyze(Net(lambda net, x: net.b(net.b(net.a(x))), a=conv(3, 8), b=conv(8, 8)), (3, 16, 16))
    rows = [layer for layer in facts.layers if layer.name == "b"]
    assert [row.parameters for row in rows] == [584, 0]
    assert [row.macs for row in rows] == [147_456, 147_456]
    assert facts.parameters == sum(layer.parameters for layer in facts.layers) == 224 + 584 + 90
    assert facts.receptive_field.value == 7


def test_parameters_of_functional_layers():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 3, 3, 3))
            self.scale = nn.Parameter(torch.ones(1, 8, 1, 1))

        def forward(self, x):
            centred = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            return (F.relu(F.conv2d(x, centred)) * self.scale).mean((2, 3))

    facts = analysis.analyze(Functional(), (3, 16, 16))
    assert [(layer.name, layer.parameters) for layer in facts.layers] == [
        ("conv", 216),
        ("relu", 0),
        ("mul", 8),
        ("mean", 0),
    ]
    assert facts.macs == 14 * 14 * 216


def test_frozen_parameters_count_too():
    network = faulty_networks.Sound()
    network.c1.requires_grad_(False)
    facts = analysis.analyze(network, (3, 32, 32))
    assert facts.parameters - facts.trainable_parameters == 216 + 576 + 1152 + 2 * (8 + 8 + 16)


class PlainlyHeld(nn.Module):
    """Layers in a list, a dictionary and a tuple, and tensors, none of which a network takes for its own."""

    def __init__(self):
        super().__init__()
        self.stem = conv(3, 8)
        self.inner = nn.Identity()
        self.inner.layers = {"wide": nn.Sequential(conv(8, 8), nn.BatchNorm2d(8))}  # 584 and 16
        self.frozen = (conv(8, 8, bias=False).requires_grad_(False),)  # 576
        self.scale = torch.ones(8, 1, 1, requires_grad=True)
        self.made = torch.ones(8, 8, requires_grad=True) * 2
        self.constant = torch.ones(8, 1, 1)
        self.unused = [conv(8, 8)]

    def forward(self, x):
        x = self.inner.layers["wide"](self.stem(x))
        return F.linear((self.frozen[0](x) * self.scale * self.constant).mean((2, 3)), self.made) * UNHELD


UNHELD = nn.Parameter(torch.ones(8))


def test_weights_that_are_not_registered_are_told_apart():
    network = PlainlyHeld()
    facts = analysis.analyze(network, (3, 16, 16))
    assert facts.parameters == 224
    assert [(held.layer, held.parameters) for held in facts.unregistered] == [
        ("inner.layers", 600),
        ("frozen", 576),
        ("scale", 8),
        ("made", 64),
        ("mul_3", 8),
    ]
    assert not facts.unknown
    norm = network.inner.layers["wide"][1]
    assert norm.training
    assert not norm.running_mean.any()


def test_weights_that_are_made_from_registered_ones_are_registered():
    def parametrized(net, x):
        return net.b(net.a(x) * net.scale)

    normed = nn.utils.parametrizations.weight_norm(conv(8, 8))
    network = Net(parametrized, a=conv(3, 8), b=normed)
    network.scale = nn.Parameter(torch.ones(8, 1, 1))
    network.list = [network.a]
    assert analysis.analyze(network, (3, 16, 16)).unregistered == ()


def state_of(network):
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in network.modules()]
    modes = [m.training for m in network.modules()]
    return (hooks, modes, torch.get_num_threads()), copy.deepcopy(network.state_dict()), torch.get_rng_state()


def same_state(a, b):
    return a[0] == b[0] and all(torch.equal(a[1][k], b[1][k]) for k in a[1]) and torch.equal(a[2], b[2])


class Counting(nn.Module):
    """Changes a buffer and draws random numbers even in evaluation mode."""

    def __init__(self, fails=False):
        super().__init__()
        self.conv = conv(3, 8)
        self.fails = fails
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        x = F.dropout(self.conv(x), 0.5, training=True)
        if self.fails:
            raise ValueError("no\nsecond line")
        return x.mean((2, 3))


@pytest.mark.parametrize("fails", [False, True])
def test_everything_borrowed_is_given_back(fails):
    network = nn.Sequential(Counting(fails), nn.BatchNorm1d(8))
    network.train()
    network[1].eval()
    before = state_of(network)
    if fails:
        with pytest.raises(FlyweightError, match=r"1x3x16x16 raised ValueError: no$"):
            analysis.analyze(network, (3, 16, 16))
    else:
        analysis.analyze(network, (3, 16, 16))
    assert same_state(before, state_of(network))
    assert all(parameter.grad is None for parameter in network.parameters())


def test_two_runs_agree():
    network = random_network(7)[0]
    shape = random_network(7)[1]
    assert analysis.analyze(network, shape) == analysis.analyze(network, shape)


def test_inplace_activations_change_nothing():
    def built(inplace):
        torch.manual_seed(0)
        return Net(
            lambda net, x: net.b(net.r(net.a(x)) + net.a(x)), a=conv(3, 8), r=nn.ReLU(inplace=inplace), b=conv(8, 8)
        )

    with_it, without = (analysis.analyze(built(inplace), (3, 16, 16)) for inplace in (True, False))
    assert with_it.layers == without.layers
    assert with_it.receptive_field == without.receptive_field


# --- the way to the output


def test_mean_in_two_steps_is_global_average_pooling():
    class TwoSteps(Net):
        def forward(self, x):
            return self.fc(self.a(x).mean(3).mean(2))

    head = analysis.analyze(TwoSteps(None, a=conv(3, 8)), (3, 16, 16)).head
    assert not head.faults
    assert len(head.pooling) == 2


def test_second_way_around_the_pooling_is_a_fault():
    class TwoWays(Net):
        def forward(self, x):
            y = self.a(x)
            return self.fc(y.mean((2, 3))) + self.side(y.flatten(1))

    facts = analysis.analyze(TwoWays(None, a=conv(3, 8), side=nn.Linear(8 * 256, 10)), (3, 16, 16))
    assert [fault.layer for fault in facts.head.faults] == ["side"]
    assert facts.head.pooling == ("mean",)


@pytest.mark.parametrize(
    ("function", "fault"),
    [
        (lambda net, x: F.relu(net.a(x)[:, :, ::2]), "slice leaves 8x16 of a map of 8x16x16 to be averaged"),
        (lambda net, x: net.point(F.pad(net.a(x), (-1, 0))), "pad leaves 16x15 of a map of 8x16x16 to be averaged"),
        (lambda net, x: net.a(x).permute(0, 2, 3, 1)[:, 2:].permute(0, 3, 1, 2), "slice leaves 14x16 of a map"),
        (lambda net, x: F.avg_pool2d(net.a(x), 15), "avg_pool2d leaves one place of a map of 8x16x16: mean has"),
        # a branch without padding, and the middle of the map that it was made of
        (lambda net, x: net.b(net.a(x)) + net.a(x)[:, :, 1:-1, 1:-1], "slice leaves 14x14 of a map of 8x16x16"),
        (lambda net, x: (lambda y: net.b(y) + y[:, :, 1:-1, 1:-1])(net.a(x)), None),
        (lambda net, x: net.b(net.a(x)[:, :, 2:, 2:]), None),
        (lambda net, x: F.avg_pool2d(net.a(x), 3), None),
        (lambda net, x: net.a(x)[:, ::2].repeat(1, 2, 1, 1), None),
    ],
)
def test_an_average_of_a_part_of_the_map_is_a_fault(function, fault):
    modules = {"a": conv(3, 8), "b": conv(8, 8, padding=0), "point": nn.Conv2d(8, 8, 1)}
    head = analysis.analyze(Net(function, **modules), (3, 16, 16)).head
    faults = [f"{found.layer} {found.detail}" for found in head.faults]
    assert (not faults) if fault is None else (len(faults) == 1 and faults[0].startswith(fault))


@pytest.mark.parametrize(("last", "fault"), [(slice(None), None), (slice(3, 5), "leaves 2 of a map of 8x16")])
def test_an_average_in_two_steps_is_one_of_the_whole_map(last, fault):
    class TwoSteps(Net):
        def forward(self, x):
            return self.fc(self.a(x).mean(3)[:, :, last].mean(2))

    head = analysis.analyze(TwoSteps(None, a=conv(3, 8)), (3, 16, 16)).head
    assert [found.detail[: len(fault or "")] for found in head.faults] == ([fault] if fault else [])


def test_a_map_of_one_row_is_a_map():
    class OneRow(Net):
        def forward(self, x):
            return self.fc(self.a(x).mean(3).mean(2))

    assert not analysis.analyze(OneRow(None, a=conv(3, 8, (16, 3))), (3, 16, 16)).head.faults


def test_a_picture_of_one_place_is_averaged_as_far_as_it_can_be():
    assert not analysis.analyze(Net(lambda net, x: net.a(x), a=conv(3, 8)), (3, 1, 1)).head.faults


def test_map_as_output_is_a_fault():
    facts = analysis.analyze(nn.Sequential(conv(3, 8)), (3, 16, 16))
    assert facts.head.faults[0].layer == "the output"
    assert facts.receptive_field.value == 3


# --- wrong calls


def test_wrong_size_is_one_line():
    with pytest.raises(FlyweightError, match="FlattenedHead on an input of 1x3x16x16 raised RuntimeError") as caught:
        analysis.analyze(faulty_networks.FlattenedHead(), (3, 16, 16))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(), (0, 4, 4), (3, -1, 4)])
def test_shape_that_is_none(shape):
    with pytest.raises(FlyweightError, match="sizes must be 1 or more"):
        analysis.analyze(faulty_networks.Sound(), shape)


@pytest.mark.parametrize("shape", [(3, 9_999_999, 9_999_999), (3, 999_999_999_999, 999_999_999_999), (10**30, 32, 32)])
def test_input_too_large_for_memory_is_one_line(shape):
    with pytest.raises(FlyweightError, match="does not fit into memory$") as caught:
        analysis.analyze(faulty_networks.Sound(), shape)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("code", [0, 1, None, "bye"])
def test_exit_in_the_forward_pass_is_one_line(code):
    class Leaving(nn.Module):
        def forward(self, x):
            sys.exit(code)

    with pytest.raises(FlyweightError, match="Leaving on an input of 1x3x8x8 raised SystemExit"):
        analysis.analyze(Leaving(), (3, 8, 8))


def test_exit_at_another_size_leaves_the_field_to_the_other_proof():
    class Choosy(Net):
        def forward(self, x):
            if x.shape[-2:] != (16, 16):
                sys.exit()
            return self.fc(self.a(x).mean((2, 3)))

    facts = analysis.analyze(Choosy(None, a=conv(3, 8)), (3, 16, 16))
    assert facts.receptive_field.status == "proved"
    assert "SystemExit" in facts.receptive_field.detail


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_modules_are_refused_in_one_line():
    scripted = torch.jit.script(conv(3, 8))
    with pytest.raises(FlyweightError, match=r"^Sequential\.1 is compiled by TorchScript"):
        analysis.analyze(nn.Sequential(nn.Identity(), scripted), (3, 16, 16))
    with pytest.raises(FlyweightError, match="^the network is compiled by TorchScript"):
        analysis.analyze(scripted, (3, 16, 16))


def test_output_that_is_no_tensor():
    class Text(nn.Module):
        def forward(self, x):
            return "cat"

    with pytest.raises(FlyweightError, match="Text returns str: a network must return a tensor"):
        analysis.analyze(Text(), (3, 8, 8))


def test_centres_are_the_middles_of_receptive_fields():
    # an unpadded 3x3 with dilation 4 loses 4 pixels on each side; a padded 3x3 of stride 2 stands on every second one;
    # 4x4 pooling with stride 4 stands in the middle of each four
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, dilation=4), nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.AvgPool2d(4), nn.Conv2d(4, 2, 1)
    )
    for layer, rows, columns in (
        (0, np.arange(4, 28), np.arange(4, 36)),
        (1, np.arange(4, 28, 2), np.arange(4, 36, 2)),
        (2, [7, 15, 23], [7, 15, 23, 31]),
        (3, [7, 15, 23], [7, 15, 23, 31]),
    ):
        found = analysis.centres(network, (3, 32, 40), network[layer])
        assert found is not None
        assert found[0].tolist() == list(rows)
        assert found[1].tolist() == list(columns)


def test_there_are_no_centres_where_positions_are_lost():
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 48), nn.Unflatten(1, (3, 4, 4)), nn.Conv2d(3, 2, 1))
    assert analysis.centres(network, (3, 4, 4), network[3]) is None
    assert analysis.centres(network, (3, 4, 4), nn.Conv2d(3, 2, 1)) is None
