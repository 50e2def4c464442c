"""The optimizers that a recipe may name, and Muon, which torch has for plain matrices only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from flyweight.recipes.sections import TrainConfig

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of x, x^3 and x^5 in Muon's iteration (Jordan et al. 2024)."""


def build(network: nn.Module, config: TrainConfig) -> Optimizer:
    """The optimizer of a recipe; each group's learning rate is the highest that the schedule will give it."""
    matrices = hidden_matrices(network) if config.optimizer == "muon" else []
    taken = {id(matrix) for matrix in matrices}
    rest = [parameter for parameter in network.parameters() if id(parameter) not in taken]
    # a norm's scale and a bias are vectors; decaying them only fights the norm (Goyal et al. 2017, section 5.3)
    groups: list[dict[str, Any]] = [
        {"params": [parameter for parameter in rest if parameter.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [parameter for parameter in rest if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    rate, momentum = config.learning_rate, config.momentum
    if config.optimizer == "adamw":
        return AdamW(groups, lr=rate, betas=(momentum, config.adamw_beta2), fused=True)
    if config.optimizer == "sgd":
        made = SGD(groups, lr=rate, momentum=momentum, nesterov=momentum > 0, fused=True)
        made.register_step_pre_hook(_with_momentum)
        return made
    orthogonal = {"lr": config.muon_learning_rate, "momentum": config.muon_momentum, "weight_decay": config.muon_decay}
    return Muon(
        [{"params": matrices, "orthogonal": True, **orthogonal}]
        + [{**group, "orthogonal": False, "lr": rate, "momentum": momentum} for group in groups],
        config.muon_steps,
    )


def _with_momentum(made: Optimizer, *_: object) -> None:
    """Let parameters whose first gradient comes late, such as those of a layer that was frozen, join their group.

    The fused step takes a group whose momentum is there for all or for none; torch's others begin each by itself, with
    its first gradient, which is what comes of zeros.
    """
    for group in made.param_groups:
        trained = [parameter for parameter in group["params"] if parameter.grad is not None]
        late = [one for one in trained if made.state.get(one, {}).get("momentum_buffer") is None]
        if group["momentum"] and 0 < len(late) < len(trained):
            for parameter in late:
                made.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def hidden_matrices(network: nn.Module) -> list[Tensor]:
    """Weights that mix all inputs of a layer into all its outputs, without those of the classifier.

    A depthwise or grouped kernel is none: its channels do not see each other. The classifier is the linear layer that
    the network names last; without any, the last convolution. A weight that several layers share is there once.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    classifier = ([layer for layer in layers if isinstance(layer, nn.Linear)] or layers or [None])[-1]
    dense = [layer for layer in layers if not (isinstance(layer, nn.Conv2d) and layer.groups > 1)]
    # nn.Module.parameters() leaves out repetitions by identity, and so must this
    weights = {id(layer.weight): layer.weight for layer in dense if layer is not classifier}
    return [weight for weight in weights.values() if weight.requires_grad]


class Muon(Optimizer):
    """Muon for the groups marked ``orthogonal``, SGD with Nesterov momentum for the others.

    Muon turns the momentum of each weight, seen as a matrix of (outputs, the rest), into the nearest matrix whose
    singular values are all about one, so that no direction of the weight starves (Jordan et al. 2024, "Muon: an
    optimizer for hidden layers in neural networks"; kernels of convolutions as in Jordan's airbench). Weight decay is
    decoupled there and an L2 term in the others. ``torch.optim.Muon`` takes two-dimensional parameters alone and
    iterates in bfloat16, which for matrices this small costs twice the time on a CPU; the tests hold this one to it.

    Args:
        groups: with ``params``, ``orthogonal``, ``lr``, ``momentum`` and ``weight_decay``.
        steps: of the iteration, see :func:`orthogonalized`.

    Attributes:
        rates: () float32 for each group, read in place of its ``lr``, so that a captured step reads them anew; None:
            ``lr`` counts.
    """

    def __init__(self, groups: list[dict[str, Any]], steps: int = 3) -> None:
        super().__init__([group for group in groups if group["params"]], {})
        self.steps = steps
        self.rates: list[Tensor] | None = None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Change each parameter that has a gradient."""
        for number, group in enumerate(self.param_groups):
            momentum, decay = group["momentum"], group["weight_decay"]
            rate = group["lr"] if self.rates is None else self.rates[number]
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            gradients = [parameter.grad for parameter in parameters]
            if not group["orthogonal"] and decay:
                gradients = list(torch._foreach_add(gradients, parameters, alpha=decay))
            momenta = [self._momentum(parameter) for parameter in parameters]
            torch._foreach_mul_(momenta, momentum)
            torch._foreach_add_(momenta, gradients)
            updates = list(torch._foreach_add(gradients, momenta, alpha=momentum))
            if group["orthogonal"]:
                updates = self._orthogonalized(updates)
                torch._foreach_mul_(parameters, 1 - rate * decay)
            if isinstance(rate, Tensor):
                torch._foreach_sub_(parameters, torch._foreach_mul(updates, rate))
            else:
                torch._foreach_add_(parameters, updates, alpha=-rate)

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum: Tensor = state["momentum"]
        return momentum

    def _orthogonalized(self, updates: list[Tensor]) -> list[Tensor]:
        """Each as :func:`orthogonalized` gives it, scaled by its shape."""
        done = updates.copy()
        for places in self._by_shape(updates):
            matrices = [updates[place].flatten(1) for place in places]
            # a step changes each output by as much, however many there are
            scale = max(1.0, matrices[0].shape[0] / matrices[0].shape[1]) ** 0.5
            together = matrices[0] if len(matrices) == 1 else torch.stack(matrices)
            found = orthogonalized(together, self.steps).mul_(scale)
            for place, matrix in zip(places, found.reshape(len(places), *matrices[0].shape), strict=True):
                done[place] = matrix.view_as(updates[place])
        return done

    @staticmethod
    def _by_shape(updates: list[Tensor]) -> list[list[int]]:
        """The places of those that are orthogonalised at once: on a GPU all of one shape, for it likes large jobs."""
        if updates[0].device.type != "cuda":
            return [[place] for place in range(len(updates))]
        shapes: dict[torch.Size, list[int]] = {}
        for place, update in enumerate(updates):
            shapes.setdefault(update.shape, []).append(place)
        return list(shapes.values())


def orthogonalized(matrix: Tensor, steps: int = 3) -> Tensor:
    """About U V^T of the matrix's singular value decomposition U S V^T.

    Newton-Schulz iteration with the quintic polynomial of Jordan et al. 2024, whose slope at zero is steep: singular
    values of 0.02 to 1 times the norm come out between 0.68 and 1.21 of three steps.

    Args:
        matrix: (rows, columns), or (N, rows, columns) for so many of them.
        steps: of the iteration.

    Returns:
        In the same shape.
    """
    a, b, c = QUINTIC
    multiply: Any = torch.addmm if matrix.ndim == 2 else torch.baddbmm
    norm = matrix.norm() if matrix.ndim == 2 else matrix.norm(dim=(1, 2), keepdim=True)
    x = matrix / (norm + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    for _ in range(steps):
        gram = x @ x.mT
        x = multiply(x, multiply(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
