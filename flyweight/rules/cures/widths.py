"""Which layers' channels hang together: a sum ties two widths, a norm and a depthwise layer follow one.

A width is the number of channels of all values that cannot be narrowed apart. Narrowing one changes every layer that
makes it, follows it or reads it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from math import prod

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from flyweight.analysis.positions.graph import Graph
from flyweight.analysis.trace.trace import Node, Value
from flyweight.rules.cures.surgery import cut, layer_at

_KEPT = ("elementwise", "batch norm", "pooling", "resize", "pad", "slice", "reshape", "squeeze", "reduction", "move")


@dataclass(eq=False)
class Width:
    """Channels that are narrowed together.

    Attributes:
        size: how many.
        fixed: it is the image's, the output's, or something that no edit here can follow.
        makers: paths of layers whose outputs they are.
        followers: paths of norms and depthwise layers.
        readers: paths of layers whose inputs they are, each with the numbers a channel that it reads (more than one
            behind a flattened map).
    """

    size: int
    fixed: bool = False
    makers: dict[str, None] = field(default_factory=dict)
    followers: dict[str, None] = field(default_factory=dict)
    readers: dict[str, int] = field(default_factory=dict)
    into: Width | None = None

    def root(self) -> Width:
        """The width that this one became a part of."""
        return self if self.into is None else self.into.root()


class Widths:
    """The widths of a network."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._of: dict[Value, Width] = {graph.trace.input: Width(graph.trace.input.shape[1], fixed=True)}
        for node in graph.trace.nodes:
            if graph.runs(node) and node.outputs:
                self._node(node)
        for value in graph.trace.outputs:
            self._fix(value)

    def free(self) -> list[Width]:
        """Those that can be narrowed, the widest first."""
        roots = dict.fromkeys(width.root() for width in self._of.values())
        return sorted((w for w in roots if not w.fixed and w.makers and w.size > 1), key=lambda w: -w.size)

    def of(self, value: Value) -> Width | None:
        """The width of a value's channels."""
        found = self._of.get(value)
        return found.root() if found else None

    def _fix(self, value: Value) -> None:
        if value in self._of:
            self._of[value].root().fixed = True

    def _node(self, node: Node) -> None:
        graph, read, made = self._graph, [v for v in self._graph.inputs(node) if v in self._of], node.outputs[0]
        op, module = graph.ops[node], node.call.module if node.call else None
        size = made.shape[1] if len(made.shape) > 1 else 0
        if op.kind == "convolution" and isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) and len(read) == 1:
            self._convolution(node, module, read[0], size)
        elif op.kind == "product" and isinstance(module, nn.Linear) and len(read) == 1 and len(made.shape) == 2:
            width = self._of[read[0]].root()
            if width.size and module.in_features % width.size == 0:
                width.readers[node.path] = module.in_features // width.size
            else:
                width.fixed = True
            self._of[made] = Width(size, makers={node.path: None})
        elif op.kind in _KEPT and read and self._kept(node, read, size):
            self._of[made] = self._of[read[0]]
            for other in read[1:]:
                self._tie(self._of[read[0]].root(), self._of[other].root())
            if op.kind == "batch norm":
                if isinstance(module, _BatchNorm):
                    self._of[made].root().followers[node.path] = None
                else:
                    self._fix(made)
        else:
            for value in read:
                self._fix(value)
            self._of[made] = Width(size, fixed=True)
        for more in node.outputs[1:]:
            self._of[more] = Width(more.shape[1] if len(more.shape) > 1 else 0, fixed=True)

    def _convolution(self, node: Node, module: nn.Module, source: Value, size: int) -> None:
        width, groups = self._of[source].root(), node.args["groups"]
        depthwise = groups == source.shape[1] == size > 1
        if depthwise:
            width.followers[node.path] = None
            self._of[node.outputs[0]] = width
        elif groups == 1:
            width.readers[node.path] = 1
            self._of[node.outputs[0]] = Width(size, makers={node.path: None})
        else:
            width.fixed = True
            self._of[node.outputs[0]] = Width(size, fixed=True)

    def _kept(self, node: Node, read: list[Value], size: int) -> bool:
        """Whether a node leaves each channel where it is; a constant of one number a channel would have to follow."""
        constants = [v for v in node.inputs if v not in self._graph.dependent and prod(v.shape) > 1]
        if constants and self._graph.ops[node].kind != "batch norm":
            return False
        widths = {self._of[value].root().size for value in read}
        if self._graph.ops[node].kind in (
            "elementwise",
            "batch norm",
            "resize",
            "pad",
            "slice",
            "pooling",
            "reduction",
        ):
            return widths == {size} and all(len(value.shape) > 1 for value in read)
        # a map that is flattened into features, or sizes of 1 that go
        [before], after = read[:1], node.outputs[0].shape
        flattened = len(after) == 2 and after[1] == prod(before.shape[1:])
        return len(read) == 1 and (flattened or tuple(after[:2]) == tuple(before.shape[:2]))

    def _tie(self, one: Width, other: Width) -> None:
        if one is other:
            return
        other.into = one
        one.fixed |= other.fixed
        for name in ("makers", "followers", "readers"):
            getattr(one, name).update(getattr(other, name))


