"""What is put around a network's graph: normalisation before it, probabilities behind it, words about it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from flyweight import __version__
from flyweight.export.graph import INPUT, OUTPUT
from flyweight.inference.graph_file import GRAPH_HASH, WORDS_HASH, hash_of
from flyweight.runs.card import Card
from flyweight.text import printable

if TYPE_CHECKING:
    import onnx

GREY = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in a grey: ITU-R 601, as Pillow has it."""


def normalised(model: onnx.ModelProto, card: Card, takes: Literal["pixels", "shares", "colours"], name: str) -> None:
    """Let a graph take images as they are and normalise them itself.

    A subtraction and a division, as they stand: folded into the first convolution they would change the borders, which
    are padded with zeros after the normalisation.

    Args:
        model: takes normalised images; it is changed.
        card: with mean and standard deviation.
        takes: ``pixels``: (N, H, W, C) uint8; ``shares``: (N, C, H, W) float32 in 0 to 1; ``colours``: the same with
            three channels, for a network that takes grey ones.
        name: of the new input.
    """
    from onnx import TensorProto, helper, numpy_helper

    channels, height, width = card.input_shape
    nodes, constants, value = [], {}, name
    layout: list[str | int | None] = ["batch", channels, height, width]

    def step(operator: str, output: str, constant: object = None, **settings: Any) -> None:
        nonlocal value
        inputs = [value]
        if constant is not None:
            constants[f"{output}.by"] = numpy_helper.from_array(np.asarray(constant, np.float32), f"{output}.by")
            inputs.append(f"{output}.by")
        nodes.append(helper.make_node(operator, inputs, [output], name=output, **settings))
        value = output

    if takes == "pixels":
        layout = ["batch", height, width, channels]
        # moved while a number is a byte
        step("Transpose", "channels_first", perm=[0, 3, 1, 2])
        step("Cast", "floats", to=TensorProto.FLOAT)
        step("Div", "shares", 255)
    if takes == "colours":
        layout = ["batch", len(GREY), height, width]
        weights = np.reshape(GREY, (1, 3, 1, 1))
        step("Conv", "grey", weights, kernel_shape=[1, 1], pads=[0, 0, 0, 0], strides=[1, 1], dilations=[1, 1], group=1)
    step("Sub", "centred", np.reshape(card.mean, (1, -1, 1, 1)))
    step("Div", "normalised", np.reshape(card.std, (1, -1, 1, 1)))
    for node in model.graph.node:
        for place, entry in enumerate(node.input):
            if entry == INPUT:
                node.input[place] = value
    for place, node in enumerate(nodes):
        model.graph.node.insert(place, node)
    model.graph.initializer.extend(constants.values())
    kind = TensorProto.UINT8 if takes == "pixels" else TensorProto.FLOAT
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info(name, kind, layout))


def with_probabilities(model: onnx.ModelProto, card: Card, name: str) -> None:
    """Let a graph give probabilities in place of logits: those that `predict` tells, with the network's temperature.

    Args:
        model: gives logits; it is changed.
        card: of the network.
        name: of the new output.
    """
    from onnx import TensorProto, helper, numpy_helper

    scaled = OUTPUT
    if card.temperature != 1:
        scaled = "scaled"
        by = numpy_helper.from_array(np.asarray(card.temperature, np.float32), "temperature")
        model.graph.initializer.append(by)
        model.graph.node.append(helper.make_node("Div", [OUTPUT, by.name], [scaled], name=scaled))
    model.graph.node.append(helper.make_node("Softmax", [scaled], [name], name="softmax", axis=-1))
    del model.graph.output[:]
    shape: list[str | int | None] = ["batch", len(card.classes)]
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))


def one_image(model: onnx.ModelProto) -> None:
    """Let a graph take one image at once."""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1


def preprocessing(card: Card) -> dict[str, object]:
    """How an image becomes what the network takes, for programs: `flyweight.images.spec.Preprocessing` in words."""
    channels, height, width = card.input_shape
    return {
        "size": [height, width],
        "channels": {1: "grey", 3: "RGB"}.get(channels, channels),
        "orientation": "exif",
        "transparent": "on white",
        "resize": card.resize,
        "filter": "bicubic, antialiased",
        "scale": "1/255",
        "mean": list(card.mean),
        "std": list(card.std),
    }


def told(card: Card) -> dict[str, str]:
    """What a graph says of itself: each value is JSON, but for plain words."""
    return {
        "network": printable(network(card)),
        "classes": json.dumps(card.classes, ensure_ascii=False),
        "preprocessing": json.dumps(preprocessing(card)),
        "temperature": json.dumps(card.temperature),
        "threshold": json.dumps(card.threshold),
        "weights_sha256": card.sha256,
        "data": card.data,
        "data_fingerprint": card.fingerprint,
        "flyweight_version": __version__,
    }


def say(model: onnx.ModelProto, words: Mapping[str, str]) -> None:
    """Write words into a graph's metadata, in place of what is there."""
    from onnx import helper

    del model.metadata_props[:]
    helper.set_model_props(model, dict(words))


def sealed(model: onnx.ModelProto) -> bytes:
    """The bytes of a file, with hashes of its graph and its words: whoever reads it sees that it is whole."""
    words = {entry.key: entry.value for entry in model.metadata_props}
    graph = hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()
    words |= {GRAPH_HASH: graph}
    say(model, words | {WORDS_HASH: hash_of(words)})
    return model.SerializeToString(deterministic=True)


def network(card: Card) -> str:
    """The network's name without the folder of a user's own class, which is no business of whoever gets the export."""
    return last(card.network)


def last(path: str) -> str:
    """The last part of a path of any system; of a name, the name."""
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]
