"""Where hostile files are tried: a working folder with what is received, and surroundings that nothing may touch.

What a hostile file would do, could it, is to leave a canary: a file, a variable of the environment, a process.
"""

from __future__ import annotations

import os
import pickle
import runpy
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.f2py.crackfortran
import torch
from given import Given

VARIABLE = "FLYWEIGHT_CANARY"
NETWORK = """\
import os
from pathlib import Path
from torch import nn
CANARY = {canary!r}
NEST = "for one in range(9):\\n try: os.write(one, b'[' * 9999 + bytes([10]))\\n except OSError: pass"
class Net(nn.Sequential):
    {code}
    def __init__(self, classes=3):
        {code}
        super().__init__(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))
"""


@dataclass
class Place:
    """A working folder, and what lies around it.

    Attributes:
        given: whole files to make hostile ones of.
        work: the folder that a command is called in; what it is told to write lies here.
        outside: somebody's files.
    """

    given: Given
    work: Path
    outside: Path

    @property
    def canary(self) -> Path:
        """A file that is there when foreign code has run."""
        return self.outside / "canary"

    def copy(self, name: str) -> Path:
        """A copy of one of the whole folders in the working folder, with the images that it was made of."""
        whole = getattr(self.given, name.replace("-", "_"))
        for needed in ("photos", "small.yaml", "rules.yaml", "space.yaml", "cache"):
            source = self.given.folder / needed
            if not (self.work / needed).exists() and source.exists():
                (shutil.copytree if source.is_dir() else shutil.copy2)(source, self.work / needed)
        if not (self.work / name).exists():
            shutil.copytree(whole, self.work / name)
        return self.work / name

    def evil(self, path: Path, code: str = "Path(CANARY).touch()") -> Path:
        """A Python file whose network leaves the canary."""
        path.write_text(NETWORK.format(canary=str(self.canary), code=code))
        return path


@dataclass(frozen=True)
class Case:
    """A hostile file and the command that reads it.

    Attributes:
        kind: of the file, for the table.
        name: what is hostile in it.
        make: puts it into a place, and says how the command is called.
        codes: that it may end with.
        writes: patterns of what it may write, below the working folder.
        full: whether it takes too long for the sample.
    """

    kind: str
    name: str
    make: Callable[[Place], Sequence[str]]
    codes: tuple[int, ...] = (2, 3, 4)
    writes: tuple[str, ...] = ()
    full: bool = False


class Calling:
    """Pickles as a call: whoever unpickles it makes that call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def pickles(canary: Path) -> dict[str, bytes]:
    """Pickles that leave a canary, each in another way."""
    code, text = f"open({str(canary)!r}, 'w').close()", str(canary)
    script = canary.with_name("script.py")
    script.write_text(code)
    calls = {
        "os.system": Calling(os.system, f"touch {text}"),
        "exec": Calling(exec, code),
        "subprocess.Popen": Calling(subprocess.Popen, ["touch", text]),
        "runpy": Calling(runpy.run_path, str(script)),
        "a helper of numpy's": Calling(numpy.f2py.crackfortran.getlincoef, code, {}),
        "a pickle in a pickle": Calling(torch.storage._load_from_bytes, pickle.dumps(Calling(exec, code))),
        "pickle.loads": Calling(pickle.loads, pickle.dumps(Calling(exec, code))),
        "Path.write_text": Calling(Path.touch, canary),
    }
    key, value = VARIABLE.encode(), b"1"
    by_hand = {
        "the environment": b"\x80\x02cos\nenviron\nX%c\0\0\0%sX%c\0\0\0%ss." % (len(key), key, len(value), value),
        "the opcode INST": b"(S'touch %s'\nios\nsystem\n." % text.encode(),
        "the opcode OBJ": b"(cos\nsystem\nS'touch %s'\no." % text.encode(),
        "getattr": b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n(S'os'\ntRS'system'\ntR(S'touch %s'\ntR."
        % text.encode(),
    }
    return {**{name: pickle.dumps(call, 2) for name, call in calls.items()}, **by_hand}


def everything(folder: Path) -> dict[str, bytes | str | None]:
    """All that lies in a folder: bytes of files, targets of links."""
    return {
        path.relative_to(folder).as_posix(): (
            str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        )
        for path in sorted(folder.rglob("*"))
    }
