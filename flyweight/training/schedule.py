"""The learning rate of each step."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR

from flyweight.recipes.sections import TrainConfig


def one_cycle(optimizer: Optimizer, config: TrainConfig, steps: int) -> OneCycleLR:
    """One rise and one fall (Smith and Topin 2018, "Super-convergence"), with what the recipe says of them.

    Args:
        optimizer: whose groups begin with the highest learning rate that each will have.
        config: ``warmup``, ``start_divisor``, ``end_divisor`` and ``anneal``.
        steps: of the whole training.
    """
    total = steps + 1  # the scheduler counts the state before the first step, too
    return OneCycleLR(
        optimizer,
        [group["lr"] for group in optimizer.param_groups],
        total_steps=total,
        # with so few steps that the rise would take less than one, it divides by zero
        pct_start=max(config.warmup, min(1.0, 2 / total)),
        anneal_strategy=config.anneal,
        cycle_momentum=False,
        div_factor=config.start_divisor,
        final_div_factor=config.end_divisor,
    )
