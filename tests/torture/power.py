"""A folder whose disk forgets: the system calls of a run, and what a power cut may leave after each of them.

Strict: what POSIX does not promise may be lost. Written bytes are on the disk once their file is synced, and a name is
in its folder once that folder is synced; until then each change may be there or not, whatever came before or after it,
and of a write the first part alone, or zeros in place of it. A rename is one change. Real file systems lose less.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calls import Call

TOGETHER = 64
"""States after one call up to which all are tried; beyond, those that differ in one thing, and some by chance."""
CHANCES = 24
BLOCK = 4096


class UnknownCallError(Exception):
    """A call that this model does not know; nothing may be concluded then."""


@dataclass(eq=False)
class File:
    """Its bytes on the disk, and what was written since: (offset, bytes), or (length, None) where it was cut."""

    disk: bytes = b""
    since: list[tuple[int, bytes | None]] = field(default_factory=list)

    def content(self, upto: int | None = None) -> bytes:
        """As a program sees it; or with the first changes alone."""
        now = bytearray(self.disk)
        for offset, data in self.since[:upto]:
            end = offset if data is None else offset + len(data)
            if len(now) < end:
                now.extend(bytes(end - len(now)))
            if data is None:
                del now[offset:]
            else:
                now[offset:end] = data
        return bytes(now)

    def sync(self) -> None:
        """All of it is on the disk."""
        self.disk, self.since = self.content(), []

    def left(self) -> list[bytes]:
        """What a power cut may leave of it."""
        whole = self.content()
        half = len(whole) // 2 // BLOCK * BLOCK or len(whole) // 2
        steps = [self.content(count) for count in range(len(self.since))] if len(self.since) <= 4 else [self.disk]
        return list(dict.fromkeys([whole, *steps, whole[:half], bytes(len(whole)), b""])) if self.since else [whole]


@dataclass(eq=False)
class Folder:
    """Its names on the disk, and the changes since: each a few names and what they lead to from then on."""

    disk: dict[str, File | Folder] = field(default_factory=dict)
    since: list[dict[str, File | Folder | None]] = field(default_factory=list)

    def names(self, kept: Sequence[bool] | None = None) -> dict[str, File | Folder]:
        """As a program sees it; or with some of the changes alone."""
        now = dict(self.disk)
        for place, change in enumerate(self.since):
            if kept is None or kept[place]:
                for name, what in change.items():
                    now.pop(name, None)
                    if what is not None:
                        now[name] = what
        return now

    def sync(self) -> None:
        """All names are on the disk."""
        self.disk, self.since = self.names(), []

    def left(self) -> list[tuple[bool, ...]]:
        """Which of the changes a power cut may leave."""
        count = len(self.since)
        if count <= 4:
            return list(itertools.product((True, False), repeat=count))
        upto = [tuple(place < end for place in range(count)) for end in range(count + 1)]
        one = [tuple((place == which) == kept for place in range(count)) for which in range(count) for kept in (0, 1)]
        return list(dict.fromkeys([*upto[::-1], *one]))


class Disk:
    """The model of one folder.

    Args:
        root: the folder as it is before the run; all of it is on the disk.
    """

    def __init__(self, root: Path) -> None:
        self.place, self.root = root, _loaded(root)
        self._open: dict[int, tuple[File | Folder, list[int]]] = {}

    def _parts(self, path: str) -> tuple[str, ...] | None:
        """Of a path below the root; none: it is elsewhere."""
        place = Path(path.removesuffix(" (deleted)"))
        return place.relative_to(self.place).parts if place.is_relative_to(self.place) else None

    def _at(self, parts: Sequence[str]) -> File | Folder:
        found: File | Folder = self.root
        for name in parts:
            assert isinstance(found, Folder)
            found = found.names()[name]
        return found

    def _folder(self, parts: Sequence[str]) -> Folder:
        found = self._at(parts)
        assert isinstance(found, Folder)
        return found

    def take(self, call: Call) -> bool:
        """Do what a call did.

        Returns:
            whether it changed anything, or what is on the disk.

        Raises:
            UnknownCallError: it is one that this model does not know.
        """
        if call.result is None or call.result < 0:
            return False
        taken = getattr(self, f"_{call.name}", None)
        if taken is not None:
            return bool(taken(call))
        if call.name not in _HARMLESS and any(self._parts(path) is not None for path in call.paths()):
            raise UnknownCallError(f"{call}: {', '.join(call.arguments)[:200]}")
        return False

    def _openat(self, call: Call) -> bool:
        assert call.result is not None
        parts = self._parts(call.paths()[-1])
        self._open.pop(call.result, None)
        if parts is None:
            return False
        flags, changed = call.arguments[2], False
        above = self._folder(parts[:-1]) if parts else self.root
        if parts and parts[-1] not in above.names():
            above.since.append({parts[-1]: File()})
            changed = True
        found = self._at(parts)
        if "O_TRUNC" in flags and isinstance(found, File) and found.content():
            found.since.append((0, None))
            changed = True
        if "O_APPEND" in flags:
            raise UnknownCallError(str(call))
        self._open[call.result] = found, [0]
        return changed

    def _opened(self, call: Call, argument: int = 0) -> tuple[File | Folder, list[int]] | None:
        """What a descriptor leads to, and the place in it where the next byte goes; none: it is elsewhere."""
        found = self._open.get(call.descriptor(argument))
        if found is None and any(self._parts(path) is not None for path in call.paths()[argument : argument + 1]):
            raise UnknownCallError(str(call))
        return found

    def _close(self, call: Call) -> bool:
        self._open.pop(call.descriptor(), None)
        return False

    def _fcntl(self, call: Call) -> bool:
        if "F_DUPFD" in call.arguments[1] and call.descriptor() in self._open:
            assert call.result is not None
            self._open[call.result] = self._open[call.descriptor()]
        return False

    def _lseek(self, call: Call) -> bool:
        if call.descriptor() in self._open:
            self._open[call.descriptor()][1][0] = call.result or 0
        return False

    def _read(self, call: Call) -> bool:
        if call.descriptor() in self._open:
            self._open[call.descriptor()][1][0] += call.result or 0
        return False

    def _written(self, call: Call, data: bytes, offset: int | None = None) -> bool:
        opened = self._opened(call)
        if opened is None:
            return False
        found, place = opened
        assert isinstance(found, File)
        found.since.append((place[0] if offset is None else offset, data))
        if offset is None:
            place[0] += len(data)
        return True

    def _write(self, call: Call) -> bool:
        return self._written(call, call.texts()[0][: call.result])

    def _pwrite64(self, call: Call) -> bool:
        return self._written(call, call.texts()[0][: call.result], int(call.arguments[3]))

    def _sendfile(self, call: Call) -> bool:
        """From the second descriptor to the first."""
        if self._opened(call) is None or not call.result:
            return False
        opened = self._opened(call, 1)
        if opened is None or "NULL" in call.arguments[2]:
            raise UnknownCallError(str(call))
        source, _ = opened
        assert isinstance(source, File)
        start = int(call.arguments[2].strip("[]").split("]")[0])
        return self._written(call, source.content()[start : start + call.result])

    def _ftruncate(self, call: Call) -> bool:
        opened = self._opened(call)
        if opened is None:
            return False
        found, _ = opened
        assert isinstance(found, File)
        found.since.append((int(call.arguments[1]), None))
        return True

    def _fsync(self, call: Call) -> bool:
        opened = self._opened(call)
        if opened is not None:
            opened[0].sync()
        return opened is not None

    _fdatasync = _fsync

    def _mmap(self, call: Call) -> bool:
        if "PROT_WRITE" in call.arguments[2] and "MAP_SHARED" in call.arguments[3] and call.descriptor(4) in self._open:
            raise UnknownCallError(str(call))
        return False

    def _mkdir(self, call: Call) -> bool:
        return self._named(call.paths()[-1], Folder())

    _mkdirat = _mkdir

    def _unlink(self, call: Call) -> bool:
        return self._named(call.paths()[-1], None)

    _unlinkat = _rmdir = _unlink

    def _named(self, path: str, what: File | Folder | None) -> bool:
        parts = self._parts(path)
        if parts is None:
            return False
        self._folder(parts[:-1]).since.append({parts[-1]: what})
        return True

    def _rename(self, call: Call) -> bool:
        paths = call.paths()
        if call.name != "rename":  # each path behind its folder
            paths = [paths[1], paths[3]]
        source, target = (self._parts(path) for path in paths)
        if source is None and target is None:
            return False
        if source is None or target is None:
            raise UnknownCallError(str(call))
        above, below = self._folder(source[:-1]), self._folder(target[:-1])
        moved = above.names()[source[-1]]
        swapped = below.names()[target[-1]] if "RENAME_EXCHANGE" in call.arguments[-1] else None
        if above is below:
            above.since.append({source[-1]: swapped, target[-1]: moved})
        else:  # of two folders each may lose its part
            above.since.append({source[-1]: swapped})
            below.since.append({target[-1]: moved})
        return True

    _renameat = _renameat2 = _rename

    def states(self, seed: int) -> Iterator[Tree]:
        """What a power cut may leave at this moment.

        Args:
            seed: of those by chance, where they are too many.
        """
        changed = [node for node in _all(self.root) if node.since]
        left = [node.left() for node in changed]
        if math.prod(map(len, left)) <= TOGETHER:
            picks: Iterable[Sequence[int]] = itertools.product(*(range(len(ways)) for ways in left))
        else:
            picks = _some([range(len(ways)) for ways in left], random.Random(seed))
        for pick in picks:
            chosen = {id(node): ways[one] for node, ways, one in zip(changed, left, pick, strict=True)}
            yield _tree(self.root, chosen)


def _some(choices: Sequence[Sequence[int]], chance: random.Random) -> list[tuple[int, ...]]:
    """All kept, all lost, each thing as it may be among what is kept and among what is lost; and some by chance."""
    found = []
    for base in (tuple(0 for _ in choices), tuple(choice[-1] for choice in choices)):
        found.append(base)
        for place, choice in enumerate(choices):
            found += [(*base[:place], one, *base[place + 1 :]) for one in choice]
    found += [tuple(chance.choice(choice) for choice in choices) for _ in range(CHANCES)]
    return list(dict.fromkeys(found))


Tree = dict[str, bytes | None]
"""What is left: paths below the root, with the bytes of files, and None for folders."""


def _tree(folder: Folder, chosen: dict[int, Any], before: str = "") -> Tree:
    found: Tree = {}
    for name, node in sorted(folder.names(chosen.get(id(folder))).items()):
        path = f"{before}{name}"
        if isinstance(node, File):
            found[path] = chosen.get(id(node), node.disk)
        else:
            found[path] = None
            found |= _tree(node, chosen, f"{path}/")
    return found


def _all(node: File | Folder) -> Iterator[File | Folder]:
    """A node and all below it that a power cut may bring to light, each once."""
    waiting, seen = [node], set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, Folder):
            waiting += one.disk.values()
            waiting += [what for change in one.since for what in change.values() if what is not None]


def _loaded(path: Path) -> Folder:
    """A folder as it is, all of it on the disk."""
    found = Folder()
    for inside in sorted(path.iterdir()):
        found.disk[inside.name] = _loaded(inside) if inside.is_dir() else File(inside.read_bytes())
    return found


def lay(tree: Tree, root: Path) -> None:
    """Make a folder that holds what is left."""
    root.mkdir()
    for name, content in tree.items():
        if content is None:
            (root / name).mkdir()
        else:
            (root / name).write_bytes(content)


_HARMLESS = frozenset({
    "newfstatat", "fstat", "stat", "lstat", "statx", "access", "faccessat", "faccessat2", "readlink", "readlinkat",
    "getdents64", "chmod", "fchmod", "fchmodat", "ioctl", "pread64", "flock", "fstatfs", "statfs", "utimensat", "chdir",
    "getcwd", "munmap", "fadvise64", "poll", "listxattr", "llistxattr", "getxattr", "lgetxattr",
})  # fmt: skip
"""Calls that change neither names nor bytes; what a rename has published keeps its bytes, whatever its mode."""
