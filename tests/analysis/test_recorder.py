"""A network is borrowed and given back; wrong calls end in one line."""

import copy
import sys

import faulty_networks
import pytest
import torch
import torch.nn.functional as F
from analysis_networks import Net, conv
from random_networks import random_network
from torch import nn

from flyweight import analysis
from flyweight.errors import FlyweightError


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
        with pytest.raises(
            FlyweightError, match=r"1x3x16x16 raised ValueError: no second line \(.*recorder.py:[0-9]+\)$"
        ):
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
    # torch.jit knows builtins by id() and keeps ids of operators that are gone: a convolution's list may have got such
    # an id by chance, and is then refused as "builtin cannot be used as a value"; ReLU has no list
    scripted = torch.jit.script(nn.ReLU())
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
