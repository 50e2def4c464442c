"""The course's way to train, as an honest student would write it: the peer that flyweight's loop is measured against.

Plain PyTorch with its defaults: float32, NCHW, one image at a time through albumentations in a DataLoader with two
workers, batches of 128, dropout after every convolution and one-cycle SGD. It is neither slowed down nor sped up.
It uses nothing of flyweight but the images.

    python -m flyweight.bench.peers.course_loop --epochs 1
"""

import argparse
import json
import os
import time
import warnings

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import albumentations as A
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

from flyweight import data


class Images(Dataset):
    """Images of a split, transformed one by one."""

    def __init__(self, split, transform):
        self.split, self.transform = split, transform

    def __len__(self):
        return len(self.split)

    def __getitem__(self, index):
        """(image (3, 32, 32) float32, label)."""
        image = self.transform(image=self.split.images[index])["image"]
        return torch.from_numpy(image.transpose(2, 0, 1)).contiguous(), int(self.split.labels[index])


def transforms(mean, std):
    """The brief's augmentation, and normalisation alone for the test."""
    normalize = A.Normalize(mean=mean, std=std)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="ShiftScaleRotate is a special case")
        augment = A.Compose(
            [
                A.HorizontalFlip(p=0.5),
                A.ShiftScaleRotate(shift_limit=0.0625, scale_limit=0.1, rotate_limit=15, p=0.5),
                A.CoarseDropout(
                    num_holes_range=(1, 1),
                    hole_height_range=(16, 16),
                    hole_width_range=(16, 16),
                    fill=tuple(255 * channel for channel in mean),
                    p=0.5,
                ),
                normalize,
            ]
        )
    return augment, A.Compose([normalize])


def train_epoch(network, loader, optimizer, schedule):
    """One epoch; returns the share of training images that were classified rightly, in percent."""
    network.train()
    correct = seen = 0
    for images, labels in loader:
        optimizer.zero_grad()
        output = network(images)
        loss = F.cross_entropy(output, labels)
        loss.backward()
        optimizer.step()
        schedule.step()
        correct += (output.argmax(dim=1) == labels).sum().item()
        seen += len(labels)
    return 100 * correct / seen


def test(network, loader):
    """Accuracy in percent."""
    network.eval()
    correct = 0
    with torch.no_grad():
        for images, labels in loader:
            correct += (network(images).argmax(dim=1) == labels).sum().item()
    return 100 * correct / len(loader.dataset)


def train(network, training, testing, optimizer, schedule, options):
    """Train with a test after each epoch, and print a line or a JSON object an epoch."""
    for epoch in range(1, options.epochs + 1):
        began = time.perf_counter()
        train_accuracy = train_epoch(network, training, optimizer, schedule)
        rate = len(training.dataset) / (time.perf_counter() - began)
        accuracy = test(network, testing)
        seconds = time.perf_counter() - began
        row = {"epoch": epoch, "test_accuracy": accuracy, "seconds": seconds, "images_per_second": rate}
        line = (
            f"epoch {epoch}: train {train_accuracy:.2f} %, test {accuracy:.2f} %, {seconds:.1f} s, {rate:.0f} images/s"
        )
        print(json.dumps(row) if options.json else line, flush=True)


def layer(convolution, channels, dropout):
    """A convolution and what follows each one in the course network."""
    steps = [convolution, nn.ReLU(), nn.BatchNorm2d(channels)]
    return nn.Sequential(*steps, nn.Dropout(0.1)) if dropout else nn.Sequential(*steps)


class CourseNetwork(nn.Module):
    """The brief's network, layer for layer: 174,352 parameters."""

    def __init__(self, dropout=True):
        super().__init__()

        def conv(inputs, outputs, **options):
            return layer(nn.Conv2d(inputs, outputs, 3, bias=False, **options), outputs, dropout)

        depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32, bias=False)
        separable = nn.Sequential(depthwise, nn.Conv2d(32, 48, 1, bias=False))
        same, half = {"padding": 1}, {"padding": 1, "stride": 2}
        self.c1 = nn.Sequential(conv(3, 16, **same), conv(16, 16, **same), conv(16, 16, padding=1, dilation=2))
        self.c2 = nn.Sequential(conv(16, 32, **same), conv(32, 32, **same), conv(32, 32, **half))
        self.c3 = nn.Sequential(layer(separable, 48, dropout), conv(48, 48, **same), conv(48, 48, **half))
        self.c4 = nn.Sequential(conv(48, 64, **same), conv(64, 64, **same), conv(64, 64, **same))
        self.out = nn.Sequential(nn.AvgPool2d(8), nn.Conv2d(64, 10, 1, bias=False))

    def forward(self, x):
        """(N, 3, 32, 32) -> (N, 10) logits."""
        x = self.c4(self.c3(self.c2(self.c1(x))))
        return self.out(x).flatten(1)


def main():
    """Train and print a line an epoch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--images", type=int, default=50_000, help="train on so many images only")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--no-dropout", action="store_true")
    parser.add_argument("--data", default="cifar10", choices=["cifar10", "digits"])
    parser.add_argument("--json", action="store_true", help="print one JSON object an epoch")
    options = parser.parse_args()
    torch.manual_seed(0)
    np.random.seed(0)
    dataset = data.load(options.data)
    if options.images < len(dataset.train):
        dataset = data.subset(dataset, options.images, min(1000, len(dataset.test)))
    augment, plain = transforms(dataset.mean, dataset.std)
    loaders = {"batch_size": options.batch_size, "num_workers": 2}
    training = DataLoader(Images(dataset.train, augment), shuffle=True, **loaders)
    testing = DataLoader(Images(dataset.test, plain), **loaders)
    network = CourseNetwork(dropout=not options.no_dropout)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=len(training) * options.epochs)
    train(network, training, testing, optimizer, schedule, options)


if __name__ == "__main__":
    main()
