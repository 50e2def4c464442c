"""What happens to files: on disks, in transfers, in editors, and by hands that mean it.

Each takes a file's content and a generator, and gives another content, or None where it can do nothing to such a file.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import torch
import yaml

from flyweight import files
from flyweight.data.cache import sealed_json
from flyweight.export import around

Way = Callable[[bytes, np.random.Generator], "bytes | None"]
OTHERS = (None, [], {}, "x", -1, True, [[]], {"a": 1}, 1.5, "../../x")
"""Values of which a few are of another kind, whatever the kind."""
ABSURD = ("1e999", "-1", "9" * 400, "NaN", "-Infinity", "0x10", "1_0", "'7'", "1e308", "0")
NUMBER = rb"(?<![\w.#-])-?\d+(?:\.\d+)?(?:e-?\d+)?(?![\w.])"


def truncated(content: bytes, generator: np.random.Generator) -> bytes:
    """The end is missing, by as little as a byte."""
    return content[: int(generator.choice([len(content) - 1, generator.integers(0, len(content))]))]


def empty(content: bytes, generator: np.random.Generator) -> bytes:
    """Nothing is left."""
    return b""


def bitten(content: bytes, generator: np.random.Generator) -> bytes:
    """A bit is flipped."""
    damaged = bytearray(content)
    damaged[int(generator.integers(len(content)))] ^= 1 << int(generator.integers(8))
    return bytes(damaged)


def blanked(content: bytes, generator: np.random.Generator) -> bytes:
    """A run of zeros, as a lost block of a disk leaves it."""
    start, end = sorted(int(place) for place in generator.integers(0, len(content) + 1, 2))
    return content[:start] + bytes(end - start) + content[end:]


def doubled(content: bytes, generator: np.random.Generator) -> bytes:
    """It is there twice."""
    return content + content


def digit(content: bytes, generator: np.random.Generator) -> bytes | None:
    """A digit of a number in a text is another one."""
    places = [match.start() for match in re.finditer(rb"\d", content)]
    if not places or not is_text(content):
        return None
    place = int(generator.choice(places))
    other = (int(content[place : place + 1]) + int(generator.integers(1, 10))) % 10
    return content[:place] + str(other).encode() + content[place + 1 :]


def absurd(content: bytes, generator: np.random.Generator) -> bytes | None:
    """A number in a text is one that nobody means."""
    numbers = list(re.finditer(NUMBER, content))
    if not numbers or not is_text(content):
        return None
    match = numbers[int(generator.integers(len(numbers)))]
    return content[: match.start()] + str(generator.choice(ABSURD)).encode() + content[match.end() :]


def recoded(content: bytes, generator: np.random.Generator) -> bytes | None:
    """A text in another encoding, or with a byte that no encoding has there."""
    if not is_text(content):
        return None
    text, place = content.decode(), int(generator.integers(len(content)))
    ways = [text.encode("utf-16"), text.encode("utf-8-sig"), text.encode("utf-32-be"), text.encode("cp500")]
    return [*ways, content[:place] + b"\xff\xfe" + content[place:]][int(generator.integers(5))]


def deep(content: bytes, generator: np.random.Generator) -> bytes | None:
    """A value in a text is a nest without a bottom."""
    numbers = list(re.finditer(NUMBER, content))
    if not numbers or not is_text(content):
        return None
    match = numbers[int(generator.integers(len(numbers)))]
    nest = (b"[" * 100_000, b"[" * 5000 + b"]" * 5000, b'{"a":' * 3000 + b"1" + b"}" * 3000)
    return content[: match.start()] + nest[int(generator.integers(3))] + content[match.end() :]


def kinds(content: bytes, generator: np.random.Generator) -> bytes | None:
    """A value of a JSON or YAML text is of another kind."""
    return _written(content, lambda value: changed(value, generator, OTHERS))


def lacking(content: bytes, generator: np.random.Generator) -> bytes | None:
    """A key of a JSON or YAML text is missing."""
    return _written(content, lambda value: changed(value, generator, None))


def resealed(content: bytes, generator: np.random.Generator) -> bytes | None:
    """A checksum that fits, and below it a value that is missing or of another kind."""
    others = None if generator.integers(2) else OTHERS
    try:
        if (inner := files.unsealed(content)) is not None:  # a checkpoint
            state = torch.load(io.BytesIO(inner), weights_only=True)
            buffer = io.BytesIO()
            torch.save(changed(state, generator, others, top=True), buffer)
            return files.sealed(buffer.getvalue())
        if content[:1] == b"{":
            return _resealed_json(json.loads(content), generator, others)
        model = onnx.load_from_string(content)
        if not model.metadata_props:
            return None
        del model.metadata_props[int(generator.integers(len(model.metadata_props)))]
        return around.sealed(model) if others is None else None
    except Exception:  # it is of none of these kinds
        return None


def _resealed_json(value: Any, generator: np.random.Generator, others: Any) -> bytes | None:
    key = next((key for key in ("checksum", "check") if key in value), None)
    if key is None:
        return None
    del value[key]
    value = changed(value, generator, others)
    if key == "check":  # the cache's
        return sealed_json(value).encode() if isinstance(value, dict) else None
    sum_of = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
    return json.dumps({**value, "checksum": sum_of}).encode() if isinstance(value, dict) else None


WAYS: tuple[Way, ...] = (
    truncated, empty, bitten, blanked, doubled, digit, absurd, recoded, deep, kinds, lacking, resealed,
)  # fmt: skip
"""All but to swap one file with another, which needs the other."""


def is_text(content: bytes) -> bool:
    """Whether it is one, of more than nothing."""
    try:
        return bool(content.decode().strip()) and b"\0" not in content
    except UnicodeDecodeError:
        return False


def _written(content: bytes, change: Callable[[Any], Any]) -> bytes | None:
    """A JSON text, lines of such or a YAML text, with something in it changed."""
    if not is_text(content):
        return None
    lines = content.decode().splitlines()
    try:
        if content[:1] in b"{[" and len(lines) > 1 and lines[0][-1] == "}":  # a row a line
            return "".join(json.dumps(row) + "\n" for row in change([json.loads(line) for line in lines])).encode()
        if content[:1] in b"{[":
            return json.dumps(change(json.loads(content)), indent=2).encode()
        value = yaml.safe_load(content)
        return yaml.safe_dump(change(value), sort_keys=False).encode() if isinstance(value, dict) else None
    except (ValueError, yaml.YAMLError):
        return None


def changed(value: Any, generator: np.random.Generator, others: Any, top: bool = False) -> Any:
    """A copy of nested containers in which one place has another value.

    Args:
        value: the containers.
        generator: that chooses the place.
        others: from which the value is taken; none: the place is taken out.
        top: a place of the outermost container.
    """
    places = [(value, key) for key in value] if top else list(_places(value))
    container, key = places[int(generator.integers(len(places)))]
    before = container[key]
    if others is None:
        del container[key]
    else:
        fitting = [other for other in others if type(other) is not type(before)]
        container[key] = fitting[int(generator.integers(len(fitting)))]
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """All places of nested containers."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])
