"""Images to logits: each image alone decides its row, and the network comes back as it was."""

import numpy as np
import pytest
import torch
from random_networks import random_network
from torch import nn

from flyweight.data.cifar10 import SPEC
from flyweight.inference import classifier
from flyweight.networks.build import build
from flyweight.networks.builtin import NETWORKS
from flyweight.recipes.sections import ModelConfig

with_fuser = pytest.mark.skipif(
    not hasattr(torch._C, "_jit_llga_enabled"), reason="this torch was built without oneDNN Graph"
)


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
    assert classifier.logits(Channels(), images, mean, std).numpy() == pytest.approx(expected, abs=1e-5)


def test_batches_cover_every_picture_in_order():
    images, network = pictures(7), Channels()
    whole = classifier.logits(network, images, (0.0,) * 3, (1.0,) * 3)
    parts = classifier.logits(network, images, (0.0,) * 3, (1.0,) * 3, batch_size=3)
    # row by row what each image alone gets
    assert whole.numpy() == pytest.approx(images.mean((1, 2)) / 255, abs=1e-5)
    assert (whole.shape, whole.dtype) == ((7, 3), torch.float32)
    assert parts.shape == whole.shape
    assert torch.allclose(whole, parts)


def test_the_network_is_evaluated_without_gradients_and_gets_its_modes_back():
    network = Channels().train()
    network.part.eval()
    classifier.logits(network, pictures(2), (0.0,) * 3, (1.0,) * 3)
    assert set(network.modes) == {(False, False, torch.float32)}
    assert (network.training, network.part.training) == (True, False)


def test_modes_come_back_after_an_error_too():
    class Failing(Channels):
        def forward(self, x):
            raise ValueError("no")

    network = Failing().train()
    with pytest.raises(ValueError, match="no"):
        classifier.logits(network, pictures(2), (0.0,) * 3, (1.0,) * 3)
    assert network.training


