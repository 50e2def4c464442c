"""Pictures to logits: each picture alone decides its row, and the network comes back as it was."""

import numpy as np
import pytest
import torch
from torch import nn

from flyweight import inference


class Channels(nn.Module):
    """Says the mean of each channel of what it is given, and notes the sizes of its batches and its mode."""

    def __init__(self):
        super().__init__()
        self.batches, self.modes = [], []
        self.part = nn.Dropout(0.9)

    def forward(self, x):
        self.batches.append(len(x))
        self.modes.append((self.training, torch.is_grad_enabled(), x.dtype))
        return self.part(x.mean((2, 3)))


def pictures(count):
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


def test_pixels_are_scaled_to_one_and_standardised():
    images = pictures(3)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
    expected = ((images / 255 - mean) / std).mean((1, 2))
    assert inference.logits(Channels(), images, mean, std).numpy() == pytest.approx(expected, abs=1e-5)


def test_batches_cover_every_picture_in_order():
    images, network = pictures(7), Channels()
    whole = inference.logits(network, images, (0.0,) * 3, (1.0,) * 3)
    parts = inference.logits(network, images, (0.0,) * 3, (1.0,) * 3, batch_size=3)
    assert network.batches == [7, 3, 3, 1]
    assert (whole.shape, whole.dtype) == ((7, 3), torch.float32)
    assert torch.allclose(whole, parts)


def test_the_network_is_evaluated_without_gradients_and_gets_its_modes_back():
    network = Channels().train()
    network.part.eval()
    inference.logits(network, pictures(2), (0.0,) * 3, (1.0,) * 3)
    assert network.modes == [(False, False, torch.float32)]
    assert (network.training, network.part.training) == (True, False)


def test_modes_come_back_after_an_error_too():
    class Failing(Channels):
        def forward(self, x):
            raise ValueError("no")

    network = Failing().train()
    with pytest.raises(ValueError, match="no"):
        inference.logits(network, pictures(2), (0.0,) * 3, (1.0,) * 3)
    assert network.training


def test_read_only_pictures_are_neither_changed_nor_warned_about():
    images = pictures(2)
    images.setflags(write=False)
    before = images.copy()
    inference.logits(Channels(), images, (0.0,) * 3, (1.0,) * 3)
    assert (images == before).all()
