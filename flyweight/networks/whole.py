"""Batch norm over a batch that several processes share: the statistics of all of it, as one process has them.

Torch has the same for GPUs alone (``nn.SyncBatchNorm``). The way there and the way back each take one sum over the
processes, of two numbers a channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from flyweight.machine.together import summed


class WholeBatch(TorchFunctionMode):
    """Inside its ``with`` block each batch norm in training mode takes the statistics of all processes' images.

    It stands where torch's functions are called, so that a network of the user's own needs no other layers, and the
    test pass and what is saved see those that it has.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """What torch calls in place of one of its functions."""
        return (batch_norm if function is F.batch_norm else function)(*args, **(kwargs or {}))


def batch_norm(
    input: Tensor,  # torch's name
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``torch.nn.functional.batch_norm`` of a batch whose other images other processes have.

    Args:
        input: (N, C, ...), this process's images; what it returns has that shape.
        running_mean: (C,), changed in training, as torch does.
        running_var: the same.
        weight: (C,).
        bias: (C,).
        training: whether the batch's own statistics are taken; if not, it is torch's function.
        momentum: share of the new in the running statistics.
        eps: added to the variance.

    Raises:
        ValueError: there is one value a channel in all.
        PeerError: another process has ended.
    """
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    kind = torch.promote_types(input.dtype, torch.float32)
    channels = input.shape[1]
    weight = torch.ones(channels, dtype=kind, device=input.device) if weight is None else weight
    bias = torch.zeros(channels, dtype=kind, device=input.device) if bias is None else bias
    with torch.no_grad():
        mean, variance, count = _statistics(input.detach(), kind)
        if running_mean is not None and running_var is not None:
            running_mean.mul_(1 - momentum).add_(mean.to(running_mean.dtype), alpha=momentum)
            unbiased = variance * (count / (count - 1))
            running_var.mul_(1 - momentum).add_(unbiased.to(running_var.dtype), alpha=momentum)
    return _Normalized.apply(input, weight, bias, mean, variance, count, eps)


def _statistics(x: Tensor, kind: torch.dtype) -> tuple[Tensor, Tensor, float]:
    """(C,) mean and (C,) biased variance of all processes' images, and how many values a channel has in all."""
    zeros = torch.zeros(x.shape[1], dtype=kind, device=x.device)
    # the running statistics are there for their type: without them bfloat16 would get its own
    own_mean, own_variance = (part.double() for part in torch.batch_norm_update_stats(x, zeros, zeros.clone(), 0.0))
    own = x.numel() // x.shape[1]
    # the squares of the mean are put in and taken out in float64, where nothing of the variance gets lost
    sums = torch.cat([own_mean * own, (own_variance + own_mean**2) * own, own_mean.new_tensor([own])])
    first, second, last = summed(sums).split((x.shape[1], x.shape[1], 1))
    count = float(last)
    if count == 1:
        raise ValueError("Expected more than 1 value per channel when training")
    mean = first / count
    return mean.to(kind), (second / count - mean**2).clamp_(min=0).to(kind), count


class _Normalized(torch.autograd.Function):
    """The normalisation by given statistics, whose gradient knows that they are the batch's."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, count: float, eps: float
    ) -> Tensor:
        """(N, C, ...) to the same."""
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.count, ctx.eps = count, eps
        return torch.native_batch_norm(x, weight, bias, mean, variance, False, 0.0, eps)[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x, weight and bias: of these two this process's part."""
        x, weight, mean, variance = ctx.saved_tensors
        # of its three results the gradient of x is the one that needs the others' images
        _, to_weight, to_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean, variance, None, None, False, ctx.eps, [False, True, True]
        )
        of_normalized, of_one = summed(torch.stack([to_weight, to_bias]).to(mean.dtype)) / ctx.count
        inverse = (variance + ctx.eps).rsqrt()
        # weight / deviation * (g - mean(g) - normalised x * mean(g * normalised x)), both means over the images of all
        scale = weight * inverse
        slope = -scale * inverse * of_normalized
        scale, slope, offset = (
            part.view(1, -1, *[1] * (x.ndim - 2)) for part in (scale, slope, -scale * of_one - slope * mean)
        )
        to_x = torch.addcmul(offset, x, slope).addcmul_(gradient, scale).to(x.dtype)
        return to_x, to_weight, to_bias, None, None, None, None