@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_prepared_network_says_the_same_with_fewer_layers(name):
    torch.manual_seed(0)
    network = build(ModelConfig(network=name), SPEC)
    x = torch.randn(8, 3, 32, 32)
    network(x)  # so that the norms have statistics of their own
    network.eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    ready = classifier.Classifier(network, (3, 32, 32), (0.5,) * 3, (0.5,) * 3).network
    norms = [module for module in ready.modules() if isinstance(module, nn.BatchNorm2d)]
    # where the norm comes after the ReLU there is no convolution to fold it into
    assert len(norms) == (12 if NETWORKS[name].order == "relu-norm" else 0)
    torch.testing.assert_close(ready(x), network(x), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_small_batches_are_compiled_and_say_the_same():
    torch.manual_seed(0)
    network = build(ModelConfig(network="sprint"), SPEC).eval()
    classify = classifier.Classifier(network, (3, 32, 32), (0.5,) * 3, (0.5,) * 3)
    assert isinstance(classify.compiled, torch.jit.ScriptModule)
    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    for size in (1, 2, 15):
        torch.testing.assert_close(classify(images[:size]), classify(images)[:size], atol=1e-5, rtol=1e-4)


def test_for_a_test_pass_nothing_is_compiled(monkeypatch):
    made = []
    monkeypatch.setattr(classifier, "_compiled", lambda network, sample: made.append(network) or network)
    classifier.logits(Channels(), pictures(131), (0.0,) * 3, (1.0,) * 3)  # three are left for a batch of their own
    assert made == []
    classifier.Classifier(Channels().eval(), (3, 8, 8), (0.0,) * 3, (1.0,) * 3)(pictures(3))
    assert len(made) == 1


@with_fuser
def test_a_single_picture_runs_fused_and_the_switch_is_put_back():
    torch.manual_seed(0)
    network = build(ModelConfig(network="nano"), SPEC).eval()
    classify = classifier.Classifier(network, (3, 32, 32), (0.5,) * 3, (0.5,) * 3)
    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    single = torch.cat([classify(images[at : at + 1]) for at in range(20)])
    assert "oneDNNFusionGroup" in str(torch.jit.last_executed_optimized_graph())
    torch.testing.assert_close(single, classify(images), atol=1e-5, rtol=1e-4)
    assert not torch.jit.onednn_fusion_enabled()


@with_fuser
@pytest.mark.parametrize("seed", [0, 3, 6, 8, 10, 12, 13, 14])
def test_random_networks_of_what_it_was_tried_with_say_the_same_fused(seed):
    network, shape = random_network(seed)
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            network.set_submodule(name, nn.Identity())
    classify = classifier.Classifier(network.eval(), shape, (0.5,) * shape[0], (0.5,) * shape[0])
    images = np.random.default_rng(0).integers(0, 256, (20, *shape[1:], shape[0]), dtype=np.uint8)
    single = torch.cat([classify(images[at : at + 1]) for at in range(20)])
    assert "oneDNNFusionGroup" in str(torch.jit.last_executed_optimized_graph())
    torch.testing.assert_close(single, classify(images), atol=1e-4, rtol=1e-3)


def test_what_the_fuser_was_not_tried_with_runs_unfused():
    # of `x + batch_norm(x)` it would never come back
    classify = classifier.Classifier(Watched().eval(), (3, 8, 8), (0.0,) * 3, (1.0,) * 3)
    assert isinstance(classify.compiled, torch.jit.ScriptModule)
    classify(pictures(1))
    assert "oneDNNFusionGroup" not in str(torch.jit.last_executed_optimized_graph())


class OfTwo(nn.Module):
    """Right for the two images that it is traced with, wrong for others: a trace would keep the two."""

    def forward(self, x):
        return x.mean((2, 3)) * float(len(x))


def test_what_depends_on_the_size_of_the_batch_is_not_compiled():
    classify = classifier.Classifier(OfTwo().eval(), (3, 8, 8), (0.0,) * 3, (1.0,) * 3)
    images = pictures(4)
    assert classify(images).numpy() == pytest.approx(4 * images.mean((1, 2)) / 255, abs=1e-4)
    assert classify(images[:1]).numpy() == pytest.approx(images[:1].mean((1, 2)) / 255, abs=1e-4)


class Watched(nn.Module):
    """Its output takes the convolution's values from before and from after the norm."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.convolution(x)
        return (x + self.norm(x)).mean((2, 3))


class Shared(nn.Module):
    """One convolution called twice, with a norm of its own each time: no fold can be right for both."""

    def __init__(self):
        super().__init__()
        self.convolution, self.first, self.second = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.second(self.convolution(self.first(self.convolution(x)))).mean((2, 3))


class Untraceable(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.norm(self.convolution(x))
        return x.mean((2, 3)) if x.mean() > 0 else x.amax((2, 3))


class Choosing(nn.Module):
    """Says one thing about a bright image and another about a dark one."""

    def forward(self, x):
        return x.mean((2, 3)) if x.mean() > 0.25 else -x.amax((2, 3))


def test_a_network_that_chooses_its_way_is_not_traced():
    # images of noise, with which a network is tried, are all bright
    classify = classifier.Classifier(Choosing().eval(), (3, 8, 8), (0.0,) * 3, (1.0,) * 3)
    assert not isinstance(classify.compiled, torch.jit.ScriptModule)
    dark = pictures(1) // 8
    assert classify(dark).numpy() == pytest.approx(dark.max((1, 2)) / -255, abs=1e-5)


@pytest.mark.parametrize("kind", [Watched, Shared, Untraceable])
def test_what_cannot_be_folded_is_asked_as_it_is(kind):
    torch.manual_seed(0)
    network = kind()
    x = torch.randn(4, 3, 9, 9)
    for _ in range(5):
        network(2 * x + 1)
    network.eval()
    images = pictures(4)
    expected = network(torch.from_numpy(images).permute(0, 3, 1, 2) / 255)
    about = (0.0,) * 3, (1.0,) * 3
    alone = classifier.Classifier(network, (3, 8, 8), *about)
    for said in (classifier.logits(network, images, *about), alone(images)):
        torch.testing.assert_close(said, expected.detach(), atol=1e-5, rtol=1e-5)


def test_bfloat16_is_for_large_batches_and_on_request():
    torch.manual_seed(0)
    network = build(ModelConfig(network="sprint"), SPEC).eval()
    about = (network, (3, 32, 32), (0.5,) * 3, (0.5,) * 3)
    exact, quick = classifier.Classifier(*about), classifier.Classifier(*about, precision="auto")
    quick.bfloat16 = True  # on whatever processor the tests run
    images = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
    assert not exact.bfloat16
    assert torch.equal(exact(images[:15]), quick(images[:15]))
    assert not torch.equal(exact(images), quick(images))
    scale = exact(images).abs().max().item()
    torch.testing.assert_close(exact(images), quick(images), atol=0.05 * scale, rtol=0)


def test_read_only_pictures_are_neither_changed_nor_warned_about():
    images = pictures(2)
    images.setflags(write=False)
    before = images.copy()
    classifier.logits(Channels(), images, (0.0,) * 3, (1.0,) * 3)
    assert (images == before).all()
