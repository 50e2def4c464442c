"""How many images a network is asked about at once."""

import numpy as np
import pytest
import torch
from torch import nn

from flyweight.inference import batch, classifier

ABOUT = (0.5,) * 3, (0.5,) * 3


def net(width):
    torch.manual_seed(0)
    layers = nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4)).eval()


@pytest.mark.parametrize(
    ("width", "count"),
    # ReLU reads and writes width x 32 x 32 numbers of 4 bytes, and 24 MiB are let
    [(4, 256), (12, 256), (13, 128), (96, 32), (97, 16), (5000, 16)],
)
def test_what_a_layer_reads_and_writes_stays_in_the_cache(width, count):
    network = net(width)
    assert batch.images_at_once(network, torch.zeros(1, 3, 32, 32)) == count
    assert not any(module._forward_hooks for module in network.modules())


def test_a_large_batch_is_asked_in_parts_and_in_order():
    network = net(200)
    images = np.random.default_rng(0).integers(0, 256, (37, 32, 32, 3), dtype=np.uint8)
    classify = classifier.Classifier(network, (3, 32, 32), *ABOUT)
    inputs = []
    classify.network.register_forward_pre_hook(lambda _, given: inputs.append(len(given[0])))
    said = classify(images)
    assert inputs[-3:] == [16, 16, 5]
    with torch.inference_mode():
        expected = network((torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5)
    torch.testing.assert_close(said, expected, atol=1e-5, rtol=1e-4)
    assert len(classify(images[:0])) == 0


def test_what_could_not_be_folded_is_asked_about_a_whole_batch():
    class Chosen(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.asked = net(200), []

        def forward(self, x):
            self.asked.append(len(x))
            return self.net(x) if x.sum() != 0 else self.net(-x)

    network = Chosen().eval()
    images = np.random.default_rng(0).integers(0, 256, (37, 32, 32, 3), dtype=np.uint8)
    classify = classifier.Classifier(network, (3, 32, 32), *ABOUT)
    network.asked.clear()
    assert len(classify(images)) == 37
    assert network.asked == [37]
