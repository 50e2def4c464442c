"""A graph as it is read node by node, to be written in another language."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

SAME = ("Reshape", "Flatten", "Squeeze", "Identity", "Dropout")
"""What leaves the numbers of a single position in their order."""


class Reading:
    """What is known of a graph's tensors, and which nodes have been taken in by the one before.

    Args:
        model: all shapes known.

    Attributes:
        graph: of the model.
        constants: arrays of it, by their names.
        shapes: of tensors, by their names; the number of images is 0.
        swallowed: outputs of nodes that are part of the one before.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        from onnx import numpy_helper

        self.graph = model.graph
        self.constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
        self.shapes = {
            info.name: [size.dim_value for size in info.type.tensor_type.shape.dim]
            for info in (*model.graph.value_info, *model.graph.output, *model.graph.input)
        }
        self.swallowed: set[str] = set()

    def logits(self) -> str:
        """The tensor that a layer with weights gives and that only changes its shape on its way out."""
        makers = {name: node for node in self.graph.node for name in node.output}
        name = self.graph.output[0].name
        while name in makers and makers[name].op_type in SAME:
            name = makers[name].input[0]
        return name

    def behind(self, name: str, *kinds: str) -> onnx.NodeProto | None:
        """The one node that reads a tensor, where it is of such a kind; its target then takes the tensor's place."""
        readers = [node for node in self.graph.node if name in node.input]
        if name == self.logits() or len(readers) != 1 or readers[0].op_type not in kinds:
            return None
        self.swallowed.add(readers[0].output[0])
        return readers[0]

    def affine(self, norm: onnx.NodeProto) -> tuple[np.ndarray, np.ndarray]:
        """What batch norm multiplies with and what it adds, float64."""
        weight, bias, mean, variance = (self.constants[name].astype(np.float64) for name in norm.input[1:5])
        gain = weight / np.sqrt(variance + settings(norm).get("epsilon", 1e-5))
        return gain, bias - mean * gain


def settings(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes."""
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
