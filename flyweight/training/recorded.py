"""Training steps on a GPU, recorded once and replayed.

A step of a small network is a thousand short kernels, and the processor takes longer to ask for each than the GPU to
run it. A CUDA graph asks for all at once (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs). It repeats
what it saw to the letter: the places in memory, and what Python chose on the way, such as the phase of a dilated map.
So there is one recording for each choice of phases, and all that changes from step to step lies in tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from flyweight.machine.together import Share
from flyweight.networks.build import table
from flyweight.networks.layers import PhaseConv2d
from flyweight.recipes.sections import Recipe
from flyweight.training.optimizer import Muon

Job = Callable[[], object]
Places = tuple[tuple[int, int], ...]


def cuda_recorder() -> Callable[[Job], Job]:
    """What records a job, which is not carried out by that, and gives what carries it out."""
    # one job runs at a time: all may use the same memory
    memory = torch.cuda.graph_pool_handle()

    def record(job: Job) -> Job:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=memory):
            job()
        return graph.replay

    return record


def recordable(recipe: Recipe, share: Share) -> bool:
    """Whether a training's steps differ in nothing but their images, phases and learning rates.

    Args:
        recipe: of the training.
        share: of each batch, that this process takes.
    """
    train = recipe.train
    alike = not train.mixup and train.label_smoothing_end is None and (train.teacher is None or train.cycle is not None)
    # a network of the user's own may choose anew in each step what it computes
    return alike and share.world == 1 and table(recipe.model) is not None


@dataclass
class Recorded:
    """The steps of a training, with batches of one size and shape.

    Each job is carried out as usual when it first comes, so that all libraries are warm and all that stays is in its
    place, and recorded when it comes again.

    Args:
        network: that is trained.
        optimizer: of its parameters.
        passes: (images, labels, answers) to (loss, hits), both () float32; it adds to the gradients.
        record: as :func:`cuda_recorder` makes it.
    """

    network: nn.Module
    optimizer: Optimizer
    passes: Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]]
    record: Callable[[Job], Job]
    _given: list[Tensor | None] = field(default_factory=list)
    _replays: dict[Places | None, Job | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        convolutions = [module for module in self.network.modules() if isinstance(module, PhaseConv2d)]
        self._thinning = [convolution for convolution in convolutions if convolution.phase.stride > 1]

    def backward(self, images: Tensor, labels: Tensor, answers: Tensor | None) -> tuple[Tensor, Tensor]:
        """The passes over a batch; their results are tensors that the next batch writes to."""
        places = tuple(convolution.drawn_place() for convolution in self._thinning)
        if not self._given:
            self._given = [None if one is None else one.clone() for one in (images, labels, answers)]
            self._results = torch.zeros((), device=images.device), torch.zeros((), device=images.device)
        for kept, one in zip(self._given, (images, labels, answers), strict=True):
            if kept is not None and one is not None:
                kept.copy_(one)

        def job() -> None:
            for convolution, place in zip(self._thinning, places, strict=True):
                convolution.place = place
            try:
                for kept, new in zip(self._results, self.passes(*self._given), strict=True):  # type: ignore[arg-type]
                    kept.copy_(new)
            finally:
                for convolution in self._thinning:
                    convolution.place = None

        self._carry_out(places, job)
        return self._results

    def update(self) -> None:
        """The optimizer's step; afterwards the gradients are zero, and where they were."""

        def job() -> None:
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=False)

        if not isinstance(self.optimizer, Muon):  # what torch's own take for a number would stay as it was recorded
            job()
            return
        self.optimizer.write_rates()
        self._carry_out(None, job)

    def _carry_out(self, key: Places | None, job: Job) -> None:
        if key not in self._replays:
            self._replays[key] = None
            job()
            return
        replay = self._replays[key]
        if replay is None:
            replay = self._replays[key] = self.record(job)
        replay()
