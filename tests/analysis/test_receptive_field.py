"""Receptive fields: formula, probe and gradient against each other; branches, sizes; centres."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from analysis_networks import Net, ResNet20, conv, field
from random_networks import gradient_field, random_network
from torch import nn

from flyweight import analysis


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small convolutions beside a busy machine: two threads wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def check_random(seeds):
    for seed in seeds:
        network, shape = random_network(seed)
        found = analysis.analyze(network, shape).receptive_field
        assert (found.status, "enlarged" in found.detail) == ("proved", True), (seed, found)
        largest = max(found.height, found.width)
        third = gradient_field(network.features, shape, largest)
        assert third == (found.height, found.width), (seed, third, found)


@pytest.mark.early
def test_random_networks():
    check_random(range(60))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_thousand_random_networks():
    check_random(range(1000))


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
