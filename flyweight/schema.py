"""Strict YAML to frozen models, with one-line errors that name the nearest word."""

from __future__ import annotations

import difflib
import math
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from flyweight.errors import FlyweightError
from flyweight.files import answers, read_bytes, reason
from flyweight.text import one_line, short

T = TypeVar("T", bound=BaseModel)
MOST_YAML = 16 * 1024**2
"""Bytes of a file."""


class Section(BaseModel):
    """A part of a YAML file: it cannot change after it was checked, and it knows every key it may have."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any, info: ValidationInfo) -> Any:
        # Python would take true for the number 1
        field = cls.model_fields.get(info.field_name or "")
        items = value if isinstance(value, list | tuple) else [value]
        asked = None if field is None else field.annotation
        if any(isinstance(item, bool) for item in items) and asked not in (bool, tuple[bool, ...]):
            raise ValueError("a yes or a no means nothing here")
        if asked == tuple[bool, ...] and not all(isinstance(item, bool) for item in items):
            raise ValueError("write each as yes or no")
        if any(isinstance(item, int) and abs(item) >= 2**63 for item in items):  # nobody who computes takes it
            raise ValueError("no whole number here has more than 64 bits")
        if isinstance(value, str) and "\0" in value:  # the system's calls raise at it, wherever it would be a path
            raise ValueError("no name holds a NUL character")
        return value


def is_file(path: Path) -> bool:
    """Whether there is a file; a path that no file system could have is none."""
    return answers(path, Path.is_file)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        FlyweightError: it cannot be read, is not YAML, has a key twice or is not a mapping.
    """
    try:
        content = _parse_yaml(read_bytes(path, MOST_YAML).decode("utf-8"))
    except OSError as error:
        raise FlyweightError(f"cannot read {path}: {reason(error)}; name another file, or mend that") from None
    except UnicodeDecodeError as error:
        raise FlyweightError(f"{path} is not valid YAML: {error.reason}; save it in UTF-8") from None
    except ValueError as error:
        raise FlyweightError(f"{path} is not valid YAML{error}; mend it, or name another file") from None
    if not isinstance(content, dict):
        raise FlyweightError(f"{path} holds no keys: it needs 'key: value' lines")
    return content


def parse(model: type[T], content: Mapping[str, Any], where: str, overrides: Sequence[str] = ()) -> T:
    """Check content against a model.

    Args:
        model: what it must be.
        content: keys and values.
        where: the file that they come from.
        overrides: those that were already carried out; what one of them made wrong is not the file's fault.

    Raises:
        FlyweightError: the first thing wrong, in one line, with the nearest key that exists.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        keys = [str(part) for part in first["loc"]]
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            known = _known_keys(model, keys[:-1])
            message = f"there is no such key{suggestion(keys[-1], known)} (known here: {', '.join(known)})"
        elif first["type"] == "model_type":
            message = f"this is a section, with keys of its own, got {_quoted(first['input'])}"
        elif first["type"] == "missing":
            message = "this key is needed"
        else:
            message = f"{message[0].lower()}{message[1:]}, got {_quoted(first['input'])}"
        key = ".".join(keys)
        for override in overrides:
            changed = override.partition("=")[0]
            if f"{key}.".startswith(f"{changed}.") or f"{changed}.".startswith(f"{key}."):
                where = f"--set {short(override, 200)}"
        raise FlyweightError(f"{where}: {key or 'the file'}: {message}") from None


def _quoted(value: object) -> str:
    """A value as a person would write it, shortened: lists that name one another may have more parts than memory."""
    quoting = reprlib.Repr()
    quoting.maxlevel, quoting.maxlist, quoting.maxdict, quoting.maxtuple = 4, 12, 12, 12
    quoting.maxstring = quoting.maxlong = quoting.maxother = 200
    return short(quoting.repr(value), 200)


def suggestion(word: str, known: Sequence[str]) -> str:
    """``" (did you mean 'x'?)"`` or nothing."""
    near = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _known_keys(model: type[BaseModel], keys: Sequence[str]) -> list[str]:
    for key in keys:
        field = model.model_fields.get(key)
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            return []
        model = field.annotation
    return list(model.model_fields)


def override_key(content: dict[str, Any], override: str) -> None:
    """Carry out one ``section.key=value`` on the content of a YAML file, in place.

    Raises:
        FlyweightError: it is not of that form, a section on the way is none, or the value is not YAML.
    """
    key, equals, value = override.partition("=")
    change = f"--set {short(override, 200)}"
    if not equals or not key:
        raise FlyweightError(f"{change}: write it as section.key=value, for example train.epochs=3")
    *sections, last = key.split(".")
    target = content
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise FlyweightError(f"{change}: {section} is not a section")
    try:
        target[last] = _parse_yaml(value)
    except ValueError as error:
        raise FlyweightError(f"{change}: the value is not valid YAML{error}") from None


_MOST_DIGITS, _MOST_VALUES = 100, 1_000_000


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice; YAML itself would drop the first one without a word."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    problem = f"the key {short(key.value, 80)!r} is there twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return node

    def get_single_node(self) -> Any:
        """A file of a few lines may name a value in a value in a value: written out, there is no end of them."""
        node = super().get_single_node()
        if node is not None and _spread(node, {}) > _MOST_VALUES:
            problem = f"written out, its values are more than {_MOST_VALUES:,}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return node

    def short_number(self, node: yaml.ScalarNode) -> Any:
        """A number of a sensible length: 1:1:...:1 is one to the base 60, and its digits would fill the memory."""
        if len(node.value) > _MOST_DIGITS:
            problem = f"this number has more than {_MOST_DIGITS} characters"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        whole = node.tag.endswith("int")
        return self.construct_yaml_int(node) if whole else self.construct_yaml_float(node)


def _spread(node: yaml.Node, known: dict[int, float]) -> float:
    """How many values a node holds with each alias written out; infinitely many where it holds itself."""
    if id(node) not in known:
        known[id(node)] = math.inf
        parts = [] if isinstance(node, yaml.ScalarNode) else node.value
        inner = [part for pair in parts for part in pair] if isinstance(node, yaml.MappingNode) else parts
        known[id(node)] = 1 + sum(_spread(part, known) for part in inner)
    return known[id(node)]


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.short_number)


def _parse_yaml(text: str) -> Any:
    """Read YAML.

    Raises:
        ValueError: why it cannot be read, with the line where that is known, to put after a sentence.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        where = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise ValueError(f"{where}: {error.problem}") from None
    except Exception as error:  # a date that is none, brackets too deep: PyYAML lets what Python raises pass
        raise ValueError(f": {one_line(error)}") from None
