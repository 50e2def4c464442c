"""An ONNX file before anything runs it: what it says of itself, and that it is such a file as flyweight writes.

What a stranger's graph can do beside arithmetic is to name other files for its weights, to loop without end, and to
call operators that no ONNX has. flyweight writes none of that, so that it is refused before a runtime sees it. The
file is read by Google's protobuf, which comes with onnxruntime, by the few fields that matter here; fields that occur
once are read as often as they occur, for a parser that knows them better would merge them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from flyweight.errors import RunError
from flyweight.text import printable

MOST_BYTES = 512 * 1024**2
"""Of a file. A compact network has a thousandth of that."""

GRAPH_HASH, WORDS_HASH = "graph_sha256", "words_sha256"
"""The words that hold the SHA-256 of a graph, and of all other words; a flipped letter is in another class's name."""

# message -> field -> (number, type): onnx.proto of ir version 8
_FIELDS: dict[str, dict[str, tuple[int, str]]] = {
    "Model": {"graph": (7, "bytes"), "words": (14, "Entry"), "training": (20, "bytes"), "functions": (25, "bytes")},
    "Entry": {"key": (1, "bytes"), "value": (2, "bytes")},
    "Graph": {"nodes": (1, "Node"), "tensors": (5, "Tensor"), "sparse": (15, "bytes")},
    "Node": {"operator": (4, "bytes"), "settings": (5, "Attribute"), "domain": (7, "bytes")},
    "Attribute": {
        "tensor": (5, "Tensor"), "tensors": (10, "Tensor"), "graph": (6, "bytes"), "graphs": (11, "bytes"),
        "sparse": (22, "bytes"), "sparses": (23, "bytes"),
    },
    "Tensor": {"elsewhere": (13, "bytes"), "place": (14, "int32")},
}  # fmt: skip


@dataclass(frozen=True)
class GraphFile:
    """What an ONNX file holds.

    Attributes:
        words: its metadata.
        graph: the bytes of its graph.
    """

    words: dict[str, str]
    graph: bytes

    @property
    def sha256(self) -> str:
        """Of the graph, without the words about it."""
        return hashlib.sha256(self.graph).hexdigest()


def hash_of(words: Mapping[str, str]) -> str:
    """SHA-256 of a graph's words, but for this hash itself."""
    content = json.dumps({key: value for key, value in words.items() if key != WORDS_HASH}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def read(content: bytes, name: str) -> GraphFile:
    """Look into an ONNX file.

    Args:
        content: of the file.
        name: of the file, for messages.

    Raises:
        RunError: it is none, is damaged, or holds what flyweight does not write.
    """
    from google.protobuf.message import DecodeError

    kinds = _kinds()
    try:
        model = kinds["Model"].FromString(content)
        graphs = [kinds["Graph"].FromString(part) for part in model.graph]
        words = {entry.key[-1].decode(): entry.value[-1].decode() for entry in model.words if entry.key and entry.value}
    except (DecodeError, UnicodeDecodeError, RecursionError):
        raise RunError(f"{name} is no ONNX file, or is damaged: export it again") from None
    if len(graphs) != 1 or not graphs[0].nodes:
        raise RunError(f"{name} is no ONNX file, or is damaged: it holds no graph")
    odd = "functions of its own" if model.functions else "a training" if model.training else _odd(graphs[0])
    if odd is not None:
        raise RunError(f"{name} was not written by flyweight: it holds {odd}, and is not opened")
    return GraphFile(words, model.graph[0])


def _odd(graph: Any) -> str | None:
    """What a graph holds that flyweight does not write, for people."""
    tensors = list(graph.tensors)
    for node in graph.nodes:
        domain = b"".join(node.domain[-1:])
        if domain not in (b"", b"ai.onnx"):
            operator = b"".join(node.operator[-1:])
            return f"the operator {printable((domain + b'.' + operator).decode(errors='replace'))[:80]}"
        for setting in node.settings:
            if setting.graph or setting.graphs:
                return "a graph within the graph"
            if setting.sparse or setting.sparses:
                return "sparse weights"
            tensors += [*setting.tensor, *setting.tensors]
    if graph.sparse:
        return "sparse weights"
    if any(tensor.elsewhere or any(tensor.place) for tensor in tensors):
        return "weights that lie in another file"
    return None


@cache
def _kinds() -> dict[str, Any]:
    """A class for each message, with every field repeated."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    plain = descriptor_pb2.FieldDescriptorProto
    types = {"bytes": plain.TYPE_BYTES, "int32": plain.TYPE_INT32}
    file = descriptor_pb2.FileDescriptorProto(name="flyweight.proto", package="flyweight", syntax="proto2")
    for message, fields in _FIELDS.items():
        described = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            field = described.field.add(name=name, number=number, label=plain.LABEL_REPEATED)
            field.type = types.get(kind, plain.TYPE_MESSAGE)
            if kind not in types:
                field.type_name = f".flyweight.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"flyweight.{name}")) for name in _FIELDS}
