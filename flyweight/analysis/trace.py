"""What one forward pass did: values, operators, module calls. Plain records; :mod:`recorder` writes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import nn

WRITE_THROUGH_VIEW = "write_through_view"
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Ref:
    """Stands for a tensor in the arguments of a :class:`Node`: the index of its :class:`Value`."""

    value: int


@dataclass
class Value:
    """One tensor at one moment; an in-place operator makes a new value of the same tensor.

    Attributes:
        shape: sizes, the batch of 1 included.
        producer: index of the node that made it; None for the input, parameters and constants.
        dependent: whether the network's input had a part in it.
        parameter: qualified name when it is a parameter of the network.
    """

    shape: tuple[int, ...]
    producer: int | None
    dependent: bool
    parameter: str | None = None


@dataclass
class Node:
    """One executed operator.

    Attributes:
        name: of the operator, such as ``convolution`` or ``relu_``.
        args: every argument by the name in the operator's schema, tensors replaced by :class:`Ref`.
        inputs: values read.
        outputs: values made, in the order of the results.
        call: index of the innermost module call it ran in; -1 outside any.
        macs: multiply-accumulates where torch has a formula for the operator, else None.
        pointwise: torch tags the operator as element by element.
        ordinal: position in the stream of dispatched operators; -1 for one that does not count
            (detaching, and what only this trace adds).
    """

    name: str
    args: dict[str, Any]
    inputs: list[int]
    outputs: list[int]
    call: int
    macs: int | None
    pointwise: bool
    ordinal: int


@dataclass
class Call:
    """One call of a module: its path, itself, and the value that it returned (its first tensor)."""

    path: str
    module: nn.Module
    parent: int
    output: int | None = None

    @property
    def leaf(self) -> bool:
        """A module without children, other than the network itself and empty containers."""
        return (
            bool(self.path)
            and not isinstance(self.module, _CONTAINERS)
            and not any(True for _ in self.module.children())
        )


@dataclass
class Trace:
    """What one forward pass did.

    Attributes:
        input_shape: (C, H, W), without the batch.
        input: index of the input's value.
        outputs: values that the network returned.
        events: the order of things for a table: ("call", index of a leaf call) or ("node", index of an operator
            outside any leaf call).
        leaks: layers where values left the graph (numbers read by Python, NumPy), so that the trace has a hole.
        unregistered: values that are weights which the network does not know of, each with the attribute that holds
            it (``stage.layers``); empty where none was found.
    """

    model: nn.Module
    input_shape: tuple[int, ...]
    values: list[Value] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    events: list[tuple[str, int]] = field(default_factory=list)
    input: int = 0
    outputs: list[int] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    unregistered: dict[int, str] = field(default_factory=dict)

    def path(self, node: Node) -> str:
        """Path of the innermost module that the operator ran in; empty for the network itself."""
        return self.calls[node.call].path if node.call >= 0 else ""

    def in_leaf(self, node: Node) -> bool:
        """Whether the operator ran inside a module without children."""
        return node.call >= 0 and self.calls[node.call].leaf

    def consumers(self) -> dict[int, list[int]]:
        """Nodes that read a value, by value."""
        readers: dict[int, list[int]] = {}
        for index, node in enumerate(self.nodes):
            for value in dict.fromkeys(node.inputs):
                readers.setdefault(value, []).append(index)
        return readers
