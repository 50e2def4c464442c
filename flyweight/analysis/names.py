"""Names of operators as a person would call them: the module's path, or where a functional operator ran."""

from __future__ import annotations

from math import prod

from flyweight.analysis.trace import Node, Trace

_FRIENDLY = {
    "convolution": "conv",
    "addmm": "linear",
    "mm": "matmul",
    "bmm": "matmul",
    "native_batch_norm": "batch_norm",
    "native_layer_norm": "layer_norm",
    "native_group_norm": "group_norm",
    "max_pool2d_with_indices": "max_pool2d",
    "constant_pad_nd": "pad",
    "unsafe_view": "reshape",
    "view": "reshape",
}


def friendly(trace: Trace, node: Node) -> str:
    """Name of an operator without the marks of its implementation."""
    name = node.name.strip("_")
    if name in ("view", "reshape", "unsafe_view") and node.outputs and node.inputs:
        before, after = trace.values[node.inputs[0]].shape, trace.values[node.outputs[0]].shape
        if len(after) == 2 and len(before) > 2 and prod(before[2:]) > 1:
            return "flatten"
    return _FRIENDLY.get(name, name)


class Names:
    """A name for each node of a trace; a second functional ``add`` of one module becomes ``add_2``."""

    def __init__(self, trace: Trace) -> None:
        self._names: list[str] = []
        counts: dict[str, int] = {}
        for node in trace.nodes:
            path = trace.path(node)
            if trace.in_leaf(node):
                self._names.append(path)
                continue
            dependent = any(trace.values[value].dependent for value in node.outputs)
            name = f"{path}.{friendly(trace, node)}" if path else friendly(trace, node)
            if dependent:
                counts[name] = counts.get(name, 0) + 1
            self._names.append(f"{name}_{counts[name]}" if counts.get(name, 0) > 1 else name)

    def of(self, node: int) -> str:
        """Name of a node's layer."""
        return self._names[node]
