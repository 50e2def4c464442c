"""Networks that break one rule of the brief each and obey all the others. They take 3x32x32.

The base, `Sound`: four blocks of three 3x3 convolutions; C1 and C2 end with stride 2, C3 ends with dilation 2. Its
receptive field, each 3x3 adding 2 * (product of the strides before it) * dilation: C1 1 + 2 + 2 + 2 = 7,
C2 7 + 4 + 4 + 4 = 19, C3 19 + 8 + 8 + 16 = 51, C4 51 + 8 + 8 + 8 = 75.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def conv(inputs: int, outputs: int, stride: int = 1, dilation: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution, batch norm, ReLU: kernel**2 * inputs * outputs + 2 * outputs parameters."""
    padding = dilation * (kernel - 1) // 2
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


def separable(inputs: int, outputs: int) -> nn.Sequential:
    """Depthwise 3x3, pointwise, batch norm, ReLU: 9 * inputs + inputs * outputs + 2 * outputs parameters."""
    depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
    pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
    return nn.Sequential(depthwise, pointwise, nn.BatchNorm2d(outputs), nn.ReLU())


class Sound(nn.Module):
    """Obeys every rule; the faulty ones change one thing. C1 to C3 have 31,288 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Sequential(conv(3, 8), conv(8, 8), conv(8, 16, stride=2))
        self.c2 = nn.Sequential(conv(16, 16), conv(16, 16), conv(16, 32, stride=2))
        self.c3 = nn.Sequential(separable(32, 32), conv(32, 32), conv(32, 32, dilation=2))
        self.c4 = nn.Sequential(conv(32, 32), conv(32, 32), conv(32, 64))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, 10, bias=False)

    def features(self, x: Tensor) -> Tensor:
        return self.c4(self.c3(self.c2(self.c1(x))))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.features(x)).flatten(1))


class TooManyParameters(Sound):
    """203,856 parameters.

    31,288 + (9*32*112 + 224) + (9*112*60 + 120) + (9*60*144 + 288) + 144*10
    = 31,288 + 32,480 + 60,600 + 78,048 + 1,440.
    """

    def __init__(self) -> None:
        super().__init__()
        self.c4 = nn.Sequential(conv(32, 112), conv(112, 60), conv(60, 144))
        self.fc = nn.Linear(144, 10, bias=False)


class PlainList(Sound):
    """Two convolutions of 9 * 64 * 64 in a plain list: they run, and the network does not know of them."""

    def __init__(self) -> None:
        super().__init__()
        self.extra = [nn.Conv2d(64, 64, 3, padding=1, bias=False) for _ in range(2)]

    def features(self, x: Tensor) -> Tensor:
        x = super().features(x)
        for layer in self.extra:
            x = x + layer(x)
        return x


class SmallField(Sound):
    """Receptive field 43: 19 after C2, C3 is 19 + 8 + 0 + 16 = 43, C4 only looks at single pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.c3 = nn.Sequential(separable(32, 32), conv(32, 32, kernel=1), conv(32, 32, dilation=2))
        self.c4 = nn.Sequential(conv(32, 32, kernel=1), conv(32, 32, kernel=1), conv(32, 64, kernel=1))


class FalseSeparable(Sound):
    """C3 begins with a 1x1 that scales each channel and a 1x1 over all: two convolutions, neither sees a neighbour."""

    def __init__(self) -> None:
        super().__init__()
        scale = nn.Conv2d(32, 32, 1, groups=32, bias=False)
        self.c3 = nn.Sequential(scale, nn.Conv2d(32, 32, 1, bias=False), conv(32, 32, dilation=2))


