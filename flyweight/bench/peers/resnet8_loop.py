"""MLPerf Tiny's ResNet-8 trained in plain PyTorch the way its reference trains it in Keras: the second peer.

Batches of 32, Adam at 0.001 times 0.99 an epoch, rotation by 15 degrees, shifts by a tenth, horizontal flip, pixels in
0 to 255, 500 epochs; L2 of 0.0001 on the kernels. The network and its settings were read from
https://github.com/mlcommons/tiny, benchmark/training/image_classification: 78,186 parameters; 85 % of the training
images after about 64 epochs in its own log. It is neither slowed down nor sped up.

    python -m flyweight.bench.peers.resnet8_loop --epochs 1
"""

import argparse

import albumentations as A
import cv2
import torch
from torch import nn
from torch.utils.data import DataLoader

from flyweight import data
from flyweight.bench.peers.course_loop import Images, train


class Block(nn.Module):
    """Two convolutions and a way around them; (N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1),
            nn.BatchNorm2d(outputs),
        )
        self.around = nn.Identity() if stride == 1 else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x):
        """The sum of both ways, rectified."""
        return torch.relu(self.around(x) + self.body(x))


class ResNet8(nn.Sequential):
    """(N, 3, 32, 32) -> (N, 10) logits."""

    def __init__(self):
        stem = [nn.Conv2d(3, 16, 3, 1, 1), nn.BatchNorm2d(16), nn.ReLU()]
        blocks = [Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2)]
        super().__init__(*stem, *blocks, nn.AvgPool2d(8), nn.Flatten(), nn.Linear(64, 10))


def transforms():
    """The reference's augmentation, and none for the test; both give float32 in 0 to 255."""
    unscaled = A.ToFloat(max_value=1.0)
    augment = A.Compose(
        [
            A.Affine(
                rotate=(-15, 15),
                translate_percent={"x": (-0.1, 0.1), "y": (-0.1, 0.1)},
                border_mode=cv2.BORDER_REPLICATE,
                p=1.0,
            ),
            A.HorizontalFlip(p=0.5),
            unscaled,
        ]
    )
    return augment, A.Compose([unscaled])


def main():
    """Train and print a line an epoch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=500)
    parser.add_argument("--images", type=int, default=50_000, help="train on so many images only")
    parser.add_argument("--data", default="cifar10", choices=["cifar10", "digits"])
    parser.add_argument("--json", action="store_true", help="print one JSON object an epoch")
    options = parser.parse_args()
    torch.manual_seed(0)
    dataset = data.load(options.data)
    if options.images < len(dataset.train):
        dataset = data.subset(dataset, options.images, min(1000, len(dataset.test)))
    augment, plain = transforms()
    training = DataLoader(Images(dataset.train, augment), batch_size=32, shuffle=True, num_workers=2)
    testing = DataLoader(Images(dataset.test, plain), batch_size=32, num_workers=2)
    network = ResNet8()
    kernels = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim == 1]
    # Keras adds 0.0001 * w^2 to the loss, whose gradient is 0.0002 * w
    optimizer = torch.optim.Adam([{"params": kernels, "weight_decay": 2e-4}, {"params": others}], lr=0.001)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.99 ** (step // len(training)))
    train(network, training, testing, optimizer, schedule, options)


if __name__ == "__main__":
    main()
