"""From a graph of floats, and the ranges of its tensors, to a network in integers. What has no step is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from flyweight.errors import FlyweightError
from flyweight.export.c.integers import (
    MOST_SHIFT,
    MOST_SUM,
    Addition,
    Average,
    Convolution,
    Integers,
    Map,
    Step,
    fixed_point,
    levels,
)  # fmt: skip
from flyweight.export.calibrate import Range
from flyweight.export.reading import SAME, Reading, settings
from flyweight.runs.card import Card

if TYPE_CHECKING:
    import onnx


def lowered(model: onnx.ModelProto, ranges: Mapping[str, Range], card: Card, name: str) -> Integers:
    """Bring a graph to integers.

    Args:
        model: prepared: batch norm folded where it can be, all shapes known.
        ranges: of each tensor.
        card: of the network.
        name: of the network, for messages.

    Raises:
        FlyweightError: an operator cannot be held; the message names it.
    """
    return _Lowering(model, ranges, card, name).network()


class _Lowering:
    def __init__(self, model: onnx.ModelProto, ranges: Mapping[str, Range], card: Card, name: str) -> None:
        self._reading, self._ranges, self._card, self._name = Reading(model), ranges, card, name
        self._graph, self._constants = self._reading.graph, self._reading.constants
        self._maps: dict[str, Map] = {}
        self._steps: list[Step] = []
        self._last = self._reading.logits()

    def network(self) -> Integers:
        channels, height, width = self._card.input_shape
        (entry,) = self._graph.input
        scale, zero = levels(*self._ranges[entry.name])
        self._maps[entry.name] = Map(entry.name, channels, height, width, scale, zero)
        for node in self._graph.node:
            if node.output[0] in self._reading.swallowed:
                continue
            if node.op_type not in _KINDS:
                self._refuse(node, f"the operator {node.op_type}")
            for source in node.input:
                if source and source not in self._maps and source not in self._constants:
                    self._refuse(node, f"{node.op_type} of what is no map")
            _KINDS[node.op_type](self, node)
        if not self._steps or self._steps[-1].target.name != self._last:
            raise FlyweightError(f"c cannot hold {self._name}: its logits come from no convolution or linear layer")
        return Integers(self._maps[entry.name], self._table(), tuple(self._steps))

    def _table(self) -> np.ndarray:
        """The level of each value of a pixel: zeros around an image mean the mean colour, as they do in PyTorch."""
        entry = self._maps[self._graph.input[0].name]
        mean, std = (np.array(one)[:, None] for one in (self._card.mean, self._card.std))
        found = np.rint((np.arange(256) / 255 - mean) / std / entry.scale) + entry.zero
        return np.clip(found, -128, 127).astype(np.int8)

    def _refuse(self, node: onnx.NodeProto, what: str) -> NoReturn:
        raise FlyweightError(f"c cannot hold {self._name}: {what} ({node.name}) has no integer step here; use others")

    def _target(self, name: str, node: onnx.NodeProto) -> Map:
        """A new map of a tensor of the graph."""
        shape = self._reading.shapes.get(name, [])
        if len(shape) not in (2, 4) or min(shape[1:]) < 1:
            self._refuse(node, f"{node.op_type} with {len(shape)} dimensions")
        channels, height, width = [*shape[1:], 1, 1][:3]
        low, high = self._ranges[name]
        if name == self._last:
            if height * width != 1 or channels != len(self._card.classes):
                self._refuse(node, f"logits of {channels}x{height}x{width} numbers")
            # of 16 bits: twice the range that was seen costs nothing, and no unseen logit is cut off
            return self._keep(Map(name, channels, 1, 1, 2 * max(-low, high, 1e-6) / 32767, 0, wide=True))
        return self._keep(Map(name, channels, height, width, *levels(low, high)))

    def _keep(self, made: Map) -> Map:
        self._maps[made.name] = made
        return made

    def _convolution(self, node: onnx.NodeProto) -> None:
        set_ = settings(node)
        weight, source = self._constants.get(node.input[1]), self._maps.get(node.input[0])
        if weight is None or source is None or weight.ndim != 4:
            self._refuse(node, f"{node.op_type} whose weights are no constants of a plane")
        outputs, _, kernel, other = weight.shape
        groups, pads = set_.get("group", 1), set_.get("pads", [0] * 4)
        strides, dilations = set_.get("strides", [1, 1]), set_.get("dilations", [1, 1])
        depthwise = groups == source.channels == outputs > 1
        if groups != 1 and not depthwise:
            self._refuse(node, f"a convolution in {groups} groups")
        if kernel != other or pads[0] != pads[1] or strides[0] != strides[1] or dilations[0] != dilations[1]:
            self._refuse(node, "a convolution that differs from axis to axis")
        weight = weight[:, 0].transpose(1, 2, 0) if depthwise else weight.transpose(0, 2, 3, 1)
        self._layer(node, source, weight, (strides[0], dilations[0], pads[0]), depthwise)

    def _linear(self, node: onnx.NodeProto) -> None:
        set_ = settings(node)
        weight, source = self._constants.get(node.input[1]), self._maps.get(node.input[0])
        plain = set_.get("alpha", 1.0) == set_.get("beta", 1.0) == 1 and not set_.get("transA", 0)
        if weight is None or source is None or not plain or source.height * source.width != 1:
            self._refuse(node, "Gemm of another form than a linear layer on one position")
        weight = weight if set_.get("transB", 0) else weight.T
        self._layer(node, source, weight[:, None, None, :], (1, 1, 0), False)

    def _layer(
        self, node: onnx.NodeProto, source: Map, weight: np.ndarray, geometry: tuple[int, int, int], depthwise: bool
    ) -> None:
        """A layer with weights, with the ReLU behind it and the batch norm behind that."""
        outputs = weight.shape[-1] if depthwise else weight.shape[0]
        axes = (0, 1) if depthwise else (1, 2, 3)
        bias = np.zeros(outputs)
        if len(node.input) > 2 and node.input[2]:
            bias = np.broadcast_to(self._constants[node.input[2]].astype(np.float64).reshape(-1), (outputs,))
        relu = self._reading.behind(node.output[0], "Relu")
        norm = self._reading.behind(relu.output[0], "BatchNormalization") if relu is not None else None
        target = self._target((norm or relu or node).output[0], node)
        if target.wide and (source.height * source.width, weight[..., 0].size) != (1, outputs):
            self._refuse(node, "a last layer that reads more than one position")
        # a channel of tiny weights and a bias gets coarser steps, so that its bias fits
        scale = np.maximum(np.abs(weight).max(axes) / 127.0, np.abs(bias) / (source.scale * (MOST_SUM - 1)))
        scale = np.where(scale > 0, scale, 1.0)
        shaped = scale if depthwise else scale[:, None, None, None]
        rounded = np.clip(np.rint(weight / shaped), -127, 127).astype(np.int8)
        if (np.abs(rounded.astype(np.int64)).sum(axes) * 255 >= MOST_SUM).any():
            self._refuse(node, "a layer whose sums do not fit into 32 bits")
        factor, offset = source.scale * scale / target.scale, None
        if norm is not None:
            gain, offset = self._reading.affine(norm)
            factor = factor * gain
        multiplier, shift = fixed_point(factor)
        after = None
        if offset is not None:
            after = np.rint(np.clip(np.ldexp(offset / target.scale, shift.astype(int)), -(2.0**60), 2.0**60))
        stride, dilation, padding = geometry
        step = Convolution(
            name=node.name, source=source, target=target, weight=np.ascontiguousarray(rounded),
            bias=np.rint(bias / (source.scale * scale)).astype(np.int32), multiplier=multiplier, shift=shift,
            after=None if after is None else after.astype(np.int64), stride=stride, dilation=dilation, padding=padding,
            depthwise=depthwise, low=target.zero if relu is not None and norm is None else target.lowest,
        )  # fmt: skip
        self._steps.append(step)

    def _addition(self, node: onnx.NodeProto) -> None:
        first, second = (self._maps.get(name) for name in node.input)
        if first is None or second is None:
            self._refuse(node, "Add of a constant")
        if (first.channels, first.height, first.width) != (second.channels, second.height, second.width):
            self._refuse(node, "Add of maps of two shapes")
        relu = self._reading.behind(node.output[0], "Relu")
        target = self._target((relu or node).output[0], node)
        if target.wide:
            self._refuse(node, "Add that gives the logits")
        factors = np.array([first.scale, second.scale]) / target.scale
        shift = int(min(fixed_point(factors)[1]))
        multipliers = [int(np.clip(np.rint(np.ldexp(factor, shift)), 0, 2**31 - 1)) for factor in factors]
        low = target.lowest if relu is None else target.zero
        self._steps.append(
            Addition(node.name, first, second, target, (multipliers[0], multipliers[1]), min(shift, MOST_SHIFT), low)
        )

    def _average(self, node: onnx.NodeProto) -> None:
        set_, source = settings(node), self._maps[node.input[0]]
        rows, columns = set_.get("kernel_shape", [source.height, source.width])
        strides = set_.get("strides", [1, 1])
        if any(set_.get("pads", [])) or set_.get("ceil_mode", 0) or strides[0] != strides[1]:
            self._refuse(node, "an average with padding or with steps that differ from axis to axis")
        if source.bytes / source.channels * 255 >= MOST_SUM:
            self._refuse(node, "an average whose sums do not fit into 32 bits")
        target = self._target(node.output[0], node)
        if target.wide:
            self._refuse(node, "an average that gives the logits")
        multiplier, shift = fixed_point(source.scale / (target.scale * rows * columns))
        self._steps.append(Average(node.name, source, target, rows, columns, strides[0], int(multiplier), int(shift)))

    def _same(self, node: onnx.NodeProto) -> None:
        source = self._maps[node.input[0]]
        # of several positions the order would change, for here channels come last
        if source.height * source.width != 1 and node.op_type not in ("Identity", "Dropout"):
            self._refuse(node, f"{node.op_type} of a map of {source.height}x{source.width} positions")
        self._maps[node.output[0]] = source


_KINDS: dict[str, Callable[[_Lowering, onnx.NodeProto], None]] = {
    "Conv": _Lowering._convolution,
    "Gemm": _Lowering._linear,
    "Add": _Lowering._addition,
    "AveragePool": _Lowering._average,
    "GlobalAveragePool": _Lowering._average,
    **dict.fromkeys(SAME, _Lowering._same),
}
"""Operators that have a step. A ReLU, and a batch norm behind it, are parts of the one before."""
