"""A rule about the operators that a network runs: those that a runtime has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, field_validator

from flyweight.analysis import Facts
from flyweight.analysis.trace.trace import Node
from flyweight.rules.cures.edit import Edit, together
from flyweight.rules.cures.exchange import exchanged
from flyweight.rules.rule import Blocks, Rule, Verdict
from flyweight.text import some


class OperatorsAmong(Rule):
    """Every operator that runs is one of a list: what a runtime has.

    Attributes:
        operators: what they do, as a failing verdict tells it (``conv``, ``depthwise_conv``, ``grouped_conv``,
            ``linear``, ``batch_norm``, ``avg_pool``, ``mean``, ``max_pool``, else the function's own name), or the
            class of a layer of torch.nn, such as ``Conv2d``; or the name of a built-in list, ``tflite-micro-int8`` or
            ``onnx-int8``.
    """

    kind: Literal["operators_among"]
    operators: tuple[str, ...] | str = Field(min_length=1)

    @field_validator("operators")
    @classmethod
    def _known(cls, given: tuple[str, ...] | str) -> tuple[str, ...] | str:
        if isinstance(given, str) and given not in LISTS:
            raise ValueError(f"there is no such list, only {', '.join(LISTS)}; or write names in brackets")
        return given

    def check(self, facts: Facts, blocks: Blocks) -> Verdict:
        """See :class:`Rule`."""
        strangers = self._strangers(facts)
        if not strangers:
            return self.passes(f"{len({_sort(facts, node) for node in _running(facts)})} kinds, all of them there")
        told = [f"{facts.graph.names[node]} ({_sort(facts, node)})" for node in strangers]
        detail = f"{len(told)} not among those there are: {some(told)}"
        return self.fails(detail, facts.graph.names[strangers[0]], len(told))

    def _strangers(self, facts: Facts) -> list[Node]:
        allowed = LISTS[self.operators] if isinstance(self.operators, str) else self.operators
        lower = {name.lower() for name in allowed}
        # a layer's class stands for all that it runs; the built-in lists tell convolutions of one class apart
        classes = lower if not isinstance(self.operators, str) else set()
        return [
            node
            for node in _running(facts)
            if _sort(facts, node).lower() not in lower and _layer(node).lower() not in classes
        ]

    def edits(self, facts: Facts, blocks: Blocks) -> Iterator[Edit]:
        """See :class:`Rule`."""
        edits = [exchanged(facts, node) for node in self._strangers(facts)]
        known = [edit for edit in edits if edit is not None]
        if known:
            yield together(known)


def _running(facts: Facts) -> list[Node]:
    """Operators that make something of the image, but for those that only say how the same numbers are read."""
    graph = facts.graph
    moved = ("reshape", "squeeze", "factory")
    return [
        node
        for node in graph.trace.nodes
        if graph.inputs(node)
        and graph.runs(node)
        and graph.ops[node].kind not in moved
        and graph.ops[node].row != "never"
    ]


def _layer(node: Node) -> str:
    """The class of the layer that an operator runs in; empty where a network or a block runs it itself."""
    return type(node.call.module).__name__ if node.call is not None and node.call.leaf else ""


def _sort(facts: Facts, node: Node) -> str:
    """What an operator is called here: by what it does where several names do the same."""
    op = facts.graph.ops[node]
    if op.kind == "convolution":
        part = next((c for c in facts.convolutions if c.node is node), None)
        if part is not None and part.depthwise:
            return "depthwise_conv"
        return "grouped_conv" if part is not None and part.groups > 1 else "conv"
    if op.kind == "product":
        return "linear"
    if op.kind == "batch norm":
        return "batch_norm"
    if op.takes == "average" and op.kind in ("pooling", "reduction"):
        return "avg_pool" if op.kind == "pooling" else "mean"
    if op.kind == "pooling":
        return "max_pool"
    return (op.label or node.name).split("::")[-1].strip("_")


LISTS: dict[str, tuple[str, ...]] = {
    "tflite-micro-int8": (
        "conv", "depthwise_conv", "linear", "batch_norm", "relu", "clamp", "hardtanh", "leaky_relu", "hardswish",
        "sigmoid", "tanh", "elu", "add", "sub", "mul", "maximum", "minimum", "avg_pool", "max_pool", "mean", "sum",
        "amax",
        "cat", "pad", "slice", "split", "select", "unsqueeze", "interpolate", "upsample_nearest2d", "softmax",
        "log_softmax",
    ),
    "onnx-int8": (
        "conv", "depthwise_conv", "grouped_conv", "linear", "matmul", "batch_norm", "relu", "clamp", "leaky_relu",
        "sigmoid", "add", "mul", "avg_pool", "max_pool", "mean", "cat", "split", "slice", "pad", "softmax", "unsqueeze",
        "upsample_nearest2d", "interpolate", "amax", "amin", "select",
    ),
}  # fmt: skip
"""Operators that have a kernel in 8 bits: TensorFlow Lite Micro's (``micro_mutable_op_resolver.h``), and those for
which onnxruntime's quantiser writes one (``quantization/registry.py``). A batch norm is folded into its convolution."""
