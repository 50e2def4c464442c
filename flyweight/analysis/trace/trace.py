"""What one forward pass did: values, operators, module calls. Plain records; :mod:`recorder` writes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import nn

# what the recorder adds where a write to one tensor changes another one over the same memory
WRITE_THROUGH_VIEW = "write_through_view"
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(eq=False)
class Call:
    """One call of a module.

    Attributes:
        path: of the module; empty for the network itself.
        output: the first tensor that it returned; None where there was none.
    """

    path: str
    module: nn.Module
    output: Value | None = None

    @property
    def leaf(self) -> bool:
        """A module without children, other than the network itself and empty containers."""
        return bool(self.path) and not isinstance(self.module, _CONTAINERS) and not any(self.module.children())


@dataclass(eq=False)
class Value:
    """One tensor at one moment; an in-place operator makes a new value of the same tensor.

    Attributes:
        shape: sizes, the batch of 1 included.
        index: its place in the order in which values came up: what a value is made of has a smaller one.
        producer: the node that made it; None for the input, parameters and constants.
        parameter: qualified name when it is a parameter of the network.
    """

    shape: tuple[int, ...]
    index: int
    producer: Node | None = field(default=None, repr=False)
    parameter: str | None = None


@dataclass(eq=False)
class Node:
    """One executed operator.

    Attributes:
        name: of the operator, such as ``convolution`` or ``relu_``.
        args: every argument by the name in the operator's schema, each tensor replaced by its :class:`Value`.
        inputs: values read.
        outputs: values made, in the order of the results.
        call: the innermost module call that it ran in; None outside any.
        macs: multiply-accumulates where torch has a formula for the operator, else None.
        pointwise: torch tags the operator as element by element.
        seeded: torch tags the operator as one that draws random numbers.
        ordinal: position in the stream of dispatched operators; -1 for one that does not count
            (detaching, and what only this trace adds).
        index: position among the nodes of the trace.
    """

    name: str
    args: dict[str, Any] = field(repr=False)
    inputs: list[Value] = field(repr=False)
    call: Call | None
    macs: int | None
    pointwise: bool
    seeded: bool
    ordinal: int
    index: int
    outputs: list[Value] = field(default_factory=list, repr=False)

    @property
    def path(self) -> str:
        """Path of the innermost module that it ran in; empty for the network itself."""
        return self.call.path if self.call else ""

    @property
    def in_leaf(self) -> bool:
        """Whether it ran inside a module without children."""
        return self.call is not None and self.call.leaf


@dataclass(eq=False)
class Trace:
    """What one forward pass did.

    Attributes:
        input_shape: (C, H, W), without the batch.
        outputs: values that the network returned.
        events: the order of things for a table: calls of leaf modules, and nodes outside any of them.
        leaks: layers to which values came back from outside torch (NumPy), so that the trace has a hole.
        unregistered: values that are weights which the network does not know of, each with the attribute that holds
            it (``stage.layers``); empty where none was found.
        random: how it is known that another run in evaluation mode may be another network; empty where it is one.
    """

    model: nn.Module
    input_shape: tuple[int, ...]
    input: Value
    outputs: list[Value] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    events: list[Call | Node] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    unregistered: dict[Value, str] = field(default_factory=dict)
    random: str = ""
