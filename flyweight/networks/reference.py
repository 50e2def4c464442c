"""How a network of the user's own is written down: a file, a notebook or a module, a name in it, and its arguments."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flyweight.errors import FlyweightError
from flyweight.text import short

FORMS = (
    "file.py:Net, file.py:Net(dropout=0.1), file.py:make_model(), notebook.ipynb:Net, package.module:Net, or file.py"
    " where it holds one network"
)
_FILE = re.compile(r"(?P<source>.+?\.(?:py|ipynb))(?::(?P<call>.*))?", re.DOTALL | re.IGNORECASE)
_MODULE = re.compile(r"(?P<source>[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<call>.*)", re.DOTALL)


@dataclass(frozen=True)
class Reference:
    """A network of the user's own, as it was written.

    Attributes:
        text: all of it.
        source: path of a file, else the dotted name of a module.
        name: dotted, in the source; empty: the one network that the source holds.
        called: whether arguments were given, be it none: ``Net()``.
        positional: arguments, which are plain values and never code.
        named: the same, by name.
    """

    text: str
    source: str
    name: str = ""
    called: bool = False
    positional: tuple[Any, ...] = ()
    named: dict[str, Any] = field(default_factory=dict)

    @property
    def is_file(self) -> bool:
        """Whether the source is a file's path."""
        return self.source.lower().endswith((".py", ".ipynb"))

    def moved(self, source: Path) -> Reference:
        """The same name and arguments in another file."""
        rest = self.text[len(self.source) :]
        return replace(self, text=f"{source}{rest}", source=str(source))


def is_reference(text: str) -> bool:
    """Whether text is meant as a network of the user's own, and not as the name of a built-in one."""
    return _matched(text) is not None or ":" in text


def parse(text: str) -> Reference:
    """Read a reference.

    Raises:
        FlyweightError: it is none, or its arguments are not plain values.
    """
    found = _matched(text)
    if found is None:
        raise FlyweightError(f"{short(text, 200)}: this names no network; write {FORMS}")
    source, call = found["source"], found["call"]
    if call is None:
        return Reference(text, source)
    try:
        expression = ast.parse(call.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise FlyweightError(f"{short(text, 200)}: {short(call, 80)!r} is no name; write {FORMS}") from None
    called = isinstance(expression, ast.Call)
    name = _dotted(expression.func if isinstance(expression, ast.Call) else expression)
    if name is None:
        raise FlyweightError(f"{short(text, 200)}: {short(call, 80)!r} is no name; write {FORMS}")
    if not isinstance(expression, ast.Call):
        return Reference(text, source, name)
    positional = tuple(_value(argument, text) for argument in expression.args)
    named = {}
    for keyword in expression.keywords:
        if keyword.arg is None:
            raise FlyweightError(f"{short(text, 200)}: write each argument by its name, without **")
        named[keyword.arg] = _value(keyword.value, text)
    return Reference(text, source, name, called, positional, named)


def _matched(text: str) -> re.Match[str] | None:
    return _FILE.fullmatch(text) or _MODULE.fullmatch(text)


def _dotted(expression: ast.expr) -> str | None:
    if isinstance(expression, ast.Name):
        return expression.id
    if isinstance(expression, ast.Attribute):
        before = _dotted(expression.value)
        return None if before is None else f"{before}.{expression.attr}"
    return None


def _value(expression: ast.expr, text: str) -> Any:
    try:
        return ast.literal_eval(expression)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise FlyweightError(
            f"{short(text, 200)}: {short(ast.unparse(expression), 80)!r} is no plain value: arguments are numbers,"
            " texts in quotes, True, False, None, and lists, tuples and dictionaries of them"
        ) from None
