"""Changes of what a forward pass calls without a layer: a copy runs another operator in the place of one."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from flyweight.analysis.positions.graph import Graph
from flyweight.analysis.trace.aten import detaches, short_name
from flyweight.analysis.trace.running import LightMode
from flyweight.analysis.trace.trace import Node

Stand = Callable[..., Any]
"""What runs in an operator's place: it gets the operator and its arguments."""


Place = tuple[str, int]
"""An operator: which one of its name, the first being 0."""


class _Instead(LightMode):
    """Runs other operators, and logs of all that run which they are in the network as it was written; None: not its."""

    def __init__(self, instead: dict[Place, Stand]) -> None:
        super().__init__()
        self.log: list[Place | None] = []
        self._instead = instead
        self._seen: dict[str, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if detaches(func):
            return func(*args, **kwargs)
        name = short_name(func)
        place = self._seen[name] = self._seen.get(name, -1) + 1
        stand = self._instead.get((name, place))
        if stand is None:
            self.log.append((name, place))
            return func(*args, **kwargs)
        with _Logging(self.log):
            return stand(func, *args, **kwargs)


class _Logging(LightMode):
    def __init__(self, log: list[Place | None]) -> None:
        super().__init__()
        self._log = log

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not detaches(func):
            self._log.append(None)
        return func(*args, **(kwargs or {}))


def run_instead(model: nn.Module, graph: Graph, node: Node, stand: Stand) -> None:
    """Let a copy run something else where the network ran an operator.

    Raises:
        TypeError: the operator is one that stands for another already.
    """
    log = vars(model).get(_LOG)
    before = sum(other.name == node.name and 0 <= other.ordinal < node.ordinal for other in graph.trace.nodes)
    place = log[node.ordinal] if log else (node.name.split("::")[-1], before)
    if place is None:
        raise TypeError(f"{node.name} stands for another operator already")
    _changes(model)[0][place] = stand


def at_end(model: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
    """Let a copy return something made of its output."""
    _changes(model)[1].append(change)


_PLACE, _LOG = "_flyweight_changes", "_flyweight_log"


def _changes(model: nn.Module) -> tuple[dict[Place, Stand], list[Callable[[Tensor], Tensor]]]:
    if _PLACE not in vars(model):
        if "forward" in vars(model):
            raise TypeError("its forward pass was exchanged already")
        vars(model)[_PLACE] = ({}, [])
        # a method that is bound to the network is copied with it
        model.forward = MethodType(_forward, model)
    return vars(model)[_PLACE]


def _forward(self: nn.Module, *args: Any) -> Any:
    instead, ends = vars(self)[_PLACE]
    with _Instead(instead) as mode:
        result = type(self).forward(self, *args)
    with _Logging(mode.log):
        for change in ends:
            result = change(result)
    vars(self)[_LOG] = mode.log
    return result


def nothing(func: Any, *args: Any, **kwargs: Any) -> Any:
    """What goes in comes out."""
    # an operator that makes a view may not return what it was given
    return as_many(func, args[0].view(args[0].shape))


def average_windows(func: Any, x: Tensor, kernel: Any, *window: Any, **kwargs: Any) -> Any:
    """The average in place of a maximum over the same windows."""
    stride, padding = (window[0] if window else kernel), (window[1] if len(window) > 1 else 0)
    return as_many(func, torch.nn.functional.avg_pool2d(x, kernel, stride or kernel, padding))


def average_dimensions(func: Any, x: Tensor, dim: Any = None, keepdim: bool = False, **kwargs: Any) -> Any:
    """The mean in place of a maximum or a sum over the same dimensions."""
    dim = kwargs.get("dim", dim)
    return as_many(func, x.mean(dim, keepdim=kwargs.get("keepdim", keepdim)))


def average_two(func: Any, a: Tensor, b: Tensor, **kwargs: Any) -> Any:
    """The mean of two maps in place of the larger."""
    return (a + b) / 2


def as_many(func: Any, result: Tensor) -> Any:
    """A result for an operator that returns several: what comes after the first is what nobody reads."""
    many = len(func._schema.returns)
    return result if many == 1 else (result, *[torch.zeros_like(result, dtype=torch.long)] * (many - 1))
