"""Training steps on a GPU of NVIDIA's, captured as CUDA graphs and replayed.

A step of a small network is a thousand short kernels, and the processor takes longer to launch them than the GPU to run
them. A graph launches all at once (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs). It repeats what
was captured to the letter: the addresses, and what Python chose on the way, such as the phase of a dilated map. So
there is one graph for each choice of phases, and every other number that changes from step to step lies in a tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from flyweight.machine.together import Share
from flyweight.networks.build import table
from flyweight.networks.convolutions import PhaseConv2d
from flyweight.recipes.sections import Recipe
from flyweight.training.optimizer import Muon

MOST = 64
"""Graphs of one training's passes: each takes a second to capture, and stays."""

Job = Callable[[], object]
Offsets = tuple[tuple[int, int], ...]
Passes = Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]]


def capturable(recipe: Recipe, share: Share, device: torch.device) -> bool:
    """Whether a training's steps do the same with other tensors each time, on a device that captures.

    Args:
        recipe: of the training.
        share: of each batch, that this process takes.
        device: where it runs.
    """
    train = recipe.train
    # a number that Python computes anew in each step would stay as it was captured
    alike = not train.mixup and train.label_smoothing_end is None and (train.teacher is None or train.cycle is not None)
    # a network of the user's own may choose anew in each step what it computes
    ours = table(recipe.model) is not None
    # AMD's devices are called cuda, too, and were never tried
    return alike and ours and share.world == 1 and device.type == "cuda" and torch.version.cuda is not None


def cuda_capture() -> Callable[[Job], Job]:
    """What captures a job, which is not done by that, and gives what does it."""
    # all graphs use the same memory: one is replayed at a time, and nothing that a job allocates is read after it
    memory = torch.cuda.graph_pool_handle()

    def capture(job: Job) -> Job:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=memory):
            job()
        return graph.replay

    return capture


@dataclass
class CapturedSteps:
    """The steps of a training, with batches of one size and shape.

    Each job is done as usual when it first comes, so that all libraries are warm and all that stays is in its place,
    and captured when it comes again.

    Args:
        network: that is trained.
        optimizer: of its parameters.
        capture: as :func:`cuda_capture` makes it.
    """

    network: nn.Module
    optimizer: Optimizer
    capture: Callable[[Job], Job]
    _batch: list[Tensor | None] = field(init=False, default_factory=list)
    _rates: list[Tensor] = field(init=False, default_factory=list)
    _replays: dict[Offsets | None, Job | None] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        convolutions = [module for module in self.network.modules() if isinstance(module, PhaseConv2d)]
        self._strided = [convolution for convolution in convolutions if convolution.phase.stride > 1]
        choices = math.prod(convolution.phase.stride**2 for convolution in self._strided)
        self._few = choices <= MOST

    def backward(self, passes: Passes, images: Tensor, labels: Tensor, answers: Tensor | None) -> tuple[Tensor, Tensor]:
        """The passes over a batch, with the same `passes` each time.

        Args:
            passes: (images, labels, answers) to (loss, hits), both () float32; it adds to the gradients.
            images: (N, H, W, C) uint8.
            labels: (N,) int64.
            answers: (N, classes) float32, a teacher's logits; none: there is no teacher.

        Returns:
            Loss and hits, in tensors that the next batch writes to.
        """
        offsets = tuple(convolution.drawn_offset() for convolution in self._strided)
        if not self._batch:
            self._batch = [None if one is None else one.clone() for one in (images, labels, answers)]
            self._results = torch.zeros((), device=images.device), torch.zeros((), device=images.device)
        for kept, one in zip(self._batch, (images, labels, answers), strict=True):
            if kept is not None and one is not None:
                kept.copy_(one)

        def job() -> None:
            for convolution, offset in zip(self._strided, offsets, strict=True):
                convolution.offset = offset
            try:
                for kept, new in zip(self._results, passes(*self._batch), strict=True):  # type: ignore[arg-type]
                    kept.copy_(new)
            finally:
                for convolution in self._strided:
                    convolution.offset = None

        if self._few:
            self._do(offsets, job)
        else:
            job()
        return self._results

    def update(self) -> None:
        """The optimizer's step; afterwards the gradients are zero, and where they were."""
        optimizer = self.optimizer
        if not isinstance(optimizer, Muon):  # SGD and AdamW read the learning rate as a number, which would stay
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
            return
        groups = optimizer.param_groups
        if not self._rates:
            self._rates = [torch.zeros((), device=group["params"][0].device) for group in groups]
        for rate, group in zip(self._rates, groups, strict=True):
            rate.fill_(group["lr"])

        def job() -> None:
            optimizer.rates = self._rates
            try:
                optimizer.step()
            finally:
                optimizer.rates = None
            optimizer.zero_grad(set_to_none=False)

        self._do(None, job)

    def _do(self, key: Offsets | None, job: Job) -> None:
        if key not in self._replays:
            self._replays[key] = None
            job()
            return
        replay = self._replays[key]
        if replay is None:
            replay = self._replays[key] = self.capture(job)
        replay()