def counted(model: nn.Module, kept: dict[Width, int]) -> int:
    """Parameters of a network after some widths were narrowed, without narrowing them."""
    total = sum(parameter.numel() for parameter in model.parameters())
    ways: dict[str, list[float]] = {}
    for width, left in kept.items():
        for paths, place in ((width.makers, 0), (width.readers, 1), (width.followers, 2)):
            for path in paths:
                ways.setdefault(path, [1.0, 1.0, 1.0])[place] *= left / width.size
    for path, (outputs, inputs, follows) in ways.items():
        layer = layer_at(model, path)
        for name, parameter in layer.named_parameters(recurse=False):
            share = outputs * follows * (inputs if name == "weight" else 1.0)
            total += round(parameter.numel() * share) - parameter.numel()
    return total


def narrow(model: nn.Module, width: Width, left: int) -> None:
    """Leave so many channels of a width, in a copy."""
    for path in width.makers:
        _outputs(layer_at(model, path), left)
    for path in width.followers:
        layer = layer_at(model, path)
        if isinstance(layer, _BatchNorm):
            _norm(layer, left)
        else:
            _outputs(layer, left)
            layer.in_channels = layer.groups = left  # type: ignore[assignment]
    for path, factor in width.readers.items():
        _inputs(layer_at(model, path), left, factor)


def _outputs(layer: nn.Module, left: int) -> None:
    for name, parameter in list(layer.named_parameters(recurse=False)):
        setattr(layer, name, cut(parameter, 0, left))
    setattr(layer, "out_features" if isinstance(layer, nn.Linear) else "out_channels", left)


def _inputs(layer: nn.Module, left: int, factor: int) -> None:
    layer.weight = cut(layer.weight, 1, left * factor)  # type: ignore[arg-type]
    setattr(layer, "in_features" if isinstance(layer, nn.Linear) else "in_channels", left * factor)


def _norm(layer: _BatchNorm, left: int) -> None:
    for name, parameter in list(layer.named_parameters(recurse=False)):
        setattr(layer, name, cut(parameter, 0, left))
    for name, buffer in list(layer.named_buffers(recurse=False)):
        if buffer.dim() == 1:
            layer.register_buffer(name, torch.narrow(buffer, 0, 0, left).clone())
    layer.num_features = left


def _under(model: nn.Module, width: Width, limit: int, left: int) -> bool:
    return counted(model, {width: left}) < limit


def fewest_cuts(model: nn.Module, widths: Widths, limit: int) -> Iterator[dict[Width, int]]:
    """Ways to get the parameters under a limit: of one width where that is enough, the least share first; else of all.

    No width loses more than half alone, for that would be another network.
    """
    ways = []
    for width in widths.free():
        # fewer channels have fewer parameters: the first count that is enough, from the widest on
        choices = range(width.size - 1, max(0, width.size // 2 - 1), -1)
        place = bisect_left(choices, True, key=partial(_under, model, width, limit))
        if place < len(choices):
            left = choices[place]
            ways.append(((width.size - left) / width.size, left, width))
    for _, left, width in sorted(ways, key=lambda way: way[0]):
        yield {width: left}
    for share in range(95, 4, -5):
        kept = {width: max(1, width.size * share // 100) for width in widths.free()}
        if kept and counted(model, kept) < limit:
            yield kept
            break
