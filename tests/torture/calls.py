"""System calls as strace tells them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ALL = ("-e", "trace=%file,%desc", "-e", "signal=none")
"""What strace is to tell: calls that take a path or a descriptor."""
WHOLE = ("-y", "-xx", "-s", str(2**28))
"""With the paths of descriptors, and every byte that is written, in hexadecimal digits."""
_CALL = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+|\?)(.*)")
_BEGUN = re.compile(r"(\d+) +(.*) <unfinished \.\.\.>")
_ENDED = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)")
_BYTES = ("write", "read", "pwrite64", "pread64")
_TEXT = re.compile(rb'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True)
class Call:
    """One call that came back, or that its process did not live to see come back.

    Attributes:
        thread: that made it.
        name: of the call.
        arguments: as strace writes them.
        result: None: it did not come back.
        number: it is the so manieth of its name in its thread, from 1 on; strace counts so as well.
        injected: whether strace changed it.
        rest: what strace writes behind the result.
    """

    thread: int
    name: str
    arguments: tuple[str, ...]
    result: int | None
    number: int
    injected: bool = False
    rest: str = field(default="", repr=False)

    def texts(self) -> list[bytes]:
        """Strings among the arguments, in their order."""
        return [unhexed(found[1]) for one in self.arguments if (found := _TEXT.match(one.encode()))]

    def descriptor(self, place: int = 0) -> int:
        """The number of a descriptor among the arguments; -1 for the working directory."""
        found = re.match(r"\d+", self.arguments[place])
        return int(found[0]) if found else -1

    def paths(self) -> list[str]:
        """Paths that it touches, absolute: of its descriptors, and those that it names."""
        found, folder = [], "/"
        # other texts are what is written or comes back
        named = 0 if self.name in _BYTES else 2 if self.name.startswith(("rename", "link", "symlink")) else 1
        for one in self.arguments:
            if described := re.match(r"(?:\d+|AT_FDCWD)<(.*?)>", one):
                folder = unhexed(described[1].encode()).decode(errors="surrogateescape")
                found.append(folder)
            elif (text := _TEXT.fullmatch(one.encode())) and named:
                named -= 1
                found.append(str(Path(folder) / unhexed(text[1]).decode(errors="surrogateescape")))
        return found

    def __str__(self) -> str:
        return f"{self.name} {self.number} of {', '.join(self.paths()) or 'nothing'}"


def unhexed(digits: bytes) -> bytes:
    """What strace wrote as \\x and two digits for each byte."""
    return bytes.fromhex(digits.replace(b"\\x", b"").decode()) if digits.startswith(b"\\x") else digits


def read(trace: Path) -> list[Call]:
    """All calls of a trace, in the order in which they came back."""
    calls: list[Call] = []
    begun: dict[str, str] = {}
    counted: dict[tuple[int, str], int] = {}
    for raw in trace.read_text(encoding="ascii", errors="replace").splitlines():
        line = raw
        if half := _BEGUN.fullmatch(line):
            begun[half[1]] = half[2]
            continue
        if half := _ENDED.fullmatch(line):
            line = f"{half[1]} {begun.pop(half[1])}{half[2]}"
        whole = _CALL.fullmatch(line)
        if whole is None:
            continue
        thread, name, arguments, result, rest = whole.groups()
        place = int(thread), name
        counted[place] = counted.get(place, 0) + 1
        value = None if result == "?" else int(result, 0)
        calls.append(
            Call(int(thread), name, _split(arguments), value, counted[place], "(INJECTED)" in rest, rest.strip())
        )
    return calls


def _split(arguments: str) -> tuple[str, ...]:
    """Arguments one by one; commas in braces and brackets part nothing."""
    if not any(mark in arguments for mark in "{["):
        return tuple(arguments.split(", "))
    parts, depth, start = [], 0, 0
    for place, mark in enumerate(arguments):
        depth += (mark in "{[(") - (mark in "}])")
        if mark == "," and not depth:
            parts.append(arguments[start:place].strip())
            start = place + 1
    return (*parts, arguments[start:].strip())
