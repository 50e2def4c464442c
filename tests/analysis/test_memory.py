"""How much of a microcontroller's memory the maps take: by hand, and by brute force."""

import pytest
import torch
import torch.nn.functional as F
from analysis_networks import Net, conv
from random_networks import random_network
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from flyweight.analysis import activation_peak
from flyweight.analysis.positions.operators import follow
from flyweight.analysis.trace.recorder import record
from flyweight.data.cifar10 import SPEC
from flyweight.networks.build import build
from flyweight.recipes.sections import ModelConfig

KIB = 1024


def peak(network, shape=(3, 32, 32), **options):
    return activation_peak(follow(record(network, shape)), **options)


class ResNet8(nn.Module):
    """MLPerf Tiny's image classifier (Banbury et al. 2021): 16, 32 and 64 channels, one block of two each."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(conv(3, 16), nn.BatchNorm2d(16), nn.ReLU())
        self.bodies, self.shorts, inputs = nn.ModuleList(), nn.ModuleList(), 16
        for outputs, stride in ((16, 1), (32, 2), (64, 2)):
            self.bodies.append(
                nn.Sequential(
                    conv(inputs, outputs, stride=stride),
                    nn.BatchNorm2d(outputs),
                    nn.ReLU(),
                    conv(outputs, outputs),
                    nn.BatchNorm2d(outputs),
                )
            )
            self.shorts.append(nn.Identity() if stride == 1 else nn.Conv2d(inputs, outputs, 1, stride))
            inputs = outputs
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = self.stem(x)
        for body, short in zip(self.bodies, self.shorts, strict=True):
            x = F.relu(body(x) + short(x))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


def test_the_first_block_of_resnet_8_holds_three_maps():
    found = peak(ResNet8())
    assert found.numbers == 3 * 16 * 32 * 32 == 48 * KIB
    assert found.layer == "bodies.0.3"
    assert found.maps == (("stem.0", 16 * KIB), ("bodies.0.0", 16 * KIB), ("bodies.0.3", 16 * KIB))


def test_the_image_counts_where_it_lies_in_the_same_memory():
    net = Net(lambda net, x: net.a(x) + net.b(x), a=conv(3, 8), b=conv(3, 8))
    assert peak(net, (3, 16, 16)).numbers == (8 + 8 + 8) * 256
    assert peak(net, (3, 16, 16), add_in_place=True).numbers == (3 + 8 + 8) * 256
    assert peak(net, (3, 16, 16), input_counts=False, add_in_place=True).numbers == (8 + 8) * 256


def test_what_is_read_twice_is_not_overwritten():
    # the activation and what it was made of are both there at the sum
    net = Net(lambda net, x: (lambda y: y + net.b(F.relu(y)))(net.a(x)), a=conv(3, 8), b=conv(8, 8))
    assert peak(net, (3, 16, 16)).numbers == 3 * 8 * 256


@pytest.mark.parametrize(
    ("name", "separate", "sums", "both"),
    [("sprint", 24, 18, 16), ("strided", 36, 24, 24), ("nano", 24, 16, 16), ("dilated", 384, 384, 288)],
)
def test_the_built_in_networks_by_hand(name, separate, sums, both):
    # dilated: three maps of 128 channels are there at a pointwise layer with a sum; the last makes 160 of 128 channels
    graph = follow(record(build(ModelConfig(network=name), SPEC), SPEC.shape))
    ways = ({}, {"add_in_place": True}, {"add_in_place": True, "pointwise_in_place": True})
    assert [activation_peak(graph, **way).numbers / KIB for way in ways] == [separate, sums, both]


class Simulator(TorchDispatchMode):
    """Runs a network twice: once to see which memory is read last when, once more to count what is there.

    Nothing of flyweight's graph is used: a map is a tensor's storage; one that is written over, or whose only reader
    works element by element, is one with what was there.
    """

    def __init__(self, image):
        super().__init__()
        self.image, self.steps, self.owner, self.size = image, [], {}, {}
        self.alive = [image]

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.alive += made + read
        self.steps.append((func, read, made[:1], torch.Tag.pointwise in func.tags or "batch_norm" in str(func)))
        return result


def simulated(network, shape):
    """The largest sum of what is there at one step, found by trying every step."""
    image = torch.rand(1, *shape)
    network.eval()
    mode = Simulator(image)
    with torch.no_grad(), mode:
        output = network(image)
    root, depends = {}, {image.untyped_storage().data_ptr()}

    def find(key):
        while key in root:
            key = root[key]
        return key

    key = lambda tensor: tensor.untyped_storage().data_ptr()  # noqa: E731
    steps = []
    for func, read, made, alone in mode.steps:
        sources = [key(t) for t in read if key(t) in depends]
        if sources and made:
            depends.add(key(made[0]))
            steps.append((func, list(dict.fromkeys(sources)), made[0], alone))
    sizes = {key(image): image.numel()}
    reads = {}
    for at, (_, sources, _, _) in enumerate(steps):
        for source in sources:
            reads.setdefault(source, []).append(at)
    for at, (_, sources, made, alone) in enumerate(steps):
        same = key(made)
        sizes[same] = max(sizes.get(same, 0), made.numel())
        if alone and len(sources) == 1 and same != sources[0] and max(reads[sources[0]]) == at:
            root[same] = sources[0]
    born, dies = {find(key(image)): -1}, {find(key(output)): len(steps)}
    for at, (_, sources, made, _) in enumerate(steps):
        born.setdefault(find(key(made)), at)
        for source in sources:
            dies[find(source)] = max(dies.get(find(source), at), at)
    return max(sum(sizes[one] for one in born if born[one] <= at <= dies.get(one, -2)) for at in range(len(steps)))


@pytest.mark.parametrize("seed", range(30))
def test_thirty_random_networks_as_a_simulator_says(seed):
    network, shape = random_network(seed)
    assert peak(network, shape).numbers == simulated(network, shape)
