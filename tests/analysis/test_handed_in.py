"""What people hand in and a checker easily gets wrong: each with the right numbers, worked out by hand."""

import random
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from analysis_networks import Net, conv
from torch import nn

from flyweight import analysis
from flyweight.errors import FlyweightError


def told(network, shape=(3, 32, 32)):
    facts = analysis.analyze(network, shape)
    assert facts.receptive_field.status == "proved", facts.receptive_field
    return facts.parameters, facts.macs, facts.receptive_field.value


def test_lazy_layers_get_their_shapes_from_a_first_pass():
    network = Net(lambda net, x: net.b(F.relu(net.norm(net.a(x)))), 6, a=nn.LazyConv2d(4, 3, padding=1),
                  norm=nn.LazyBatchNorm2d(), b=nn.LazyConv2d(6, 5, 2, 2))  # fmt: skip
    network.fc = nn.LazyLinear(10)
    state = torch.get_rng_state()
    # 9*3*4 + 4, twice 4, 25*4*6 + 6, 60 + 10; each weight of the first at 32*32 places, of the second at 16*16
    assert told(network) == (112 + 8 + 606 + 70, 108 * 1024 + 600 * 256 + 60, 7)
    assert torch.equal(state, torch.get_rng_state())


def test_a_lazy_layer_that_never_runs_is_one_line():
    with pytest.raises(FlyweightError, match=r"Net\.spare is a lazy layer that never runs.*take it away") as caught:
        analysis.analyze(Net(lambda net, x: net.a(x), a=conv(3, 8), spare=nn.LazyConv2d(4, 3)), (3, 16, 16))
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, of its compiler
def test_compiled_parts_are_run_as_they_were_written():
    second = torch.compile(nn.Sequential(conv(8, 8)))
    network = Net(lambda net, x: net.b(net.a(x)), a=torch.compile(conv(3, 8)), b=second)
    started = time.process_time()
    facts = analysis.analyze(network, (3, 32, 32))
    assert time.process_time() - started < 5  # to compile it for each size takes a minute and more
    assert (facts.parameters, facts.macs, facts.receptive_field.value) == (898, (216 + 576) * 1024 + 80, 5)
    assert [layer.name for layer in facts.layers] == ["a", "b.0", "mean", "fc"]
    assert facts.submodules == ("a", "b", "b.0", "fc")
    whole = torch.compile(Net(lambda net, x: net.a(x), a=conv(3, 8)))
    facts = analysis.analyze(whole, (3, 32, 32))
    assert (facts.network, facts.layers[0].name, facts.layers[0].parameters) == ("Net", "a", 224)


