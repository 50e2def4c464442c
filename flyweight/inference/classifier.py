"""Images in, logits out: the one path that the test pass, the evaluation and every prediction take."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor, fx, nn

from flyweight.data.stored import Parts
from flyweight.images.preprocess import normalize
from flyweight.inference.batch import images_at_once
from flyweight.inference.fold import _compiled, _folded, _proven
from flyweight.machine.device import gains_from_bfloat16
from flyweight.machine.together import of_all, processes
from flyweight.networks.modes import evaluating


class Classifier:
    """A network made ready to be asked: the same answers, sooner.

    A batch norm that follows a convolution is folded into it (Jacob et al. 2018, "Quantization and training of neural
    networks", section 3.2), the weights lie channels-last, as the images do, and small batches, for which Python is
    slower than the arithmetic, run without it; a single image with its convolutions fused with what follows them.
    The answers differ from the network's own by the rounding of float32. A network that cannot be traced, that chooses
    its way by what it sees, or that says something else afterwards, is asked as it is. What it gains stands in
    docs/performance.md.

    Args:
        network: (N, C, H, W) -> (N, classes), in eval mode; it is not changed and should not change from here on.
        shape: (C, H, W) of an image.
        mean: of each channel in 0 to 1, from the network's card.
        std: of each channel in 0 to 1, from the network's card.
        precision: ``float32``, or ``auto``: bfloat16 for large batches where the processor multiplies it natively,
            which changes a few answers in a thousand.
    """

    def __init__(
        self,
        network: nn.Module,
        shape: Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
        precision: Literal["float32", "auto"] = "float32",
    ) -> None:
        self.mean, self.std = tuple(mean), tuple(std)
        self.device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
        self.bfloat16 = precision == "auto" and gains_from_bfloat16(self.device)
        channels, height, width = shape
        sample = np.random.default_rng(0).integers(0, 256, (3, height, width, channels), dtype=np.uint8)
        self._sample = self._inputs(sample)
        with torch.no_grad():
            self.network = _proven(_folded, network, self._sample)

    @cached_property
    def compiled(self) -> nn.Module:
        """The network for small batches; made when the first one comes, for a test pass has none."""
        with torch.no_grad():
            return _proven(_compiled, self.network, self._sample) if self.device.type == "cpu" else self.network

    @cached_property
    def _at_once(self) -> int:
        """How many images of a large batch the network is given at once; found when the first one comes."""
        return images_at_once(self.network, self._sample[:1])

    def __call__(self, images: np.ndarray, often: bool = True) -> Tensor:
        """(N, H, W, C) uint8 to (N, classes) logits, float32 on the CPU.

        Args:
            images: a batch.
            often: whether more are to come; else nothing is compiled for a small batch, which would take longer than it
                saves, and torch never gives back the memory of what it has compiled.
        """
        small = len(images) < 16
        network = self.compiled if small and often else self.network
        # of a small batch bfloat16 gains less than the conversions cost
        low = self.bfloat16 and not small
        # parts were measured in float32 on processors alone; what could not be folded may say something else of parts
        whole = small or low or self.device.type != "cpu" or not isinstance(self.network, fx.GraphModule)
        starts = [0] if whole else range(0, len(images), self._at_once)
        size = len(images) if whole else self._at_once
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=low):
            return torch.cat([network(self._inputs(images[at : at + size])).float().cpu() for at in starts])

    def answers(self, inputs: Tensor) -> Tensor:
        """(N, C, H, W) normalised images on this device to (N, classes) logits, float32, without a gradient."""
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            return self.network(inputs).float()

    def _inputs(self, images: np.ndarray) -> Tensor:
        # the copy makes read-only memory-mapped images writable, as torch wants them
        return normalize(torch.from_numpy(np.array(images)).to(self.device), self.mean, self.std)


def logits(
    network: nn.Module,
    images: Parts,
    mean: Sequence[float],
    std: Sequence[float],
    batch_size: int = 128,
    together: bool = False,
) -> Tensor:
    """What the network says about each image, in float32.

    Args:
        network: (N, C, H, W) -> (N, classes); its mode is left as it was.
        images: (N, H, W, C) uint8.
        mean: of each channel in 0 to 1, from the network's card.
        std: of each channel in 0 to 1, from the network's card.
        batch_size: images at once.
        together: whether all processes of this job ask, each about some of the batches; all get all answers, the same
            to the bit as one process.

    Returns:
        (N, classes) float32 on the CPU.

    Raises:
        PeerError: another process has ended.
    """
    with evaluating(network):
        classify = Classifier(network, (images.shape[3], *images.shape[1:3]), mean, std)
        return about_all(classify, images, batch_size, together)


def about_all(classify: Classifier, images: Parts, batch_size: int = 128, together: bool = False) -> Tensor:
    """What a network that is made ready says about each image; as :func:`logits`, whose arguments they are."""
    state = processes() if together else None
    rank, world = (0, 1) if state is None else (state.process_index, state.num_processes)
    starts = range(0, len(images), batch_size)
    own = [classify(images[at : at + batch_size], often=False) for at in starts[rank::world]]
    if world == 1:
        return torch.cat(own)
    everyones = of_all(own)
    return torch.cat([everyones[number % world][number // world] for number in range(len(starts))])
