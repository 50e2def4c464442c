"""Text for people: safe to show, short enough, and in plain words."""

from __future__ import annotations

import re
from collections.abc import Sequence


def printable(text: str) -> str:
    """Text that is safe in a terminal, an image and a page: control characters (ANSI escapes) become U+FFFD."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def lines(text: str) -> str:
    """The same for text of several lines, such as a log: newlines and tabs stay."""
    text = text.replace("\r\n", "\n")
    parts = re.split("([\n\t])", text)
    return "".join(part if part in ("\n", "\t") else printable(part) for part in parts)


def middle(text: str, most: int) -> str:
    """Printable text of at most so many characters; a longer one loses its middle: it says where and what to do."""
    text = printable(text)
    tail = most // 3
    return text if len(text) <= most else f"{text[: most - 1 - tail]}\N{HORIZONTAL ELLIPSIS}{text[-tail:]}"


def short(text: str, most: int) -> str:
    """Printable text of at most so many characters; a longer one ends in an ellipsis."""
    text = printable(text)
    return text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def ending(text: str, most: int) -> str:
    """Printable text of at most so many characters; of a longer one the end, after an ellipsis: of a path, its file."""
    text = printable(text)
    return text if len(text) <= most else f"\N{HORIZONTAL ELLIPSIS}{text[len(text) - most + 1 :]}"


def cell(text: str) -> str:
    """Printable text for a cell of a table of comma-separated values: no spreadsheet takes it for a formula."""
    text = printable(text)
    # a spreadsheet runs a cell that begins so (OWASP, "CSV injection")
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def one_line(error: BaseException, most: int = 200) -> str:
    """An error's message in one line, shortened; its class where it has no message."""
    return short(" ".join(str(error).split()), most) or type(error).__name__


def some(names: Sequence[str], most: int = 4) -> str:
    """The first names, and how many more there are; safe to show."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(printable(name) for name in names[:most]) + more


def share(value: float | None) -> str:
    """A share in percent for a person; a share of nothing is a dash."""
    return "-" if value is None else f"{value:.1f} %"


def aligned(head: list[str], rows: list[list[str]], left: int = 1) -> list[str]:
    """Lines of a table; the first ``left`` columns lean left, the others right. Wide characters count as two."""
    from rich.cells import cell_len, set_cell_size  # here, for it costs every start 20 ms

    widths = [max(cell_len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = []
    for row in [head, *rows]:
        cells = [
            set_cell_size(cell, width) if column < left else " " * (width - cell_len(cell)) + cell
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return lines
