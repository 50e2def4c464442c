"""A network as an ONNX graph: torch's own exporter, then what it left is tidied and what would break is refused."""

from __future__ import annotations

import ast
import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from flyweight import __version__
from flyweight.errors import FlyweightError
from flyweight.text import one_line, short

if TYPE_CHECKING:
    import onnx

OPSET = 18
"""The newest that torch writes without converting, and old enough for any onnxruntime-web since 1.14."""

IR_VERSION = 8
"""The one that came with opset 18. Newer ones only add what is not used here, and older readers refuse them."""

INPUT, OUTPUT = "pixel_values", "logits"


def build(network: nn.Module, shape: Sequence[int], name: str) -> onnx.ModelProto:
    """A graph for any number of images, in one piece.

    Args:
        network: (N, C, H, W) float -> (N, classes) logits, in eval mode.
        shape: (C, H, W) of an image.
        name: of the network, for people.

    Returns:
        a model with the input ``pixel_values`` (N, C, H, W) float32 and the output ``logits`` (N, classes) float32.

    Raises:
        FlyweightError: it cannot be held; the message names the operator.
    """
    sample = torch.from_numpy(np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32))
    try:
        with quiet(), torch.no_grad():
            model = _exported(network, sample)
            if not _any_number(model):
                # `len(x)` becomes a number where torch runs the network, and stays one where it reads the Python
                model = _exported(network, sample, strict=True)
    except Exception as error:  # torch runs the user's forward, and raises whatever that and its own passes raise
        raise FlyweightError(f"ONNX cannot hold {name}: {_reason(error)}") from error
    _forget(model)
    _refuse(model, name)
    _pool(model)
    model.ir_version, model.graph.name = IR_VERSION, short(name, 80)
    model.producer_name, model.producer_version = "flyweight", __version__
    return model


def _exported(network: nn.Module, sample: Tensor, strict: bool = False) -> onnx.ModelProto:
    sizes = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(network, (sample,), dynamic_shapes=sizes, strict=True) if strict else None
    exported = torch.onnx.export(
        network if program is None else program,
        (sample,),
        dynamo=True,
        external_data=False,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=sizes,
        verbose=False,
    )
    assert exported is not None
    return exported.model_proto


def _any_number(model: onnx.ModelProto) -> bool:
    """Whether a graph takes any number of images."""
    return bool(model.graph.input[0].type.tensor_type.shape.dim[0].dim_param)


@contextmanager
def quiet() -> Iterator[None]:
    """What libraries say of their own insides, printed, warned and logged, is no news for whoever exports a network."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _reason(error: BaseException) -> str:
    """Why the exporter gave up, in a few words: the operator by name where it is one."""
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    for cause in causes:
        missing = re.search(r"No ONNX function found for <OpOverload\(op='([\w.]+)'", str(cause))
        if missing is not None:
            return f"it has no counterpart of the operator {missing[1]}; use others"
        # torch's class is private and has moved between versions
        if "GuardOnDataDependent" in type(cause).__name__:
            return "it chooses its way by what it sees, and a graph has one way"
    return one_line(causes[-1])


def _forget(model: onnx.ModelProto) -> None:
    """Take away what torch notes for itself, paths of this machine among it; nodes get the names of their modules."""
    taken: Counter[str] = Counter()
    for node in model.graph.node:
        noted = {entry.key: entry.value for entry in node.metadata_props}
        scopes = [
            scope
            for scope in ast.literal_eval(noted.get("pkg.torch.onnx.name_scopes", "[]"))[:-1]
            if scope and not scope.startswith("_")
        ]
        # a convolution is called as its module is, so that people find the layer that a message speaks of
        name = scopes[-1] if scopes and node.op_type in LAYERS else "/".join([*scopes[-1:], node.op_type])
        taken[name] += 1
        node.name = name if taken[name] == 1 else f"{name}.{taken[name]}"
        node.doc_string = ""
        del node.metadata_props[:]
    graph = model.graph
    for part in (model, graph, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    del graph.value_info[:]  # its names of dimensions are torch's own; whoever needs it infers it


LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators that hold weights: the layers of a network."""


def _refuse(model: onnx.ModelProto, name: str) -> None:
    """Stop at what the checker passes and other programs read otherwise, or not at all."""
    if model.functions:
        raise FlyweightError(f"ONNX cannot hold {name}: the operator {model.functions[0].name} is no part of ONNX")
    if not _any_number(model):
        raise FlyweightError(
            f"ONNX cannot hold {name}: it computes with how many images there are, and a graph would keep one number"
        )
    for node in model.graph.node:
        settings = {attribute.name: attribute for attribute in node.attribute}
        if node.domain not in ("", "ai.onnx"):
            raise FlyweightError(f"ONNX cannot hold {name}: the operator {node.domain}.{node.op_type} is no part of it")
        if "auto_pad" in settings and settings["auto_pad"].s not in (b"", b"NOTSET"):
            raise FlyweightError(f"ONNX cannot hold {name}: {node.name} pads by itself; give its padding in numbers")
        if node.op_type == "AveragePool" and "ceil_mode" in settings and settings["ceil_mode"].i:
            # pytorch#183528: what lies past the border is counted by some and not by others
            raise FlyweightError(
                f"ONNX cannot hold {name}: {node.name} is an average with ceil_mode, which programs compute"
                " differently; pad in numbers instead"
            )


def _pool(model: onnx.ModelProto) -> None:
    """Write the mean over the whole map as what it is: a mean over axes has no integer kernel."""
    from onnx import helper, numpy_helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for place, node in enumerate(model.graph.node):
        if node.op_type != "ReduceMean" or len(node.input) < 2 or node.input[1] not in constants:
            continue
        axes = sorted(numpy_helper.to_array(constants[node.input[1]]).tolist())
        keeps = next((attribute.i for attribute in node.attribute if attribute.name == "keepdims"), 1)
        if keeps and axes in ([-2, -1], [2, 3]) and _rank(model, node.input[0]) == 4:
            pooled = helper.make_node("GlobalAveragePool", [node.input[0]], list(node.output), name=node.name)
            model.graph.node.remove(node)
            model.graph.node.insert(place, pooled)
    used = {name for node in model.graph.node for name in node.input}
    for tensor in constants.values():
        if tensor.name not in used:
            model.graph.initializer.remove(tensor)


def _rank(model: onnx.ModelProto, value: str) -> int | None:
    """How many dimensions a value of the graph has; None where that is unknown."""
    from onnx import shape_inference

    graph = shape_inference.infer_shapes(model).graph
    for info in (*graph.value_info, *graph.input):
        if info.name == value and info.type.tensor_type.HasField("shape"):
            return len(info.type.tensor_type.shape.dim)
    return None
