"""Networks of the shapes that people publish, small enough to try edits on. They take 3x32x32, for ten classes."""

import torch
import torch.nn.functional as F
from torch import nn


def unit(inputs, outputs, kernel=3, stride=1, groups=1, activation=nn.ReLU):
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))


def head(channels):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


class LeNet5(nn.Module):
    """LeCun et al. 1998, with ReLU."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = torch.flatten(F.max_pool2d(F.relu(self.conv2(x)), 2), 1)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


class Vgg(nn.Module):
    """Simonyan and Zisserman 2015, with batch norm, narrow, and its flattened head."""

    def __init__(self):
        super().__init__()
        layers, inputs = [], 3
        for width in (16, "M", 32, "M", 64, 64, "M"):
            layers += [nn.MaxPool2d(2)] if width == "M" else list(unit(inputs, width))
            inputs = inputs if width == "M" else width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Linear(64 * 16, 128), nn.ReLU(), nn.Dropout(), nn.Linear(128, 10))

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class BasicBlock(nn.Module):
    """He et al. 2016, two 3x3 and what goes around them."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.shortcut = unit(inputs, outputs, 1, stride, activation=None) if inputs != outputs else nn.Identity()

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class Bottleneck(nn.Module):
    """He et al. 2016, 1x1, 3x3 and 1x1."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        middle = outputs // 4
        self.body = nn.Sequential(
            unit(inputs, middle, 1), unit(middle, middle, 3, stride), unit(middle, outputs, 1, activation=None)
        )
        self.shortcut = unit(inputs, outputs, 1, stride, activation=None)

    def forward(self, x):
        return F.relu(self.body(x) + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self, block=BasicBlock, widths=(16, 32, 64), stem=16, pool=False):
        super().__init__()
        self.stem = nn.Sequential(*unit(3, stem), *([nn.MaxPool2d(3, 2, 1)] if pool else []))
        inputs = stem
        for number, width in enumerate(widths, 1):
            stride = 1 if number == 1 else 2
            setattr(self, f"layer{number}", nn.Sequential(block(inputs, width, stride), block(width, width, 1)))
            inputs = width
        self.fc = nn.Linear(inputs, 10)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.stem(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class MobileNetV1(nn.Sequential):
    """Howard et al. 2017, depthwise and pointwise with norms and activations between."""

    def __init__(self):
        layers, inputs = [unit(3, 16)], 16
        for outputs, stride in ((32, 1), (48, 2), (48, 1), (96, 2)):
            layers.append(nn.Sequential(unit(inputs, inputs, 3, stride, groups=inputs), unit(inputs, outputs, 1)))
            inputs = outputs
        super().__init__(*layers, head(inputs))


class Inverted(nn.Module):
    """Sandler et al. 2018, with a squeeze and excite where asked (Howard et al. 2019)."""

    def __init__(self, inputs, outputs, stride, gate, activation):
        super().__init__()
        wide = inputs * 3
        self.expand = unit(inputs, wide, 1, activation=activation)
        self.depthwise = unit(wide, wide, 3, stride, groups=wide, activation=activation)
        self.gate = (
            nn.Sequential(nn.Conv2d(wide, wide // 4, 1), nn.ReLU(), nn.Conv2d(wide // 4, wide, 1)) if gate else None
        )
        self.project = unit(wide, outputs, 1, activation=None)
        self.same = stride == 1 and inputs == outputs

    def forward(self, x):
        y = self.depthwise(self.expand(x))
        if self.gate is not None:
            y = y * self.gate(F.adaptive_avg_pool2d(y, 1)).sigmoid()
        y = self.project(y)
        return x + y if self.same else y


class MobileNet(nn.Module):
    def __init__(self, gate=False, activation=nn.ReLU6):
        super().__init__()
        self.stem = unit(3, 12, activation=activation)
        rows = ((16, 1), (16, 1), (24, 2), (24, 1), (32, 2))
        self.blocks, inputs = nn.ModuleList(), 12
        for outputs, stride in rows:
            self.blocks.append(Inverted(inputs, outputs, stride, gate, activation))
            inputs = outputs
        self.last, self.head = unit(inputs, 64, 1, activation=activation), head(64)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.last(x))


class Fire(nn.Module):
    """Iandola et al. 2016, a narrow 1x1 and then 1x1 beside 3x3."""

    def __init__(self, inputs, squeeze, expand):
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.one, self.three = nn.Conv2d(squeeze, expand, 1), nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x):
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.one(x)), F.relu(self.three(x))], 1)


class SqueezeNet(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), Fire(16, 8, 16),
            nn.MaxPool2d(2), Fire(32, 8, 32),
            nn.Conv2d(64, 10, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip


class DenseNet(nn.Module):
    """Huang et al. 2017, each layer reads all before it."""

    def __init__(self):
        super().__init__()
        self.stem, self.layers = nn.Conv2d(3, 16, 3, padding=1), nn.ModuleList()
        for number in range(4):
            self.layers.append(
                nn.Sequential(nn.BatchNorm2d(16 + 8 * number), nn.ReLU(), nn.Conv2d(16 + 8 * number, 8, 3, padding=1))
            )
        self.transition = nn.Sequential(nn.BatchNorm2d(48), nn.ReLU(), nn.Conv2d(48, 24, 1), nn.AvgPool2d(2))
        self.last, self.head = unit(24, 32), head(32)

    def forward(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return self.head(self.last(self.transition(x)))


class AllCnn(nn.Sequential):
    """Springenberg et al. 2015, strides in place of pooling."""

    def __init__(self):
        rows = ((3, 24, 1), (24, 24, 2), (24, 48, 1), (48, 48, 2), (48, 48, 1))
        super().__init__(
            *(unit(i, o, 3, s) for i, o, s in rows), nn.Conv2d(48, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )


class ConvNext(nn.Module):
    """Liu et al. 2022: 7x7 depthwise, a norm over channels, 1x1 wide and narrow."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 2, 2)
        self.depthwise = nn.ModuleList(nn.Conv2d(24, 24, 7, padding=3, groups=24) for _ in range(2))
        self.norms = nn.ModuleList(nn.GroupNorm(1, 24) for _ in range(2))
        self.wide = nn.ModuleList(nn.Conv2d(24, 72, 1) for _ in range(2))
        self.narrow = nn.ModuleList(nn.Conv2d(72, 24, 1) for _ in range(2))
        self.head = head(24)

    def forward(self, x):
        x = self.stem(x)
        for depthwise, norm, wide, narrow in zip(self.depthwise, self.norms, self.wide, self.narrow, strict=True):
            x = x + narrow(F.gelu(wide(norm(depthwise(x)))))
        return self.head(x)


