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
        return SGD(groups, lr=rate, momentum=momentum, nesterov=momentum > 0, fused=True)
    orthogonal = {"lr": config.muon_learning_rate, "momentum": config.muon_momentum, "weight_decay": config.muon_decay}
    return Muon(
        [{"params": matrices, "orthogonal": True, **orthogonal}]
        + [{**group, "orthogonal": False, "lr": rate, "momentum": momentum} for group in groups],
        config.muon_steps,
    )


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
    """

    def __init__(self, groups: list[dict[str, Any]], steps: int = 3) -> None:
        super().__init__([group for group in groups if group["params"]], {})
        self.steps = steps

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Change each parameter that has a gradient."""
        for group in self.param_groups:
            rate, momentum, decay = group["lr"], group["momentum"], group["weight_decay"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                gradient = parameter.grad
                if not group["orthogonal"] and decay:
                    gradient = gradient.add(parameter, alpha=decay)
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].mul_(momentum).add_(gradient)
                update = gradient.add(state["momentum"], alpha=momentum)
                if group["orthogonal"]:
                    matrix = orthogonalized(update.flatten(1), self.steps)
                    # a step changes each output by as much, however many there are
                    update = matrix.mul_(max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5).view_as(update)
                    parameter.mul_(1 - rate * decay)
                parameter.add_(update, alpha=-rate)


def orthogonalized(matrix: Tensor, steps: int = 3) -> Tensor:
    """About U V^T of the matrix's singular value decomposition U S V^T.

    Newton-Schulz iteration with the quintic polynomial of Jordan et al. 2024, whose slope at zero is steep: singular
    values of 0.02 to 1 times the norm come out between 0.68 and 1.21 of three steps.

    Args:
        matrix: (rows, columns).
        steps: of the iteration.

    Returns:
        (rows, columns).
    """
    a, b, c = QUINTIC
    x = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