def test_a_window_that_goes_round_the_border():
    network = Net(lambda net, x: net.b(net.a(x)), a=nn.Conv2d(3, 8, (3, 5), padding=(1, 2), padding_mode="circular"),
                  b=nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular"))  # fmt: skip
    # 15*3*8 + 8, 9*64 + 8, 90
    assert told(network) == (368 + 584 + 90, (360 + 576) * 1024 + 80, (5, 7))


def test_pixels_that_are_pushed_aside():
    network = Net(lambda net, x: (lambda y: y.roll(2, 2) * y.roll(-1, (3,)))(net.a(x)), a=conv(3, 8))
    # two rows up, none down; none left, one right
    assert told(network) == (314, 221_264, (5, 4))


def test_a_convolution_written_as_a_product():
    def forward(net, x):
        patches = net.unfold(x)
        return net.b(F.linear(patches.transpose(1, 2), net.w.weight).transpose(1, 2).unflatten(2, x.shape[2:]))

    network = Net(forward, unfold=nn.Unfold(5, padding=2), w=nn.Linear(75, 8, bias=False), b=conv(8, 8))
    assert told(network) == (600 + 584 + 90, (600 + 576) * 1024 + 80, 7)


def test_numbers_rounded_to_levels():
    class Rounded(nn.Module):
        def forward(self, x):
            return torch.fake_quantize_per_channel_affine(
                x, torch.full((8,), 0.1), torch.zeros(8, dtype=torch.int32), 1, -128, 127
            )

    assert told(Net(lambda net, x: net.q(net.a(x)), a=conv(3, 8), q=Rounded())) == (314, 221_264, 3)


def test_signals_have_a_length_and_no_height():
    class Signal(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv1d(2, 4, 7, 2, 3), nn.Conv1d(4, 4, 3, padding=2, dilation=2)
            self.fc = nn.Linear(4, 3)

        def forward(self, x):
            return self.fc(self.b(F.relu(self.a(x))).mean(-1))

    facts = analysis.analyze(Signal(), (2, 48))
    field = facts.receptive_field
    # 7 + 2 * 2 * 2; 56 weights at 24 places, 48 at 24
    assert (field.height, field.width, field.status) == (1, 15, "proved")
    assert (facts.parameters, facts.macs) == (60 + 52 + 15, (56 + 48) * 24 + 12)


class Around(nn.Module):
    """A block with a 1x1 around it."""

    def __init__(self, short, function):
        super().__init__()
        self.a, self.b, self.short, self.function = conv(3, 8), conv(8, 8), short, function

    def forward(self, x):
        return self.function(self, x).mean((2, 3))


PROJECTIONS = [
    (lambda net, x: net.b(net.a(x)) + net.short(x), ["short"]),
    (lambda net, x: F.relu(net.b(F.relu(net.a(x)))) + F.relu(net.short(F.relu(x))), ["short"]),
    (lambda net, x: net.b(net.a(x)) + net.short(F.avg_pool2d(x, 3, 1, 1)), ["short"]),
    # a 1x1 on the way, one that is joined, one that is added to nothing else, one whose input is the other's too late
    (lambda net, x: net.b(net.a(x)) + net.a(net.short(x)[:, :3]), []),
    (lambda net, x: torch.cat([net.b(net.a(x)), net.short(x)], 1), []),
    (lambda net, x: net.short(x) + net.short(x), []),
]


@pytest.mark.parametrize(("function", "names"), PROJECTIONS)
def test_a_1x1_around_a_block_is_told_apart(function, names):
    facts = analysis.analyze(Around(nn.Conv2d(3, 8, 1), function), (3, 16, 16))
    assert [layer.name for layer in facts.convolution_layers if layer.projection] == names


def test_the_last_1x1_of_a_bottleneck_is_no_projection():
    def forward(net, x):
        return net.wide(F.relu(net.three(F.relu(net.narrow(x))))) + x

    facts = analysis.analyze(
        Net(forward, narrow=nn.Conv2d(8, 2, 1), three=conv(2, 2), wide=nn.Conv2d(2, 8, 1)), (8, 16, 16)
    )
    assert not [layer for layer in facts.convolution_layers if layer.projection]


def test_a_convolution_on_one_place_is_a_fully_connected_layer():
    def forward(net, x):
        y = net.a(x)
        return y * net.up(F.relu(net.down(F.adaptive_avg_pool2d(y, 1)))).sigmoid()

    network = Net(forward, a=conv(3, 8), down=nn.Conv2d(8, 2, 1), up=nn.Conv2d(2, 8, 1))
    facts = analysis.analyze(network, (3, 16, 16))
    assert [layer.name for layer in facts.convolution_layers if layer.connected] == ["down", "up"]


def test_an_average_of_a_part_is_blamed_where_it_stands():
    class Partial(nn.Sequential):
        def __init__(self):
            super().__init__(conv(3, 8, stride=2), nn.AvgPool2d((7, 6)), nn.Conv2d(8, 10, 1), nn.Flatten())

    [fault] = analysis.analyze(Partial(), (3, 26, 22)).head.faults
    assert (fault.layer, fault.detail) == ("1", "averages 7x6 of a map of 8x13x11, not the whole")


def coin_of_torch(net, x):
    return net.b(x) if torch.rand(()) < 0.5 else net.a(x)


def coin_of_python(net, x):
    return net.b(x) if random.random() < 0.5 else net.a(x)


def coin_of_numpy(net, x):
    return net.b(x) if np.random.rand() < 0.5 else net.a(x)


def alternating(net, x):
    net.turn = not getattr(net, "turn", False)
    return net.b(x) if net.turn else net.a(x)


def of_one_generator(net, x):
    net.own = getattr(net, "own", random.Random(4))
    return net.a(x) * net.own.random()


RANDOM = [coin_of_torch, coin_of_python, coin_of_numpy, alternating, of_one_generator]


@pytest.mark.parametrize("function", [*RANDOM, lambda net, x: net.a(F.dropout(x, 0.1, training=True))])
def test_a_network_that_is_another_one_in_each_run_is_unknown(function):
    for _ in range(3):  # luck would show
        facts = analysis.analyze(Net(function, a=conv(3, 8), b=conv(3, 8, 9)), (3, 16, 16))
        assert (facts.receptive_field.value, facts.receptive_field.status, facts.macs) == (None, "unknown", None)
        assert facts.random
        assert "not the same in two runs" in facts.receptive_field.detail


@pytest.mark.parametrize(
    "function",
    [
        lambda net, x: net.a(F.dropout(x, 0.5, training=False)),
        lambda net, x: net.a(x) + 0 * len(str(torch.rand(2).shape)),
    ],
)
def test_what_draws_no_numbers_that_matter_is_no_random_network(function):
    facts = analysis.analyze(Net(function, a=conv(3, 8)), (3, 16, 16))
    assert (facts.random, facts.receptive_field.value) == ("", 3)


def test_layers_of_torch_are_called_by_their_names():
    network = Net(
        lambda net, x: net.l(x.mean(3).transpose(1, 2))[0].transpose(1, 2)[..., None], l=nn.LSTM(3, 8, batch_first=True)
    )
    facts = analysis.analyze(network, (3, 16, 16))
    assert facts.unknown[0].told == "nn.LSTM"
    assert "l (nn.LSTM) is not understood" in facts.receptive_field.detail


def test_what_a_forward_pass_raises_is_told_with_its_line():
    def forward(net, x):
        return net.a(x.flatten(1))

    with pytest.raises(FlyweightError, match=r"raised RuntimeError: .*\(.*test_handed_in\.py:\d+\)$"):
        analysis.analyze(Net(forward, a=conv(3, 8)), (3, 16, 16))
