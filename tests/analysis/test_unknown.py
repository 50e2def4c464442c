"""What is not understood is unknown, never zero and never a pass."""

import pytest
import torch
from analysis_networks import UNKNOWN, Net, conv, field, one_of

from flyweight import analysis


@pytest.mark.parametrize(("function", "layer"), UNKNOWN)
def test_what_is_not_understood_is_unknown(function, layer):
    facts = analysis.analyze(one_of("UNKNOWN", function), (3, 32, 32))
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
