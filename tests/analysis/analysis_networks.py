"""Networks that the tests of the analysis share, and the tables of forms that some of them are checked over."""

import torch
import torch.nn.functional as F
from torch import nn

from flyweight import analysis


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


# how a network may write an operator, what modules it needs, and the receptive field that comes out
FORMS = [
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
    # a window that goes round the border
    (
        lambda net, x: net.b(net.a(x)),
        {"a": conv(3, 8, 5, padding_mode="circular"), "b": conv(8, 8, padding_mode="circular")},
        7,
    ),
    (lambda net, x: net.a(F.pad(x, (2, 1, 1, 2), mode="circular")), {"a": conv(3, 8, 4, padding=0)}, 4),
    # pixels of elsewhere, the shorter way round
    (lambda net, x: net.a(x + x.roll((2, -3), (2, 3)) + x.roll(-1, 2)), {"a": conv(3, 8)}, 6),
    # a convolution as a matrix product
    (
        lambda net, x: net.b(
            (net.w.weight[:, :, 0, 0] @ F.unfold(x, 3, padding=2, dilation=2)).view(1, 8, *x.shape[2:])
        ),
        {"w": nn.Conv2d(27, 8, 1), "b": conv(8, 8)},
        7,
    ),
    (lambda net, x: F.fold(net.a(x).flatten(2), (2 * x.shape[2], 2 * x.shape[3]), 2, stride=2), {"a": conv(3, 32)}, 3),
    # between pixels, where two or four of them come in
    (
        lambda net, x: net.b(F.interpolate(net.a(x), scale_factor=2, mode="bilinear")),
        {"a": conv(3, 8), "b": conv(8, 8)},
        5,
    ),
    (lambda net, x: net.a(F.interpolate(x, scale_factor=3, mode="bicubic")), {"a": conv(3, 8)}, 5),
    (lambda net, x: net.a(F.interpolate(x, scale_factor=0.5, mode="bilinear")), {"a": conv(3, 8)}, 6),
    (lambda net, x: net.a(torch.fake_quantize_per_tensor_affine(x, 0.1, 0, -128, 127)), {"a": conv(3, 8)}, 3),
    (
        lambda net, x: net.a(
            torch.fake_quantize_per_channel_affine(x, torch.ones(3), torch.zeros(3, dtype=torch.int32), 1, -128, 127)
        ),
        {"a": conv(3, 8)},
        3,
    ),
]


def split(x):
    return x.reshape(1, 3, x.shape[2] // 2, 2, x.shape[3] // 2, 2)


# a maximum over space, however it is written; `point` is a 1x1
MAXIMA = [
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
    lambda net, x: torch.maximum(x, x.roll(1, 3)),
    lambda net, x: x * x.roll(1, 3).amax((2, 3), keepdim=True),
]

# a maximum over what is not known to be space or features
UNSURE_MAXIMA = [
    lambda net, x: split(x).amax((3, 5)),
    lambda net, x: F.pixel_unshuffle(x, 2).view(1, 3, 4, 16, 16).amax(2),
    lambda net, x: torch.maximum(*x.chunk(2, 3)),
    # of the pixels of a window, which are features by then
    lambda net, x: F.unfold(x, 2, stride=2).view(1, 3, 4, 16, 16).amax(2),
    lambda net, x: torch.maximum(*F.unfold(x, (2, 1), stride=(2, 1)).view(1, 3, 2, 16, 32).unbind(2)),
    lambda net, x: x.roll(1, 3).unbind(3)[0].amax(2)[:, :, None, None] * x,
]

# a maximum over features, or of a number and a constant
FEATURE_MAXIMA = [
    lambda net, x: torch.maximum(*net.a(x).chunk(2, 1)),  # maxout
    lambda net, x: net.a(x).view(1, 4, 2, 32, 32).amax(2),
    lambda net, x: torch.maximum(net.b(x), net.c(x)),
    lambda net, x: torch.maximum(net.d(x), net.d(x) + net.e(net.d(x))),
    lambda net, x: torch.maximum(net.d(x), 0.1 * net.d(x)),
    lambda net, x: torch.maximum(net.d(x)[..., 1:], 0.1 * net.d(x)[..., 1:]),
    lambda net, x: net.d(x).clamp(0, 6),
    lambda net, x: torch.cat([net.d(x), net.e(net.d(x))], 1).amax(1, keepdim=True).repeat(1, 4, 1, 1),
]

# what is left of a map before it is averaged, and the fault that this is; `a` and `point` keep the size, `b` does not
AVERAGED_PARTS = [
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
]

# a depthwise convolution, what stands between it and a 1x1, and whether the two are one layer
SEPARABLE = [
    (lambda net, x: net.point(F.relu(net.norm(net.depth(x)))), True),
    (lambda net, x: net.point(F.silu(net.depth(x))), True),
    (lambda net, x: net.point(net.depth(x) * torch.sigmoid(net.depth(x).mean((2, 3), keepdim=True))), False),
    (lambda net, x: net.point(net.depth(x) + x), False),
    (lambda net, x: net.point(F.max_pool2d(net.depth(x), 2)), False),
    (lambda net, x: net.wide(net.depth(x)), False),
]

# what is not understood, and the layer that is named
UNKNOWN = [
    (lambda net, x: net.a(torch.fft.fft2(x).real), "fft_c2c"),
    (lambda net, x: net.a(F.grid_sample(x, torch.zeros(1, 32, 32, 2), align_corners=True)), "grid_sampler_2d"),
    (lambda net, x: net.a(torch.from_numpy(x.numpy() * 2)), "the network"),
    (lambda net, x: net.a(x) if x.max().item() > 0 else net.a(-x), "the network"),
    (lambda net, x: net.a(F.interpolate(x, scale_factor=2, mode="nearest-exact")), "interpolate"),
]


def one_of(table, function):
    """A network of one of the tables of functions, with the modules that the functions of that table use."""
    modules = {
        "MAXIMA": {"a": conv(3, 8), "point": conv(3, 3, 1)},
        "UNSURE_MAXIMA": {"a": conv(3, 8)},
        "FEATURE_MAXIMA": {"a": conv(3, 8), "b": conv(3, 4), "c": conv(3, 4, 5), "d": conv(3, 4), "e": conv(4, 4)},
        "AVERAGED_PARTS": {"a": conv(3, 8), "b": conv(8, 8, padding=0), "point": nn.Conv2d(8, 8, 1)},
        "SEPARABLE": {
            "depth": conv(3, 3, groups=3),
            "norm": nn.BatchNorm2d(3),
            "point": conv(3, 8, 1),
            "wide": conv(3, 8, 3),
        },
        "UNKNOWN": {"a": conv(3, 8)},
    }[table]
    if table in ("MAXIMA", "UNSURE_MAXIMA"):
        return Net(lambda net, x: net.a(function(net, x)), **modules)
    return Net(function, channels=4 if table == "FEATURE_MAXIMA" else 8, **modules)


def field(function, channels=8, shape=(3, 32, 32), **modules):
    return analysis.analyze(Net(function, channels, **modules), shape).receptive_field
