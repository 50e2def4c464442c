"""Run a network with poisoned pixels and see where NaN arrives; why and how is told in :mod:`prove`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from flyweight.analysis.positions.axes import AXES
from flyweight.analysis.positions.field import Back
from flyweight.analysis.positions.graph import Graph, Op
from flyweight.analysis.trace.aten import detaches, short_name, tensors_in
from flyweight.analysis.trace.running import LightMode, WholePadding, borrowed, sample_like
from flyweight.analysis.trace.trace import Node, Value
from flyweight.errors import FlyweightError
from flyweight.text import one_line


class _Captured(Exception):  # noqa: N818 (not an error: it ends a forward pass that has gone far enough)
    """The watched tensor is there."""


class _PoisonMode(LightMode):
    """Runs a network on poisoned pixels until the watched tensor is made."""

    def __init__(self, steps: list[tuple[Node, Op]], output: int, cut: set[Node], gathered: set[Node]) -> None:
        super().__init__()
        self.result: Tensor | None = None
        self._steps = steps
        self._output = output
        self._cut = cut
        self._gathered = gathered
        self._ordinal = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if detaches(func):
            return func(*args, **kwargs)
        node, op = self._steps[self._ordinal]
        self._ordinal += 1
        name = short_name(func)
        if name != node.name.split("::")[-1]:
            raise FlyweightError(f"it runs {name} where it ran {node.name} before")
        if op.kind == "convolution":
            result = _poisoned_convolution(*args, **kwargs)
        elif node in self._gathered:
            result = _positions_only(func, args, kwargs)
        else:
            result = func(*args, **kwargs)
        if node in self._cut:
            result = tree_map(_clean, result)
        elif (node.pointwise or (op.kind == "elementwise" and "src" not in node.args)) and not op.passes_nan:
            result = _help(result, args)
        if self._ordinal == len(self._steps):
            self.result = tensors_in(result)[self._output]
            raise _Captured
        return result


def _poisoned_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
    *flags: bool,
) -> Tensor:
    """NaN where a convolution of this geometry reads a NaN; elsewhere a mean of what it reads."""
    batch, channels, *size = x.shape
    grouped = x.reshape(batch, groups, channels // groups, *size)
    poison = grouped.isnan().any(2).to(torch.float32)
    numbers = grouped.nan_to_num(nan=1.0).mean(2).to(torch.float32)
    ones = torch.ones((groups, 1, *weight.shape[2:]), device=x.device)
    both = torch.cat([poison, numbers])
    read = torch.ops.aten.convolution(both, ones, None, stride, padding, dilation, transposed, output_padding, groups)
    arrived, numbers = read[:batch], read[batch:] / ones[0].numel()
    result = torch.where(arrived > 0.5, torch.nan, numbers).to(x.dtype)
    outputs = weight.shape[1] if transposed else weight.shape[0] // groups
    return result.repeat_interleave(outputs, dim=1)


def _clean(leaf: Any) -> Any:
    return leaf.nan_to_num(nan=1.0) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf


def _positions_only(func: Any, args: Any, kwargs: Any) -> Any:
    """A normalisation over the map without what its statistics spread: NaN stays where it was."""
    poison = tensors_in(args)[0].isnan()
    result = func(*tree_map(_clean, args), **tree_map(_clean, kwargs))
    return tree_map(lambda leaf: _mark(leaf, poison), result)


def _help(result: Any, args: Any) -> Any:
    """NaN wherever an input of an element-by-element operator is NaN."""
    for poison in [leaf.isnan() for leaf in tensors_in(args) if leaf.is_floating_point()]:
        result = tree_map(lambda leaf, poison=poison: _mark(leaf, poison), result)
    return result


def _mark(leaf: Any, poison: Tensor) -> Any:
    """Write NaN into a result where `poison` is true, when it is of the poison's shape or larger."""
    if not isinstance(leaf, Tensor) or not leaf.is_floating_point() or not poison.any():
        return leaf
    offset = leaf.ndim - poison.ndim
    fits = offset >= 0 and all(p in (1, s) for p, s in zip(poison.shape, leaf.shape[max(offset, 0) :], strict=True))
    return leaf.masked_fill(poison, torch.nan) if fits else leaf


class Probe:
    """Asks a network which pixels one of its tensors depends on."""

    def __init__(self, model: nn.Module, graph: Graph, target: Value, back: Back[Any]) -> None:
        node = target.producer
        assert node is not None, "the image itself needs no probe"
        self._model = model
        self._steps = [(n, graph.ops[n]) for n in graph.trace.nodes if 0 <= n.ordinal <= node.ordinal]
        self._output = node.outputs.index(target)
        self._cut = back.cut
        self._gathered = back.gathered.keys() - back.cut
        self._dims = _axis_dims(graph, target)

    def arrivals(self, shape: tuple[int, ...], axis: int, lines: Iterable[int]) -> npt.NDArray[np.bool_]:
        """Positions along `axis` where NaN arrives in the watched tensor after whole lines of the image got it.

        Args:
            shape: (C, H, W) of the image.
            axis: HEIGHT to poison rows and look at rows, WIDTH for columns.
            lines: which of them.

        Raises:
            FlyweightError: the network cannot take this size or this poison.
        """
        with borrowed(self._model):
            image = sample_like(self._model, shape)
            index = torch.tensor(list(lines), dtype=torch.long)
            image.index_fill_(image.ndim - 2 + axis, index, torch.nan)
            probe = _PoisonMode(self._steps, self._output, self._cut, self._gathered)
            try:
                with WholePadding(), probe:
                    self._model(image)
            except _Captured:
                pass
            except (Exception, SystemExit) as error:
                raise FlyweightError(f"{type(error).__name__}: {one_line(error)}") from error
        if probe.result is None:
            raise FlyweightError("the watched layer did not run")
        others = tuple(dim for dim in range(probe.result.ndim) if dim != self._dims[axis])
        return np.asarray(probe.result.isnan().cpu().numpy().any(axis=others))


def _axis_dims(graph: Graph, target: Value) -> dict[int, int]:
    """The dimension of the watched tensor that is each axis of the image."""
    layout = graph.layouts[target] or ()
    whole = {dim[0].axis: index for index, dim in enumerate(layout) if len(dim) == 1 and dim[0].axis in AXES}
    if any(layout[index][0].scale != 1 for index in whole.values()) or set(whole) != graph.axes(target):
        raise FlyweightError("the map before the pooling is split over several dimensions")
    return whole
