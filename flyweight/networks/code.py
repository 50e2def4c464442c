"""The code of a user's network as bytes: its file and those beside it that it imports, read without running any.

A run keeps these, and what runs later are exactly the bytes that were hashed: they are written into a new folder that
nobody else has, so that no file beside them and no compiled one takes the place of what was allowed.
"""

from __future__ import annotations

import ast
import atexit
import hashlib
import importlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.machinery import PathFinder
from importlib.util import decode_source
from pathlib import Path

from flyweight.errors import FlyweightError
from flyweight.files import answers, read_bytes, reason, scratch
from flyweight.networks import sources
from flyweight.networks.reference import Reference, parse

MOST_FILES = 1000
"""Of one network."""

_PLACES: dict[str, tuple[Path, Path]] = {}
"""By SHA-256 of the code: the folder that it runs in until this process ends, and the folder that people know."""


@dataclass(frozen=True)
class Code:
    """What a reference to a network of the user's own runs.

    Attributes:
        reference: to it.
        entry: the file that it names, one of `files`; empty: an installed module, which stays where it is.
        files: contents, by their names below one folder; of an installed module none.
        hashes: SHA-256 of each file; of an installed module that of its file, where it can be found.
        root: the folder that the files come from.
    """

    reference: Reference
    entry: str
    files: dict[str, bytes]
    hashes: dict[str, str]
    root: Path

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that decides what runs: the files, and what is called in them with which arguments.

        The user installed an installed module himself: there it is of the call alone, and an upgrade changes nothing.
        """
        called = self.reference.text[len(self.reference.source) :] if self.entry else self.reference.text
        files = self.hashes if self.entry else {}
        return hashlib.sha256(json.dumps([called, self.entry, files], sort_keys=True).encode()).hexdigest()

    @property
    def place(self) -> str:
        """What somebody reads before he allows it."""
        return str(self.root / self.entry) if self.entry else f"the installed module {self.reference.source}"

    def placed(self, known: Path) -> str:
        """A reference to a copy of these bytes in a folder of this process's own; an installed module's as it is.

        Args:
            known: the folder that errors name in place of that one.
        """
        if not self.entry:
            return self.reference.text
        if self.digest not in _PLACES:
            held = ExitStack()
            atexit.register(held.close)
            made = held.enter_context(scratch())
            for name, content in self.files.items():
                path = made / "code" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            _PLACES[self.digest] = made / "code", known
        place, _ = _PLACES[self.digest]
        _PLACES[self.digest] = place, known
        return self.reference.moved(place / self.entry).text


def hashes(files: dict[str, bytes]) -> dict[str, str]:
    """SHA-256 of each file."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def shown(text: str) -> str:
    """Text with the folders that people know in place of those that copies run in."""
    for place, known in _PLACES.values():
        text = text.replace(str(place), str(known))
    return text


def gathered(text: str) -> Code:
    """The code that a reference names, as it is now.

    Raises:
        FlyweightError: there is no such file, it is no Python, or it takes too many others along.
    """
    reference = parse(text)
    if not reference.is_file:
        here = _here(reference.source)
        if here is None:
            return Code(reference, "", {}, hashes(_installed(reference.source)), Path())
        reference = reference.moved(here)
    source = sources.read(reference)
    folders = sources.folders_of(source)
    root = min(folders, key=lambda folder: len(folder.parts))
    trees: dict[Path, list[ast.AST]] = {source.path: [statement.node for statement in source.program]}
    queue, files = [source.path], dict[str, bytes]()
    while queue:
        path = queue.pop()
        name = path.relative_to(root).as_posix()
        if name in files:
            continue
        if len(files) == MOST_FILES:
            raise FlyweightError(f"{reference.text} imports more than {MOST_FILES:,} files beside it: hand in fewer")
        try:
            files[name] = read_bytes(path, sources.MOST_BYTES)
        except OSError as error:
            raise FlyweightError(f"{reference.text}: cannot read {path}: {reason(error)}") from None
        found = _imported(trees.get(path) or _parsed(files[name]), path, folders)
        packages = (folder / "__init__.py" for folder in path.parents if folder != root and folder.is_relative_to(root))
        queue += [file for file in (*found, *packages) if file.is_relative_to(root) and answers(file, Path.is_file)]
    return Code(reference, source.path.relative_to(root).as_posix(), files, hashes(files), root)


def _parsed(content: bytes) -> list[ast.AST]:
    try:
        return [ast.parse(decode_source(content))]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []  # whoever imports it is told


def _imported(trees: list[ast.AST], path: Path, folders: list[Path]) -> Iterator[Path]:
    """Where the modules that a file imports would be, if they lie beside it."""
    for node in (node for tree in trees for node in ast.walk(tree)):
        names: list[str] = []
        places = folders
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [".".join(filter(None, (node.module, alias.name))) for alias in node.names]
            places = [path.parents[node.level - 1]] if 0 < node.level <= len(path.parents) else folders
        for parts in (name.split(".") for name in names):
            for count in range(1, len(parts) + 1):
                for place in places:
                    inner = place.joinpath(*parts[:count])
                    yield from (inner.with_name(f"{inner.name}.py"), inner / "__init__.py")


def _here(module: str) -> Path | None:
    """The file of a module of the working folder; None where it is another one.

    Raises:
        FlyweightError: its package lies here, and the module does not.
    """
    if not is_here(module):
        return None
    whole = Path.cwd() / module.replace(".", "/")
    for file in (whole / "__init__.py", whole.with_name(f"{whole.name}.py")):
        if file.is_file():
            return file
    raise FlyweightError(f"{module} is looked for in {Path.cwd()}, which has no such Python file: name the file")


def is_here(module: str) -> bool:
    """Whether a module would be imported from the working folder."""
    top = module.partition(".")[0]
    importlib.invalidate_caches()
    here = PathFinder.find_spec(top, [str(Path.cwd())])
    if here is None or here.origin is not None:
        return here is not None
    # a folder without __init__.py yields to an installed package
    elsewhere = PathFinder.find_spec(top)
    return elsewhere is None or elsewhere.origin is None


def _installed(module: str) -> dict[str, bytes]:
    """The file of an installed module, found without importing what it lies in; none where it cannot be found so."""
    places: list[str] | None = None
    parts = module.split(".")
    spec = None
    for count in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:count]), places)
        if spec is None:
            return {}
        places = list(spec.submodule_search_locations or [])
    if spec is None or not isinstance(spec.origin, str) or not spec.origin.endswith(".py"):
        return {}
    with suppress(OSError):
        return {Path(spec.origin).name: read_bytes(Path(spec.origin), sources.MOST_BYTES)}
    return {}
