"""A graph in 8 bits: static, signed, weights by channel, in onnxruntime's QDQ form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from flyweight.errors import FlyweightError
from flyweight.export.calibrate import Range
from flyweight.export.graph import IR_VERSION, LAYERS, quiet
from flyweight.files import scratch
from flyweight.text import one_line

if TYPE_CHECKING:
    import onnx

OPERATORS = (
    "Conv", "Gemm", "MatMul", "Add", "Mul", "Relu", "Clip", "LeakyRelu", "Sigmoid", "MaxPool", "AveragePool",
    "GlobalAveragePool", "Concat", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Split", "Slice", "Pad",
)  # fmt: skip
"""Those that have integer kernels, or move numbers only. Batch norm is none: one that no convolution could take in
stays in float."""

_THROUGH = ("Reshape", "Flatten", "Squeeze")
_ACTIVATIONS = ("Relu", "Clip", "LeakyRelu", "Sigmoid")


def prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph as the quantiser wants it: constants folded, the shape of every value known.

    Raises:
        FlyweightError: it cannot be.
    """
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with scratch() as folder, quiet():
        # by way of a file: given a model, it would move the weights out of that
        before, path = folder / "model.onnx", folder / "prepared.onnx"
        onnx.save(model, before)
        try:
            quant_pre_process(str(before), str(path), skip_symbolic_shape=True)
            return onnx.load(path)
        except Exception as error:  # onnxruntime's passes raise whatever they meet
            raise FlyweightError(f"it cannot be prepared for 8 bits: {one_line(error)}") from error


def quantised(model: onnx.ModelProto, ranges: Mapping[str, Range], left: Sequence[str] = ()) -> onnx.ModelProto:
    """The graph in 8 bits. Its logits stay in float: of 256 levels two would often be equal.

    Signed numbers on both sides: of unsigned activations with signed weights processors with AVX2 and without VNNI
    lose the upper bit of sums.

    Args:
        model: prepared.
        ranges: of each tensor.
        left: nodes that stay in float.

    Raises:
        FlyweightError: it cannot be.
    """
    import onnx
    from onnxruntime import quantization as q
    from onnxruntime.quantization.calibrate import TensorsData, save_tensors_data

    # float32 scalars, as the quantiser asserts
    numbers = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    with scratch() as folder, quiet():
        path, cache = folder / "quantised.onnx", folder / "ranges.json"
        try:
            save_tensors_data(TensorsData(q.CalibrationMethod.MinMax, numbers), cache)
            q.quantize_static(
                model,
                str(path),
                quant_format=q.QuantFormat.QDQ,
                op_types_to_quantize=list(OPERATORS),
                per_channel=True,
                activation_type=q.QuantType.QInt8,
                weight_type=q.QuantType.QInt8,
                nodes_to_exclude=list(left),
                calibration_cache_path=cache,
            )
            found = onnx.load(path)
        except Exception as error:  # as above
            raise FlyweightError(f"it cannot be brought to 8 bits: {one_line(error)}") from error
    _float_outputs(found)
    return _cleaned(found)


def layers(model: onnx.ModelProto) -> dict[str, tuple[str, ...]]:
    """Layers with weights, in order, and the nodes of each: its own, and the activation that follows it alone."""
    found = {}
    for node in model.graph.node:
        if node.op_type in LAYERS:
            readers = [reader for reader in model.graph.node if node.output[0] in reader.input]
            # a rounding between a layer and its activation would be one that there is nowhere else
            after = [reader.name for reader in readers if len(readers) == 1 and reader.op_type in _ACTIVATIONS]
            found[node.name] = (node.name, *after)
    return found


def _float_outputs(model: onnx.ModelProto) -> None:
    """Take the roundings away between the last layer and the output: each a QuantizeLinear and a DequantizeLinear."""
    graph, below = model.graph, None
    name = graph.output[0].name
    while True:
        maker = _maker(model, name)
        if maker is not None and maker.op_type in _THROUGH and _readers(model, maker.input[0]) == 1:
            below, name = maker, maker.input[0]
            continue
        rounding = None if maker is None or maker.op_type != "DequantizeLinear" else _maker(model, maker.input[0])
        if rounding is None or _readers(model, rounding.output[0]) > 1:
            return
        source, origin = rounding.input[0], _maker(model, rounding.input[0])
        if below is not None:
            below.input[0] = source
        elif origin is not None and _readers(model, source) == 1:
            # nothing lies between here and the output, so that whoever makes this makes the output
            origin.output[list(origin.output).index(source)] = name
            source = name
        else:
            return
        graph.node.remove(maker)
        graph.node.remove(rounding)
        name = source


def _maker(model: onnx.ModelProto, name: str) -> onnx.NodeProto | None:
    return next((node for node in model.graph.node if name in node.output), None)


def _readers(model: onnx.ModelProto, name: str) -> int:
    return sum(name in node.input for node in model.graph.node)


def _cleaned(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without what the optimiser left: names of domains that nobody uses, shapes, unread constants."""
    used = {node.domain for node in model.graph.node}
    for entry in list(model.opset_import):
        if entry.domain and entry.domain not in used:
            model.opset_import.remove(entry)
    read = {name for node in model.graph.node for name in node.input}
    for tensor in list(model.graph.initializer):
        if tensor.name not in read:
            model.graph.initializer.remove(tensor)
    del model.graph.value_info[:]
    model.ir_version = IR_VERSION
    return model
