"""Changes of single layers of a copy. Weights are cut or drawn anew where shapes change: it is to be trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from flyweight.analysis.trace.running import plain

Sizes = tuple[int, ...]


class Averaged(nn.Module):
    """The average of each channel of a flattened map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self._channels = channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels * places) to (N, channels)."""
        return x.unflatten(-1, (self._channels, -1)).mean(-1)


def layer_at(model: nn.Module, path: str) -> nn.Module:
    """The module of a path as the facts tell it.

    Raises:
        KeyError: there is none.
    """
    for name, module in model.named_modules():
        if plain(name) == path and not name.endswith("_orig_mod"):
            return module
    raise KeyError(path)


def convolution_at(model: nn.Module, path: str) -> nn.Conv2d:
    """The convolution of a path.

    Raises:
        TypeError: the module there is something else, such as a class of the user's own.
    """
    found = layer_at(model, path)
    if not isinstance(found, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        raise TypeError(path)
    return found  # type: ignore[return-value]


def replace(model: nn.Module, path: str, by: nn.Module) -> None:
    """Put another module in the place of one."""
    for name, _ in list(model.named_modules()):
        if plain(name) == path:
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, by)
            return
    raise KeyError(path)


def reshape_window(
    model: nn.Module,
    path: str,
    *,
    stride: Sizes | None = None,
    dilation: Sizes | None = None,
    padding: Sizes | None = None,
) -> None:
    """Change the window of a convolution that keeps its weights."""
    layer = convolution_at(model, path)
    for name, sizes in (("stride", stride), ("dilation", dilation), ("padding", padding)):
        if sizes is not None:
            setattr(layer, name, sizes)
    if isinstance(layer.padding, tuple):
        # what a padding mode other than zeros goes by
        layer._reversed_padding_repeated_twice = [p for p in reversed(layer.padding) for _ in range(2)]


def like(
    layer: nn.Conv2d, inputs: int, outputs: int, *, kernel: Sizes | None = None, groups: int = 1, **window: Sizes
) -> nn.Conv2d:
    """A new convolution of the same sort, on the same device and of the same number type."""
    kernel = kernel or layer.kernel_size
    chosen = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation, **window}
    made = type(layer)(inputs, outputs, kernel, groups=groups, bias=layer.bias is not None, **chosen)  # type: ignore[arg-type]
    return made.to(layer.weight.device, layer.weight.dtype)


def widen_kernel(model: nn.Module, path: str, side: int, dilation: int = 1) -> None:
    """Another kernel, with the padding that keeps the size of the map."""
    layer = convolution_at(model, path)
    sides = (side,) * len(layer.kernel_size)
    padding, steps = (dilation * (side - 1) // 2,) * len(sides), (dilation,) * len(sides)
    made = like(
        layer, layer.in_channels, layer.out_channels, kernel=sides, groups=layer.groups, padding=padding, dilation=steps
    )
    replace(model, path, made)


def separable(model: nn.Module, path: str) -> None:
    """A dense convolution as a depthwise one and a 1x1 (Howard et al. 2017, "MobileNets", section 3.1)."""
    layer = convolution_at(model, path)
    ones = (1,) * len(layer.kernel_size)
    depthwise = like(layer, layer.in_channels, layer.in_channels, groups=layer.in_channels)
    depthwise.bias = None
    zeros = (0,) * len(ones)
    pointwise = like(
        layer, layer.in_channels, layer.out_channels, kernel=ones, stride=ones, padding=zeros, dilation=ones
    )
    replace(model, path, nn.Sequential(depthwise, pointwise))


def depthwise_before(model: nn.Module, path: str, kernel: int = 3) -> None:
    """A depthwise convolution in front of a 1x1, which makes both a separable layer."""
    layer = convolution_at(model, path)
    sides = (kernel,) * len(layer.kernel_size)
    ones, padding = (1,) * len(sides), ((kernel - 1) // 2,) * len(sides)
    made = like(
        layer, layer.in_channels, layer.in_channels, kernel=sides, groups=layer.in_channels,
        stride=ones, padding=padding, dilation=ones,
    )  # fmt: skip
    made.bias = None
    replace(model, path, nn.Sequential(made, layer))


def insert(model: nn.Module, path: str, channels: int, *, count: int = 1, before: bool = False, dense: bool) -> None:
    """3x3 convolutions that keep width and size, after a layer or before it."""
    layer = layer_at(model, path)
    first = next(model.parameters())
    made: list[nn.Module] = []
    for _ in range(count):
        if dense:
            made.append(nn.Conv2d(channels, channels, 3, padding=1, bias=False))
        else:
            made += [
                nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
                nn.Conv2d(channels, channels, 1, bias=False),
            ]
    new = [module.to(first.device, first.dtype) for module in made]
    replace(model, path, nn.Sequential(*new, layer) if before else nn.Sequential(layer, *new))


def take_away(model: nn.Module, paths: Sequence[str]) -> None:
    """Layers that let through what they are given."""
    for path in paths:
        replace(model, path, nn.Identity())


def cut(weight: nn.Parameter, dim: int, kept: int) -> nn.Parameter:
    """The first entries of a parameter along one dimension."""
    with torch.no_grad():
        return nn.Parameter(weight.narrow(dim, 0, kept).clone(), weight.requires_grad)
