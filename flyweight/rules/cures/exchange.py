"""Layers exchanged for others that do as much: an activation, a norm, a grouped convolution."""

from __future__ import annotations

import torch
from torch import nn

from flyweight.analysis import ConvolutionLayer, Facts
from flyweight.analysis.trace.trace import Node
from flyweight.rules.cures import operators, surgery
from flyweight.rules.cures.edit import Edit, formed
from flyweight.rules.cures.poolings import average_instead


def exchanged(facts: Facts, node: Node) -> Edit | None:
    """Something that every runtime has in the place of an operator; None where nothing is known that would do."""
    graph, name, op = facts.graph, facts.graph.names[node], facts.graph.ops[node]
    path, inputs = node.path, graph.inputs(node)
    if op.kind == "convolution":
        part = next((c for c in facts.convolutions if c.node is node), None)
        return dense(ConvolutionLayer((part,))) if part is not None and part.groups > 1 else None
    if op.kind == "pooling" and op.takes == "maximum":
        pooling = next((p for p in facts.poolings if p.node is node), None)
        return average_instead(facts, pooling) if pooling is not None else None
    shape = node.outputs[0].shape
    if op.kind == "norm" and node.in_leaf and len(shape) == 4:
        text = f"replace {name} by nn.BatchNorm2d({shape[1]})"
        return Edit((name,), text, lambda model: surgery.replace(model, path, nn.BatchNorm2d(shape[1])))
    if len(inputs) != 1 or tuple(inputs[0].shape) != tuple(shape):
        return None
    if node.in_leaf:
        text = f"replace {name} by nn.ReLU()"
        return Edit((name,), text, lambda model: surgery.replace(model, path, nn.ReLU()))
    text = f"replace {name} by F.relu"
    stand = lambda func, x, *args, **kwargs: torch.relu(x)  # noqa: E731
    return Edit((name,), text, lambda model: operators.run_instead(model, graph, node, stand))


def dense(layer: ConvolutionLayer) -> Edit:
    """A grouped or depthwise convolution, or a separable pair, as one dense convolution."""
    first, last = layer.parts[0], layer.parts[-1]
    weights = first.inputs * last.outputs
    for side in first.kernel:
        weights *= side

    def apply(model: nn.Module) -> None:
        old = surgery.convolution_at(model, first.path)
        surgery.replace(model, first.path, surgery.like(old, first.inputs, last.outputs))
        if last is not first:
            surgery.take_away(model, [last.path])

    return Edit((first.name,), f"make {first.name} dense, with {weights:,} weights", apply)


def without(path: str) -> Edit:
    """A layer taken away, with what goes in coming out."""
    return formed(path, "take {} away", lambda model: surgery.take_away(model, [path]))


def put_behind(facts: Facts, kind: str) -> list[Edit]:
    """A layer of a class behind each convolution, for classes that keep a map as it is."""
    made = {
        "BatchNorm2d": lambda channels: nn.BatchNorm2d(channels),
        "Dropout": lambda channels: nn.Dropout(0.1),
        "Dropout2d": lambda channels: nn.Dropout2d(0.1),
        "ReLU": lambda channels: nn.ReLU(),
    }.get(kind)
    if made is None:
        return []
    edits = []
    for part in reversed(facts.convolutions):

        def apply(model: nn.Module, path: str = part.path, channels: int = part.outputs) -> None:
            old = surgery.layer_at(model, path)
            surgery.replace(model, path, nn.Sequential(old, made(channels)))

        inside = {"BatchNorm2d": str(part.outputs), "ReLU": ""}.get(kind, "0.1")
        edits.append(Edit((part.name,), f"put nn.{kind}({inside}) behind {part.name}", apply))
    return edits
