"""Folders of image files: a folder a class, below folders named train, val and test where there are such."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from flyweight.data.dataset import Progress
from flyweight.data.listing import Content, Entry, Listing, Skipped
from flyweight.data.reader import Reader
from flyweight.errors import DataError
from flyweight.recipes.sections import DataConfig
from flyweight.text import some

SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""Names of folders, in small letters, and the split that each holds. Such a folder never becomes a class."""

LAYOUTS = "a folder with one folder of images a class, or with train, val and test that hold such folders each"


def listing(path: Path, config: DataConfig, progress: Progress) -> Listing:
    """List the images of a folder; which files are images is found out later, by their content.

    A folder inside a class's folder belongs to that class. Hidden files and folders, such as `.ipynb_checkpoints`,
    count for nothing. Names that differ in their Unicode form alone are one name.

    Raises:
        DataError: it has no folders of images, or splits and classes side by side.
    """
    walk = _Walk(path)
    folders = walk.folders(path)
    by_split = [folder for folder in folders if folder.name.lower() in SPLIT_FOLDERS]
    notes: list[str] = []
    if by_split:
        for folder in by_split:
            for inner in walk.folders(folder):
                walk.add(inner, SPLIT_FOLDERS[folder.name.lower()], _class_name(inner))
            walk.skip_files(folder, "it is in no class's folder")
        beside = [folder.name for folder in folders if folder not in by_split]
        if beside:
            notes.append(
                f"Beside {some([folder.name for folder in by_split])} these folders were left out: {some(beside)}."
            )
    else:
        for folder in folders:
            walk.add(folder, "", _class_name(folder))
    walk.skip_files(path, "it is in no class's folder")
    if not walk.found:
        raise DataError(f"--data {path}: {_found(path, folders, walk)}; expected {LAYOUTS}")
    # sorted by the bytes of their names, so that no file system or locale decides
    walk.found.sort(key=lambda pair: pair[0])
    entries, paths = [entry for entry, _ in walk.found], [file for _, file in walk.found]
    if empty := sorted(walk.classes - {entry.label for entry in entries}):
        notes.append(f"Folders without any file are no classes: {some(empty)}.")

    def contents() -> Iterator[Content]:
        return (path / file for file in paths)

    return Listing(
        "image folder", path, entries, contents, walk.stamp(), skipped=tuple(sorted(walk.skipped)), notes=tuple(notes)
    )


def recognises(path: Path) -> bool:
    """Whether it is a folder with a folder in it that is not hidden."""
    return path.is_dir() and bool(_Walk(path).folders(path))


def _class_name(folder: Path) -> str:
    return unicodedata.normalize("NFC", folder.name)


def _found(path: Path, folders: list[Path], walk: _Walk) -> str:
    if not folders:
        return f"it holds {'files but no folders' if walk.skipped else 'nothing'}"
    return f"its folders hold no files ({some([folder.name for folder in folders])})"


class _Walk:
    """What was seen below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.found: list[tuple[Entry, str]] = []
        self.skipped: list[Skipped] = []
        self.classes: set[str] = set()
        self._digest = hashlib.sha256(b"image folder")

    def stamp(self) -> str:
        """A hash of the names, sizes and times of all files; call it once they are sorted."""
        for entry, file in self.found:
            try:
                status = (self.root / file).stat()
                when = f"{status.st_size} {status.st_mtime_ns}"
            except OSError as error:
                when = str(error.strerror)
            self._digest.update("\0".join((*entry, when)).encode("utf-8", "surrogateescape"))
        return self._digest.hexdigest()

    def folders(self, path: Path) -> list[Path]:
        """The folders in a folder that are not hidden, sorted by name."""
        return [Path(entry.path) for entry in self._entries(path) if _is_folder(entry)]

    def skip_files(self, path: Path, reason: str) -> None:
        """Note the files in a folder as left out."""
        for entry in self._entries(path):
            if not _is_folder(entry):
                self.skipped.append(Skipped(_name(entry.path, self.root), reason))

    def add(self, folder: Path, split: str, label: str) -> None:
        """Note all files in a folder and in those inside it as images of a class."""
        self.classes.add(label)
        waiting, seen = [folder], set()
        while waiting:
            current = waiting.pop()
            try:
                status = current.stat()
            except OSError as error:
                self.skipped.append(Skipped(_name(current, self.root), error.strerror or "it cannot be read"))
                continue
            if (place := (status.st_dev, status.st_ino)) in seen:
                self.skipped.append(Skipped(_name(current, self.root), "it leads back to a folder that it is in"))
                continue
            seen.add(place)
            for entry in self._entries(current):
                if _is_folder(entry):
                    waiting.append(Path(entry.path))
                else:
                    file = os.path.relpath(entry.path, self.root)
                    name = unicodedata.normalize("NFC", Path(file).as_posix())
                    self.found.append((Entry(name, split, label), file))

    def _entries(self, path: Path) -> list[os.DirEntry[str]]:
        """What is in a folder and not hidden, sorted by name."""
        try:
            with os.scandir(path) as inside:
                return sorted(
                    (entry for entry in inside if not entry.name.startswith(".")), key=lambda entry: entry.name
                )
        except OSError as error:
            self.skipped.append(Skipped(_name(path, self.root), error.strerror or "it cannot be read"))
            return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _name(path: str | Path, root: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()


READER = Reader(
    name="folder",
    label="a folder of images",
    help="image files in folders, one a class, below train, val and test or not",
    listing=listing,
    layouts=LAYOUTS,
    recognises=recognises,
)
