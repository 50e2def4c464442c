"""Run of a user's file, notebook or module what a name in it needs, and nothing else."""

from __future__ import annotations

import ast
import hashlib
import importlib
import linecache
import os
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import decode_source
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flyweight.errors import FlyweightError
from flyweight.files import answers, read_bytes, reason
from flyweight.networks.needed import Statement, needed, statements
from flyweight.networks.notebooks import cells
from flyweight.networks.reference import Reference
from flyweight.networks.standins import forget, standing_in
from flyweight.text import one_line, printable, short, some

Tell = Callable[[str], None]
MOST_BYTES = 16 * 1024**2
"""Of one file."""


@dataclass
class Source:
    """A user's file or notebook, parsed; nothing of it has run yet.

    Attributes:
        path: absolute.
        shown: as the user wrote it.
        program: all statements, in order.
        cells: of a notebook: the number of each, and whether it is Python; empty for a file.
    """

    path: Path
    shown: str
    program: list[Statement]
    cells: dict[int, bool] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        """What it binds."""
        return {name for statement in self.program for name in statement.binds}

    def run(self, names: set[str], tell: Tell) -> types.ModuleType:
        """Run what these names need in a fresh module.

        Raises:
            Exception: what the file raised.
        """
        kept = needed(self.program, names)
        self._tell_left_out(kept, ", ".join(sorted(names)), tell)
        module = self._module()
        for statement in kept:
            if isinstance(statement.node, ast.ImportFrom) and statement.node.module == "__future__":
                continue
            code = compile(
                ast.Module([statement.node], []), statement.file, "exec", flags=self._future(), dont_inherit=True
            )
            exec(code, vars(module))
        return module

    def _future(self) -> int:
        import __future__

        flags = 0
        for statement in self.program:
            node = statement.node
            if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                for name in node.names:
                    flags |= getattr(getattr(__future__, name.name, None), "compiler_flag", 0)
        return flags

    def _module(self) -> types.ModuleType:
        package = _package(self.path, self.program)
        known = hashlib.blake2b(os.fsencode(self.path), digest_size=4).hexdigest()
        name = f"{package}.{self.path.stem}" if package else f"flyweight_user_{self.path.stem}_{known}"
        if package:
            importlib.import_module(package)
        module = types.ModuleType(name)
        module.__file__ = str(self.path)
        module.__package__ = package
        sys.modules[name] = module
        return module

    def _tell_left_out(self, kept: list[Statement], names: str, tell: Tell) -> None:
        present = {id(statement) for statement in kept}
        out = [one for one in self.program if id(one) not in present and one.acts]
        if self.cells:
            used = {statement.cell for statement in kept}
            numbers = [number for number, python in self.cells.items() if number not in used]
            if numbers:
                left = _ranges("cell", [(number, number) for number in numbers])
                tell(f"{self.shown}: {left} left out: {names} does not need {_them(left)}")
        elif out:
            lines = _ranges("line", [statement.lines for statement in out])
            tell(f"{self.shown}: {lines} not run: {names} does not need {_them(lines)}")


def read(reference: Reference) -> Source:
    """Parse a file or a notebook.

    Raises:
        FlyweightError: there is none, or it is no Python.
    """
    path = Path(reference.source)
    try:
        content = read_bytes(path.resolve(), MOST_BYTES)
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, OSError) and answers(path, Path.exists):
            raise FlyweightError(
                f"{short(reference.text, 200)}: cannot read {short(reference.source, 200)}: {reason(error)};"
                " name another file, or mend that"
            ) from None
        raise FlyweightError(
            f"{short(reference.text, 200)}: there is no file {short(reference.source, 200)!r}; write"
            " path/to/file.py:ClassName"
        ) from None
    shown = printable(reference.source)
    try:
        if path.suffix.lower() == ".ipynb":
            return _notebook(path.resolve(), shown, content)
        text = decode_source(content)
        file = str(path.resolve())
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        return Source(path.resolve(), shown, statements(ast.parse(text, file), file))
    except SyntaxError as error:
        where = f"{shown}:{error.lineno}" if error.lineno else shown
        raise FlyweightError(f"{reference.text}: this is no Python 3: {short(error.msg, 120)} ({where})") from None
    except (ValueError, RecursionError, MemoryError) as error:
        kind = "notebook" if path.suffix.lower() == ".ipynb" else "Python file"
        raise FlyweightError(f"{reference.text}: this is no {kind}: {one_line(error, 120)}") from None


