"""A training step that several processes take together, as one process takes it.

Each has its share of the batch. The statistics of the batch norms, the gradients and the loss are those of the whole
batch. What is drawn for a batch (the share of mixup, the phase of a dilated map, the masks of dropout) all draw from
equal generators, so that it is what one process draws. Networks of the user's own may draw as they like, each process
for its own images: from generators that follow from the seed, the epoch, the step and the process, so that none needs
to be kept. Python's and NumPy's do so with one process as well.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from flyweight.machine.together import Share, from_first, processes, summed
from flyweight.networks.layers import Dropout
from flyweight.networks.whole import WholeBatch


def prepare(network: nn.Module, share: Share) -> None:
    """Tell the network's dropout which images of a batch it is given; for one process, that it is given all."""
    for module in network.modules():
        if isinstance(module, Dropout):
            module.share = share if share.world > 1 else None


@contextmanager
def step(share: Share, place: tuple[int, int, int], custom: bool) -> Iterator[None]:
    """Where the network runs in a training step.

    Args:
        share: of this process.
        place: seed, epoch and step.
        custom: whether the network is one of the user's own.
    """
    seed = int(np.random.SeedSequence((*place, share.rank)).generate_state(1, np.uint64)[0] >> 1)
    with ExitStack() as held:
        if custom:
            held.enter_context(_drawing_apart(seed, share.world > 1))
        if share.world > 1:
            held.enter_context(WholeBatch())
            device = processes().device
            if device.type != "cpu":
                # what a device draws, it draws for single images: our masks of dropout are drawn on CPUs alone
                torch.get_device_module(device).manual_seed(seed)
        yield


@contextmanager
def _drawing_apart(seed: int, of_torch: bool) -> Iterator[None]:
    """Let generators that no checkpoint keeps, Python's and NumPy's, follow from a seed, and torch's if asked."""
    common, python, numpy = torch.get_rng_state(), random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    if of_torch:
        torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        if of_torch:
            torch.set_rng_state(common)


def pool(parameters: Iterable[Tensor], numbers: Tensor) -> Tensor:
    """Sum up the gradients over the processes, in place.

    Args:
        parameters: those without a gradient in any process stay without.
        numbers: (N,) float32 of this process that are to be summed up, too.

    Returns:
        (N,) their sums.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    kind = torch.float32
    for parameter in trained:
        kind = torch.promote_types(kind, parameter.dtype)
    # a process whose images took another way through the network has no gradient where others have one
    here = [parameter.grad is not None for parameter in trained]
    gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in trained]
    marks = torch.tensor(here, device=numbers.device)
    parts = [part.detach().flatten().to(kind) for part in (*gradients, marks, numbers)]
    *sums, used, totals = summed(torch.cat(parts)).split([part.numel() for part in parts])
    for parameter, gradient, total, anywhere in zip(trained, gradients, sums, used.tolist(), strict=True):
        if anywhere:
            parameter.grad = gradient.copy_(total.view_as(gradient))
    return totals


def agree(networks: Iterable[nn.Module], random: bool) -> None:
    """Let all have the weights of the first process, and its random state: unequal processors round unequally.

    Args:
        networks: whose weights and buffers it gives.
        random: whether it gives torch's generator, too.
    """
    if processes().num_processes == 1:
        return
    own = list(networks)
    states = [{name: value.cpu() for name, value in network.state_dict().items()} for network in own]
    told, state = from_first((states, torch.get_rng_state() if random else None))
    for network, content in zip(own, told, strict=True):
        network.load_state_dict(content)
    if state is not None:
        torch.set_rng_state(state)