class DeadDilation(Sound):
    """C1 to C3 end with dilation 32 on 32x32 pictures, of which the middle tap alone sees the map.

    The receptive field is 1 + 3 * 64 + 2 = 195 on an endless picture, 3 on this one, through the depthwise layer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Sequential(conv(3, 8, kernel=1), conv(8, 8, kernel=1), conv(8, 16, dilation=32))
        self.c2 = nn.Sequential(conv(16, 16, kernel=1), conv(16, 16, kernel=1), conv(16, 32, dilation=32))
        self.c3 = nn.Sequential(separable(32, 32), conv(32, 32, kernel=1), conv(32, 32, dilation=32))
        self.c4 = nn.Sequential(conv(32, 32, kernel=1), conv(32, 32, kernel=1), conv(32, 64, kernel=1))


class MaxPooling(Sound):
    """A max pooling after C3."""

    def __init__(self) -> None:
        super().__init__()
        self.pool3 = nn.MaxPool2d(2)

    def features(self, x: Tensor) -> Tensor:
        return self.c4(self.pool3(self.c3(self.c2(self.c1(x)))))


class StrideOnePooling(Sound):
    """A max pooling after C3 that keeps the size of the map."""

    def __init__(self) -> None:
        super().__init__()
        self.pool3 = nn.MaxPool2d(3, stride=1, padding=1)

    def features(self, x: Tensor) -> Tensor:
        return self.c4(self.pool3(self.c3(self.c2(self.c1(x)))))


class ShiftedMaximum(Sound):
    """The larger of two neighbours after C3: a max pooling by another name."""

    def features(self, x: Tensor) -> Tensor:
        x = self.c3(self.c2(self.c1(x)))
        return self.c4(torch.maximum(x[..., 1:], x[..., :-1]))


class AveragePooling(Sound):
    """Dilation ends C1 and C2; a 2x2 average pooling after C2 shrinks the map. Every rule holds, the bonus does not.

    C1 1 + 2 + 2 + 4 = 9, C2 9 + 2 + 2 + 4 = 17, 18 with the pooling, C3 18 + 4 + 4 + 8 = 34, C4 34 + 12 = 46.
    """

    def __init__(self) -> None:
        super().__init__()
        self.c1[2] = conv(8, 16, dilation=2)
        self.c2[2] = conv(16, 32, dilation=2)
        self.pool2 = nn.AvgPool2d(2)

    def features(self, x: Tensor) -> Tensor:
        return self.c4(self.c3(self.pool2(self.c2(self.c1(x)))))


class ShortBlock(Sound):
    """C4 has two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.c4 = nn.Sequential(conv(32, 32), conv(32, 64))


class LongBlock(Sound):
    """C2 has four convolutions, two of which keep the width."""

    def __init__(self) -> None:
        super().__init__()
        self.c2 = nn.Sequential(conv(16, 16), conv(16, 16), conv(16, 16), conv(16, 32, stride=2))


class LongestBlock(Sound):
    """C2 has five convolutions, three of which keep the width."""

    def __init__(self) -> None:
        super().__init__()
        same = [separable(16, 16), conv(16, 16), conv(16, 16), conv(16, 16)]
        self.c2 = nn.Sequential(*same, conv(16, 32, stride=2))


class BlockEndsPlain(Sound):
    """C2 ends with a plain convolution. Field: 7 + 4*3 = 19, + 4 + 4 + 8 = 35, + 4*3 = 47."""

    def __init__(self) -> None:
        super().__init__()
        self.c2 = nn.Sequential(conv(16, 16), conv(16, 16), conv(16, 32))


class NoSeparable(Sound):
    """C3 begins with a dense convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.c3 = nn.Sequential(conv(32, 32), conv(32, 32), conv(32, 32, dilation=2))


class NoDilation(Sound):
    """C3 ends with stride 2 instead."""

    def __init__(self) -> None:
        super().__init__()
        self.c3 = nn.Sequential(separable(32, 32), conv(32, 32), conv(32, 32, stride=2))


class FlattenedHead(Sound):
    """The 64x8x8 map is flattened into the classifier: 40,960 weights in place of 640."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64 * 8 * 8, 10, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).flatten(1))


class CroppedHead(Sound):
    """One place of the 8x8 map is averaged."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x)[:, :, 4:5, 4:5].mean((2, 3)))


class SwallowedMap(Sound):
    """A depthwise kernel as large as the 8x8 map, so that the average is one of a single number."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Conv2d(64, 64, 8, groups=64, bias=False)

    def features(self, x: Tensor) -> Tensor:
        return self.last(super().features(x))


class MaximumHead(Sound):
    """A global maximum in place of the average: no max pooling layer, and no global average pooling."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).amax(dim=(2, 3)))


class MissingBlock(nn.Module):
    """Blocks by other names."""

    def __init__(self) -> None:
        super().__init__()
        sound = Sound()
        self.stem, self.c2, self.c3, self.c4 = sound.c1, sound.c2, sound.c3, sound.c4
        self.pool, self.fc = sound.pool, sound.fc

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.c4(self.c3(self.c2(self.stem(x))))).flatten(1))
