"""What the C comes to as a program, where there is a compiler to ask."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from flyweight.export.c.source import Pair
from flyweight.files import scratch

SECONDS = 120
FAST = ("-O3",)
"""What a library is compiled with."""


@dataclass(frozen=True)
class Code:
    """Machine code.

    Attributes:
        bytes: of the instructions alone.
        compiler: that made it.
        machine: that it is for.
    """

    bytes: int
    compiler: str
    machine: str


def code_size(files: Pair) -> Code | None:
    """Compile for this machine and measure; None where gcc or size are missing, or do not do it."""
    gcc, size = shutil.which("gcc"), shutil.which("size")
    if gcc is None or size is None:
        return None
    with scratch() as folder:
        source, made = _source(files, folder), folder / "made.o"
        try:
            machine = _said([gcc, "-dumpmachine"]).partition("-")[0]
            _said([gcc, "-std=c99", "-Os", "-c", str(source), "-o", str(made)])
            sections = _said([size, "-A", str(made)])
        except (OSError, subprocess.SubprocessError):
            return None
    return Code(sum(int(one) for one in re.findall(r"^\.text\S*\s+(\d+)", sections, re.MULTILINE)), "gcc", machine)


def library(source: Path, made: Path) -> bool:
    """Compile C for this machine, to be asked by a program; False where there is no gcc, or it does not do it.

    Args:
        source: the file, with its header beside it.
        made: the file to write.
    """
    gcc = shutil.which("gcc")
    if gcc is None:
        return False
    try:
        _said([gcc, "-std=c99", *FAST, "-shared", "-fPIC", str(source), "-o", str(made)])
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _source(files: Pair, folder: Path) -> Path:
    (folder / f"{files.prefix}.h").write_text(files.header, encoding="ascii")
    source = folder / f"{files.prefix}.c"
    source.write_text(files.source, encoding="ascii")
    return source


def _said(call: list[str]) -> str:
    return subprocess.run(call, capture_output=True, text=True, check=True, timeout=SECONDS).stdout.strip()
