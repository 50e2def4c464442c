"""Random networks for the receptive field: branches, strides, dilations, depthwise, pooling, two different axes."""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn

Pair = tuple[int, int]


class Branches(nn.Module):
    """Several ways side by side, added or concatenated."""

    def __init__(self, branches: list[nn.Module], add: bool) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.add = add

    def forward(self, x: Tensor) -> Tensor:
        outputs = [branch(x) for branch in self.branches]
        if self.add:
            total = outputs[0]
            for output in outputs[1:]:
                total = total + output
            return total
        return torch.cat(outputs, dim=1)


class RandomNetwork(nn.Module):
    """`features` makes the last map, which is then averaged and classified."""

    def __init__(self, features: nn.Sequential, channels: int) -> None:
        super().__init__()
        self.features = features
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.features(x)).flatten(1))


def conv(rng: random.Random, inputs: int, outputs: int, stride: Pair = (1, 1), same: bool = True) -> nn.Sequential:
    """A convolution, sometimes depthwise, its norm and activation; `same` keeps ceil(size / stride)."""
    kernel = tuple(rng.choice([1, 3, 5] if same else [1, 2, 3, 4]) for _ in range(2))
    dilation = tuple(rng.choice([1, 1, 2, 3]) for _ in range(2))
    padding = tuple(d * (k - 1) // 2 if same else rng.randrange(k) for d, k in zip(dilation, kernel, strict=True))
    depthwise = inputs == outputs and rng.random() < 0.3
    groups = inputs if depthwise else 1
    after = [nn.BatchNorm2d(outputs), rng.choice([nn.ReLU(), nn.ReLU(inplace=True), nn.Identity(), nn.Dropout(0.1)])]
    rng.shuffle(after)
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False), *after)


def pool(rng: random.Random, stride: Pair) -> nn.Module:
    kind = rng.choice([nn.AvgPool2d, nn.MaxPool2d])
    return kind((3, 3), stride, padding=1)


def stage(rng: random.Random, inputs: int) -> tuple[nn.Module, int, Pair]:
    """One random step: the module, its output channels, its stride."""
    outputs = rng.choice([2, 4, 6])
    stride = rng.choice([(1, 1), (1, 1), (1, 1), (2, 2), (2, 1), (1, 2)])
    kind = rng.choice(["conv", "conv", "pool", "residual", "shortcut", "concat", "hourglass"])
    if kind == "conv":
        return conv(rng, inputs, outputs, stride, same=rng.random() < 0.5), outputs, stride
    if kind == "pool":
        return pool(rng, stride), inputs, stride
    if kind == "residual":
        body = nn.Sequential(conv(rng, inputs, outputs), conv(rng, outputs, inputs))
        return Branches([nn.Identity(), body], add=True), inputs, (1, 1)
    if kind == "shortcut":
        body = nn.Sequential(conv(rng, inputs, outputs, stride), conv(rng, outputs, outputs))
        return Branches([body, nn.Conv2d(inputs, outputs, 1, stride)], add=True), outputs, stride
    if kind == "concat":
        branches = [conv(rng, inputs, 2, stride), conv(rng, inputs, 3, stride), pool(rng, stride)]
        return Branches(branches, add=False), 5 + inputs, stride
    down = nn.Sequential(conv(rng, inputs, inputs, (2, 2)), conv(rng, inputs, inputs), nn.Upsample(scale_factor=2))
    return Branches([nn.Identity(), down], add=True), inputs, (1, 1)


def random_network(seed: int) -> tuple[RandomNetwork, tuple[int, int, int]]:
    """A network and an input shape that it takes. The map stays at least 4x4; the total stride at most 4."""
    rng = random.Random(seed)
    shape = (rng.choice([1, 3]), 4 * rng.randint(6, 10), 4 * rng.randint(6, 10))
    channels, steps, total = shape[0], [], [1, 1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        x = torch.rand(1, *shape)
        while len(steps) < rng.randint(3, 8):
            module, outputs, stride = stage(rng, channels)
            if any(a * b > 4 for a, b in zip(total, stride, strict=True)):
                continue
            try:
                with torch.no_grad():
                    y = module.eval()(x)
            except RuntimeError:  # an hourglass on an odd size, a kernel larger than the map
                continue
            if min(y.shape[2:]) < 4:
                break
            steps.append(module)
            channels, x = outputs, y
            total = [a * b for a, b in zip(total, stride, strict=True)]
        return RandomNetwork(nn.Sequential(*steps), channels), shape


def linearised(module: nn.Module) -> nn.Module:
    """Make a network linear and positive in place: weights of one, averages for maxima, nothing else."""
    for name, child in module.named_children():
        if isinstance(child, nn.ReLU | nn.BatchNorm2d | nn.Dropout):
            setattr(module, name, nn.Identity())
        elif isinstance(child, nn.MaxPool2d):
            setattr(module, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
        elif isinstance(child, nn.Conv2d):
            nn.init.ones_(child.weight)
            if child.bias is not None:
                nn.init.zeros_(child.bias)
        else:
            linearised(child)
    return module.double()


def gradient_field(features: nn.Module, shape: tuple[int, int, int], field: int) -> tuple[int, int]:
    """Extent of the gradient of central positions of a linearised copy's map, on a picture of twice the `field`.

    The second oracle of Luo et al. 2016, "Understanding the Effective Receptive Field": nothing of flyweight is used.
    """
    more = 2 * field // 16 * 16 + 16  # whole steps of every stride, so that branches still fit together
    picture = torch.ones(1, shape[0], shape[1] + more, shape[2] + more, dtype=torch.float64, requires_grad=True)
    output = linearised(features)(picture)
    height, width = 0, 0
    for step in range(4):  # an enlarged map repeats every few positions
        centre = output[0, :, output.shape[2] // 2 + step, output.shape[3] // 2 + step].sum()
        (gradient,) = torch.autograd.grad(centre, picture, retain_graph=True)
        rows, columns = (gradient[0] != 0).any(0).nonzero(as_tuple=True)
        reached = (int(rows.min()), int(columns.min()), int(rows.max()), int(columns.max()))
        inside = (1, 1, picture.shape[2] - 2, picture.shape[3] - 2)
        assert all(a >= b for a, b in zip(reached[:2], inside[:2], strict=True)), "the picture must be larger"
        assert all(a <= b for a, b in zip(reached[2:], inside[2:], strict=True)), "the picture must be larger"
        height = max(height, int(rows.max() - rows.min()) + 1)
        width = max(width, int(columns.max() - columns.min()) + 1)
    return height, width
