"""The program with a part of its care taken out, so that a harness that sees is told from one that does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from flyweight import disk, files
from flyweight.errors import RunError
from flyweight.export import subject
from flyweight.runs import card, folder, names


def _write_bytes(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        files.flush(file)
    files.flush_folder(path.parent)


def _write_text(path: Path, text: str) -> None:
    _write_bytes(path, text.encode())


@contextmanager
def _whole_folder(folder: Path, kind: type[Exception] = RunError) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    yield folder
    files.flush_tree(folder)
    files.flush_folder(folder.parent)


TAKEN_OUT: dict[str, list[tuple[Any, str, Any]]] = {
    "nothing": [],
    "files are not synced": [(files, "flush", lambda file: file.flush()), (files, "flush_tree", lambda folder: None)],
    "folders are not synced": [(module, "flush_folder", lambda folder: None) for module in (disk, files)],
    "files are written in their place": [
        *((module, "write_bytes", _write_bytes) for module in (files, card, folder, subject)),
        *((module, "write_text", _write_text) for module in (files, card, folder)),
    ],
    "folders are filled in their place": [(files, "whole_folder", _whole_folder)],
    "weights come before their card": [(card, "NEXT", names.WEIGHTS)],
}
"""What is taken out, and by what."""


@contextmanager
def blinded(what: str) -> Iterator[None]:
    """The program without it."""
    with ExitStack() as patched:
        for module, name, other in TAKEN_OUT[what]:
            patched.enter_context(patch.object(module, name, other))
        yield