def _notebook(path: Path, shown: str, content: bytes) -> Source:
    program, numbers = [], {}
    for cell in cells(content.decode("utf-8-sig")):
        numbers[cell.number] = cell.tree is not None
        if cell.tree is not None:
            file = f"{shown}, cell {cell.number}"
            linecache.cache[file] = (len(cell.text), None, cell.text.splitlines(keepends=True), file)
            program += statements(cell.tree, file, cell.number)
    return Source(path, shown, program, numbers)


@contextmanager
def opened(folders: list[Path], files: list[str], shown: str, tell: Tell) -> Iterator[None]:
    """While user code is imported and built: its neighbours can be imported, and what is not here is stood in for.

    Args:
        folders: that neighbours are imported from, the first one first.
        files: names of the user's own code in tracebacks.
        shown: the source as the user wrote it.
        tell: of what is stood in for, and of a GPU that is asked for in vain.
    """
    missing: list[str] = []
    path, argv = list(sys.path), sys.argv
    with ExitStack() as stack:
        stack.callback(_tell_stood_in, shown, missing, tell)
        stack.callback(forget)
        stack.enter_context(standing_in(folders, files, missing.append))
        stack.enter_context(_no_gpu())
        _drop_neighbours()
        before = set(sys.modules)
        sys.path[:0] = map(str, folders)
        # what parses arguments takes its defaults
        sys.argv = [shown]
        try:
            yield
        finally:
            sys.path[:], sys.argv = path, argv
            new = set(sys.modules) - before
            _NEIGHBOURS.extend(name for name in new if any(_lies_in(sys.modules.get(name), place) for place in folders))


_NEIGHBOURS: list[str] = []
"""Modules that the last user's file imported from beside it: another file's may have the same names."""


def _drop_neighbours() -> None:
    for name in _NEIGHBOURS:
        sys.modules.pop(name, None)
    _NEIGHBOURS.clear()
    importlib.invalidate_caches()


def _lies_in(module: types.ModuleType | None, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or "site-packages" in file:
        return False
    return Path(file).resolve().is_relative_to(folder.resolve()) and not file.startswith(sys.base_prefix + os.sep)


def _tell_stood_in(shown: str, missing: list[str], tell: Tell) -> None:
    if missing:
        names = some(list(dict.fromkeys(missing)))
        tell(f"{shown} imports {names}, not installed here: a stand-in is imported, which is told where it is used")


@contextmanager
def _no_gpu() -> Iterator[None]:
    """Where there is no GPU, ``.cuda()`` leaves a network where it is."""
    if torch.cuda.is_available():
        yield
        return
    kept: list[tuple[Any, Any]] = [(kind, kind.cuda) for kind in (nn.Module, Tensor)]
    try:
        for kind, _ in kept:
            kind.cuda = lambda self, *arguments, **options: self
        yield
    finally:
        for kind, method in kept:
            kind.cuda = method


def folders_of(source: Source) -> list[Path]:
    """Where its neighbours are imported from: its folder, and the one that its package lies in."""
    found = [source.path.parent]
    package = _package(source.path, source.program)
    if package:
        found.insert(0, source.path.parents[package.count(".") + 1])
    elif (source.path.parent / "__init__.py").is_file():  # it may import its own package by its whole name
        top = next(folder for folder in source.path.parents if not (folder / "__init__.py").is_file())
        found.append(top)
    return found


def _package(path: Path, program: list[Statement]) -> str:
    """Dotted name of the package that a file is part of; empty: none."""
    parts: list[str] = []
    folder = path.parent
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        parts.insert(0, folder.name)
        folder = folder.parent
    levels = [
        part.level for one in program for part in ast.walk(one.node) if isinstance(part, ast.ImportFrom) and part.level
    ]
    while len(parts) < max(levels, default=0) and folder.name:
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts) if levels else ""


def _them(ranges: str) -> str:
    return "it" if ranges.endswith(" was") else "them"


def _ranges(what: str, lines: list[tuple[int, int]]) -> str:
    """``lines 3 to 5 and 9 were``, or ``line 3 was``."""
    joined: list[list[int]] = []
    for first, last in lines:
        if joined and first <= joined[-1][1] + 1:
            joined[-1][1] = max(last, joined[-1][1])
        else:
            joined.append([first, last])
    words = [str(first) if first == last else f"{first} to {last}" for first, last in joined]
    if len(words) > 6:
        words = [*words[:5], f"{len(words) - 5} more"]
    if len(words) == 1:
        return f"{what} {words[0]} was" if words[0].isdigit() else f"{what}s {words[0]} were"
    return f"{what}s {', '.join(words[:-1])} and {words[-1]} were"