class RepVgg(nn.Module):
    """Ding et al. 2021: 3x3, 1x1 and nothing, added."""

    def __init__(self):
        super().__init__()
        self.stem = unit(3, 24, 3, 2)
        self.threes = nn.ModuleList(unit(24, 24, activation=None) for _ in range(3))
        self.ones = nn.ModuleList(unit(24, 24, 1, activation=None) for _ in range(3))
        self.down, self.head = unit(24, 48, 3, 2), head(48)

    def forward(self, x):
        x = self.stem(x)
        for three, one in zip(self.threes, self.ones, strict=True):
            x = F.relu(three(x) + one(x) + x)
        return self.head(self.down(x))


class NetworkInNetwork(nn.Sequential):
    """Lin et al. 2014."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 32, 5, padding=2), nn.ReLU(), nn.Conv2d(32, 24, 1), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
            nn.Conv2d(24, 32, 5, padding=2), nn.ReLU(), nn.Conv2d(32, 32, 1), nn.ReLU(), nn.AvgPool2d(3, 2, 1),
            nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip


NETWORKS = {
    "LeNet-5": LeNet5,
    "VGG": Vgg,
    "ResNet": ResNet,
    "ResNet, pooled stem": lambda: ResNet(pool=True),
    "ResNet, bottlenecks": lambda: ResNet(Bottleneck, (32, 64, 96)),
    "MobileNetV1": MobileNetV1,
    "MobileNetV2": MobileNet,
    "MobileNetV3": lambda: MobileNet(True, nn.Hardswish),
    "EfficientNet": lambda: MobileNet(True, nn.SiLU),
    "SqueezeNet": SqueezeNet,
    "DenseNet": DenseNet,
    "All-CNN": AllCnn,
    "ConvNeXt": ConvNext,
    "RepVGG": RepVgg,
    "Network in network": NetworkInNetwork,
}
