"""From a graph to the engine's steps. What has none is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from flyweight.errors import FlyweightError
from flyweight.export.demo.steps import Floats, Kind, Map, Step, Window
from flyweight.export.reading import SAME, Reading, settings
from flyweight.runs.card import Card

if TYPE_CHECKING:
    import onnx


def lowered(model: onnx.ModelProto, card: Card, name: str) -> Floats:
    """Bring a graph to steps.

    Args:
        model: prepared: batch norm folded where it can be, all shapes known.
        card: of the network.
        name: of the network, for messages.

    Raises:
        FlyweightError: an operator cannot be held; the message names it.
    """
    return _Lowering(model, card, name).network()


class _Lowering:
    def __init__(self, model: onnx.ModelProto, card: Card, name: str) -> None:
        self._reading, self._card, self._name = Reading(model), card, name
        self._constants = self._reading.constants
        self._maps: dict[str, Map] = {}
        self._flat: set[str] = set()
        self._steps: list[Step] = []

    def network(self) -> Floats:
        graph = self._reading.graph
        entry = Map(graph.input[0].name, *self._card.input_shape)
        self._maps[entry.name] = entry
        # as `normalize` computes it, in float32
        scale = [1 / (255 * one) for one in self._card.std]
        shift = [-mean / std for mean, std in zip(self._card.mean, self._card.std, strict=True)]
        self._steps.append(Step("pixels", entry.name, (), entry, scale=np.array(scale), shift=np.array(shift)))
        for node in graph.node:
            if node.output[0] in self._reading.swallowed:
                continue
            if node.op_type not in _KINDS:
                self._refuse(node, f"the operator {node.op_type}")
            for source in node.input:
                if source and source not in self._maps and source not in self._constants:
                    self._refuse(node, f"{node.op_type} of what is no map")
                if source in self._flat and node.op_type not in ("Gemm", "MatMul", *SAME):
                    self._refuse(node, f"{node.op_type} of a flattened map")
            _KINDS[node.op_type](self, node)
        found = self._maps.get(graph.output[0].name)
        if found is None or found.size != (len(self._card.classes), 1, 1) or found is not self._steps[-1].target:
            raise FlyweightError(f"demo cannot hold {self._name}: its logits are not one number a class, made last")
        return Floats(entry, tuple(self._steps), self._looked())

    def _looked(self) -> Map | None:
        """The map before a mean and a linear layer."""
        last = self._steps[-1]
        before = [step for step in self._steps if last.sources and step.target is last.sources[0]]
        plain = last.kind == "convolution" and last.groups == 1 and last.bounds is None and last.scale is None
        if not plain or len(before) != 1 or before[0].kind != "mean" or last.window.rows * last.window.columns > 1:
            return None
        return before[0].sources[0]

    def _refuse(self, node: onnx.NodeProto, what: str) -> NoReturn:
        raise FlyweightError(
            f"demo cannot hold {self._name}: {what} ({node.name}) has no step in the page's engine; use others"
        )

    def _target(self, name: str, node: onnx.NodeProto) -> Map:
        """A new map of a tensor of the graph."""
        shape = self._reading.shapes.get(name, [])
        if len(shape) not in (2, 4) or min(shape[1:]) < 1:
            self._refuse(node, f"{node.op_type} with {len(shape)} dimensions")
        channels, height, width = [*shape[1:], 1, 1][:3]
        self._maps[name] = Map(name, channels, height, width)
        return self._maps[name]

    def _made(self, kind: Kind, node: onnx.NodeProto, sources: tuple[Map, ...], **more: Any) -> None:
        """A step with the bounds behind it and the batch norm behind those."""
        name = node.output[0]
        if "bounds" not in more:
            relu = self._reading.behind(name, "Relu", "Clip")
            if relu is not None:
                name, more["bounds"] = relu.output[0], self._bounds(relu)
        norm = self._reading.behind(name, "BatchNormalization") if "scale" not in more else None
        if norm is not None:
            name = norm.output[0]
            more["scale"], more["shift"] = self._reading.affine(norm)
        self._steps.append(Step(kind, node.name, sources, self._target(name, node), **more))

    def _bounds(self, node: onnx.NodeProto) -> tuple[float, float]:
        if node.op_type == "Relu":
            return 0.0, float("inf")
        given = [*node.input[1:], "", ""][:2]
        if any(name and name not in self._constants for name in given):
            self._refuse(node, "Clip between what is no constant")
        low, high = (float(self._constants[name].reshape(-1)[0]) if name else None for name in given)
        return -float("inf") if low is None else low, float("inf") if high is None else high

    def _convolution(self, node: onnx.NodeProto) -> None:
        weight, source = self._constants.get(node.input[1]), self._maps.get(node.input[0])
        if weight is None or source is None or weight.ndim != 4:
            self._refuse(node, f"{node.op_type} whose weights are no constants of a plane")
        groups = settings(node).get("group", 1)
        depthwise = groups == source.channels == len(weight) > 1
        self._layer(node, source, weight, groups, self._window(node, *weight.shape[2:]), depthwise)

    def _layer(
        self, node: onnx.NodeProto, source: Map, weight: np.ndarray, groups: int, window: Window, depthwise: bool
    ) -> None:
        bias = np.zeros(len(weight))
        if len(node.input) > 2 and node.input[2]:
            bias = np.broadcast_to(self._constants[node.input[2]].reshape(-1), (len(weight),))
        kind: Kind = "depthwise" if depthwise else "convolution"
        self._made(kind, node, (source,), weight=weight, bias=bias, groups=groups, window=window)

    def _window(self, node: onnx.NodeProto, rows: int, columns: int) -> Window:
        set_ = settings(node)
        down, right = set_.get("strides", [1, 1])
        spread_rows, spread_columns = set_.get("dilations", [1, 1])
        above, left = set_.get("pads", [0] * 4)[:2]
        return Window(rows, columns, down, right, spread_rows, spread_columns, above, left)

    def _linear(self, node: onnx.NodeProto) -> None:
        """A linear layer is a convolution whose kernel is as large as its source."""
        set_ = settings(node)
        weight, source = self._constants.get(node.input[1]), self._maps.get(node.input[0])
        plain = set_.get("alpha", 1.0) == set_.get("beta", 1.0) == 1 and not set_.get("transA", 0)
        flat = source is not None and (node.input[0] in self._flat or source.height * source.width == 1)
        if weight is None or source is None or weight.ndim != 2 or not plain or not flat:
            self._refuse(node, f"{node.op_type} of another form than a linear layer")
        weight = (weight if set_.get("transB", 0) else weight.T).reshape(-1, *source.size)
        self._layer(node, source, weight, 1, Window(source.height, source.width), depthwise=False)

    def _arithmetic(self, node: onnx.NodeProto) -> None:
        """Two maps, or a map and a constant of one number or of one a channel."""
        maps = [self._maps[name] for name in node.input if name in self._maps]
        if len(maps) == 2:
            if node.op_type not in ("Add", "Mul"):
                self._refuse(node, f"{node.op_type} of two maps")
            maps.sort(key=lambda one: -one.height * one.width)
            first, second = maps
            if second.size not in (first.size, (first.channels, 1, 1)):
                self._refuse(node, f"{node.op_type} of maps of two shapes")
            kind: Kind = "add" if node.op_type == "Add" else "multiply"
            self._made(kind, node, (first, second), option=int(second.size != first.size))
            return
        first_is_map = node.input[0] in self._maps
        constant = self._constants[node.input[1 if first_is_map else 0]].astype(np.float64)
        channels = maps[0].channels
        each = constant.ndim in (3, 4) and constant.size == channels == constant.shape[-3]
        if (constant.size != 1 and not each) or (node.op_type == "Div" and not first_is_map):
            self._refuse(node, f"{node.op_type} of a map and a constant of another shape")
        number = np.broadcast_to(constant.reshape(-1), (channels,))
        one, zero = np.ones(channels), np.zeros(channels)
        scale, shift = {
            "Add": (one, number),
            "Mul": (number, zero),
            "Div": (1 / np.where(number == 0, np.nan, number), zero),
            "Sub": (one, -number) if first_is_map else (-one, number),
        }[node.op_type]
        self._affine(node, maps[0], scale, shift)

    def _affine(self, node: onnx.NodeProto, source: Map, scale: np.ndarray, shift: np.ndarray) -> None:
        # bounds come before the factor, so that those behind it are a step of their own
        self._made("affine", node, (source,), scale=scale, shift=shift, bounds=None)

    def _norm(self, node: onnx.NodeProto) -> None:
        self._affine(node, self._maps[node.input[0]], *self._reading.affine(node))

    def _clamp(self, node: onnx.NodeProto) -> None:
        self._made("clamp", node, (self._maps[node.input[0]],), bounds=self._bounds(node))

    def _sigmoid(self, node: onnx.NodeProto) -> None:
        self._made("sigmoid", node, (self._maps[node.input[0]],))

    def _pooling(self, node: onnx.NodeProto) -> None:
        set_, source = settings(node), self._maps[node.input[0]]
        if set_.get("ceil_mode", 0) or set_.get("storage_order", 0) or len(node.output) > 1:
            self._refuse(node, f"{node.op_type} with ceil_mode or places")
        window = self._window(node, *set_["kernel_shape"])
        whole = (window.rows, window.columns) == (source.height, source.width) and not any(set_.get("pads", []))
        if node.op_type == "AveragePool" and whole:
            self._mean(node)
            return
        kind: Kind = "maximum" if node.op_type == "MaxPool" else "average"
        target = self._target(node.output[0], node)
        counted = set_.get("count_include_pad", 0)
        self._steps.append(Step(kind, node.name, (source,), target, window=window, option=counted))

    def _mean(self, node: onnx.NodeProto) -> None:
        set_, source = settings(node), self._maps[node.input[0]]
        axes = set_.get("axes") or [int(axis) for name in node.input[1:2] for axis in self._constants[name].reshape(-1)]
        if node.op_type == "ReduceMean" and sorted(axis % 4 for axis in axes) != [2, 3]:
            self._refuse(node, "a mean over other axes than height and width")
        self._steps.append(Step("mean", node.name, (source,), self._target(node.output[0], node)))

    def _highest(self, node: onnx.NodeProto) -> None:
        source = self._maps[node.input[0]]
        window = Window(source.height, source.width)
        self._steps.append(Step("maximum", node.name, (source,), self._target(node.output[0], node), window=window))

    def _concatenation(self, node: onnx.NodeProto) -> None:
        parts = [self._maps.get(name) for name in node.input]
        if settings(node)["axis"] not in (1, -3) or any(part is None for part in parts):
            self._refuse(node, "Concat of other than channels")
        target, at = self._target(node.output[0], node), 0
        for part in parts:
            assert part is not None
            self._steps.append(Step("concatenate", node.name, (part,), target, option=at))
            at += part.channels

    def _same(self, node: onnx.NodeProto) -> None:
        name, source = node.input[0], self._maps[node.input[0]]
        shape = self._reading.shapes.get(node.output[0], [])[1:]
        if shape == [int(np.prod(source.size))]:
            self._flat.add(node.output[0])
        elif shape != list(source.size) or name in self._flat:
            self._refuse(node, f"{node.op_type} to {len(shape) + 1} dimensions")
        if source.height * source.width == 1:
            self._flat.discard(node.output[0])
        self._maps[node.output[0]] = source


_KINDS: dict[str, Callable[[_Lowering, onnx.NodeProto], None]] = {
    "Conv": _Lowering._convolution,
    "Gemm": _Lowering._linear,
    "MatMul": _Lowering._linear,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _Lowering._arithmetic),
    "BatchNormalization": _Lowering._norm,
    **dict.fromkeys(("Relu", "Clip"), _Lowering._clamp),
    "Sigmoid": _Lowering._sigmoid,
    **dict.fromkeys(("MaxPool", "AveragePool"), _Lowering._pooling),
    **dict.fromkeys(("GlobalAveragePool", "ReduceMean"), _Lowering._mean),
    "GlobalMaxPool": _Lowering._highest,
    "Concat": _Lowering._concatenation,
    **dict.fromkeys(SAME, _Lowering._same),
}
"""Operators that have a step. Bounds, and a batch norm behind them, are parts of the step before."""
