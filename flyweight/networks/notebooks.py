"""The Python of a notebook's cells."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from typing import Any

# a cell whose first line is one of these is Python all the same
_PYTHON_MAGICS = ("%%time", "%%timeit", "%%capture", "%%prun")


@dataclass(frozen=True)
class Cell:
    """One cell of code.

    Attributes:
        number: among all cells of code, from 1.
        text: as it was written, but for what only a notebook can run.
        tree: parsed; None where it is no Python.
    """

    number: int
    text: str
    tree: ast.Module | None


def cells(content: str) -> list[Cell]:
    """The cells of code of a notebook.

    Args:
        content: of the ``.ipynb`` file.

    Raises:
        ValueError: it is no notebook.
    """
    found: Any = json.loads(content)
    listed = found.get("cells") if isinstance(found, dict) else None
    if listed is None and isinstance(found, dict):  # the format before version 4
        sheets = found.get("worksheets")
        held = [sheet.get("cells") for sheet in sheets if isinstance(sheet, dict)] if isinstance(sheets, list) else []
        listed = [cell for cells in held if isinstance(cells, list) for cell in cells] if held else None
    if not isinstance(listed, list) or not all(isinstance(cell, dict) for cell in listed):
        raise ValueError("it has no cells")
    code = [cell for cell in listed if cell.get("cell_type") == "code"]
    return [_cell(number, cell.get("source", cell.get("input", ""))) for number, cell in enumerate(code, start=1)]


def _cell(number: int, source: Any) -> Cell:
    text = "".join(map(str, source)) if isinstance(source, list) else str(source)
    first = text.lstrip().partition("\n")[0].strip()
    if first.startswith("%%") and not first.startswith(_PYTHON_MAGICS):
        return Cell(number, text, None)
    text = "".join(_python(line) for line in text.splitlines(keepends=True))
    try:
        return Cell(number, text, ast.parse(text))
    except (SyntaxError, ValueError, RecursionError):
        return Cell(number, text, None)


def _python(line: str) -> str:
    """A line, or `pass` in place of what only a notebook can run."""
    bare = line.strip()
    if bare.startswith(("!", "%", "?")) or re.fullmatch(r"[\w.]+\?+", bare) or re.match(r"[\w, ]+=\s*[!%]", bare):
        return line[: len(line) - len(line.lstrip())] + "pass\n"
    return line
