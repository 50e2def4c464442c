"""Folders of image files: a folder a class, below folders named train, val and test where there are such."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from flyweight.data.dataset import Progress
from flyweight.data.listing import HIDDEN, Content, Entry, Listing, Skipped
from flyweight.data.reader import Reader
from flyweight.errors import DataError
from flyweight.files import is_folder, mark
from flyweight.recipes.sections import DataConfig
from flyweight.text import printable, some

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

LAYOUTS = "a folder with one folder of images a class, or with train, val and test that hold such"


def listing(path: Path, config: DataConfig, progress: Progress) -> Listing:
    """List the images of a folder; which files are images is found out later, by their content.

    A folder inside a class's folder belongs to that class. Hidden files and folders, such as `.ipynb_checkpoints`,
    count for nothing. Names that differ in their Unicode form alone are one name; bytes in them that are no UTF-8 are
    written out. Links are followed, but for those that lead back to where they are.

    Raises:
        DataError: it has no folders of images.
    """
    walk = _Walk(path)
    folders, files = walk.scan("")
    by_split = [folder for folder in folders if folder.lower() in SPLIT_FOLDERS]
    beside = [folder for folder in folders if folder not in by_split] if by_split else []
    walk.skip(files, "it is in no class's folder")
    walk.skip([f"{folder}/" for folder in beside], f"it stands beside {some(by_split)}, which count as splits")
    for folder in by_split:
        classes, files = walk.scan(folder)
        walk.skip(files, "it is in no class's folder")
        for inner in classes:
            walk.add(inner, SPLIT_FOLDERS[folder.lower()])
    for folder in folders if not by_split else []:
        walk.add(folder, "")
    if not walk.found:
        raise DataError(f"--data {printable(str(path))}: {_instead(folders, by_split, beside, walk)}; name {LAYOUTS}")
    entries, paths = walk.sorted()
    notes = []
    if beside:
        notes.append(f"Beside {some(by_split)} these folders were left out: {some(beside)}.")

    def contents() -> Iterator[Content]:
        return (path / file for file in paths)

    return Listing(
        "image folder",
        path,
        entries,
        contents,
        walk.stamp(),
        skipped=tuple(sorted(walk.skipped)),
        notes=(*notes, *_notes(walk, {entry.label for entry in entries})),
    )


def recognises(path: Path) -> bool:
    """Whether it is a folder with a folder in it that is not hidden."""
    return path.is_dir() and bool(_Walk(path).scan("")[0])


def _instead(folders: list[str], by_split: list[str], beside: list[str], walk: _Walk) -> str:
    """What was found in place of images."""
    if by_split:
        rest = f", and {some(beside)} beside" if beside else ""
        return f"it has {some(by_split)}, which count as splits and hold no folders with files{rest}"
    if folders:
        return f"its folders hold no files ({some(folders)})"
    if not walk.skipped:
        return "it holds nothing"
    unreadable = [skipped.reason for skipped in walk.skipped if skipped.name == "."]
    return unreadable[0] if unreadable else "it holds files but no folders"


def _notes(walk: _Walk, labels: set[str]) -> Iterator[str]:
    """What a person should know of the classes."""
    if empty := sorted(set(walk.classes) - labels):
        yield f"Folders without any file are no classes: {some(empty)}."
    alike = defaultdict(list)
    for label in sorted(labels):
        alike[label.casefold()].append(label)
    if twins := [label for group in alike.values() if len(group) > 1 for label in group]:
        yield f"Names that differ in small and capital letters alone are classes of their own: {some(twins)}."
    if len(labels) == 1 and len(places := walk.classes[min(labels)]) == 1 and (inner := walk.scan(places[0])[0]):
        names = [Path(folder).name for folder in inner]
        yield (
            f"{printable(places[0])} holds folders itself ({some(names)}):"
            f" if they are the classes, name {printable(str(walk.root / places[0]))}."
        )


class _Walk:
    """What was seen below a folder. Places are paths below it, with slashes; "" is the folder itself.

    Attributes:
        root: the folder.
        found: each file of a class: (what people call it, split, class, its place, what changes when it does).
        skipped: what is no file of a class.
        classes: the folders of each class.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.found: list[tuple[str, str, str, str, str]] = []
        self.skipped: list[Skipped] = []
        self.classes: defaultdict[str, list[str]] = defaultdict(list)
        self._above = {_identity(above) for above in (root, *root.resolve().parents)}

    def scan(self, place: str) -> tuple[list[str], list[str]]:
        """(folders, files) in a folder that are not hidden, each sorted by name."""
        folders, files = self._scan(place)
        return [folder for folder, _ in folders], [file for file, _ in files]

    def skip(self, places: list[str], reason: str) -> None:
        """Note files as left out."""
        self.skipped += [Skipped(_name(place), reason) for place in places]

    def add(self, folder: str, split: str) -> None:
        """Note all files in a folder and in those inside it as images of the class that it is named after."""
        label = _name(Path(folder).name)
        self.classes[label].append(folder)
        # a link to a folder above would bring in all other classes, or what lies beside the data set
        seen = {*self._above, _identity((self.root / folder).parent)}
        # links last: where a folder can be reached without one, it is
        waiting, links = [folder], list[str]()
        while waiting or links:
            current = waiting.pop() if waiting else links.pop()
            if (identity := _identity(self.root / current)) in seen:
                self.skip([current], "it leads to a folder that was seen already")
                continue
            seen.add(identity)
            folders, files = self._scan(current)
            for inner, is_link in folders:
                (links if is_link else waiting).append(inner)
            self.found += [(_name(file), split, label, file, state) for file, state in files]

    def sorted(self) -> tuple[list[Entry], list[str]]:
        """The entries and their files, in the order of the names' bytes, so that no file system or locale decides."""
        self.found.sort()
        taken: set[str] = set()
        entries = []
        for name, split, label, _, _ in self.found:
            unique, number = name, 1
            while unique in taken:  # another Unicode form of the same name
                number += 1
                unique = f"{name} ({number})"
            taken.add(unique)
            entries.append(Entry(unique, split, label))
        return entries, [file for _, _, _, file, _ in self.found]

    def stamp(self) -> str:
        """A hash of the names, sizes and times of all files; call it once they are sorted."""
        text = "\n".join("\0".join(found) for found in self.found)
        return hashlib.sha256(b"image folder" + text.encode("utf-8", "surrogateescape")).hexdigest()

    def _scan(self, place: str) -> tuple[list[tuple[str, bool]], list[tuple[str, str]]]:
        """The folders in a folder, and whether each is a link; its files, and what changes when one of them does."""
        folders, files = [], []
        below = f"{place}/" if place else ""
        try:
            with os.scandir(self.root / place) as inside:
                for entry in inside:
                    if entry.name.startswith("."):
                        self.skipped.append(Skipped(_name(below + entry.name), HIDDEN))
                    elif is_folder(entry):
                        folders.append((below + entry.name, entry.is_symlink()))
                    else:
                        files.append((below + entry.name, _state(entry)))
        except OSError as error:
            self.skip([place or "."], _reason(error))
        return sorted(folders), sorted(files)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _state(entry: os.DirEntry[str]) -> str:
    """What decides whether a file must be read again."""
    try:
        status = entry.stat()
    except OSError as error:
        return _reason(error)
    return mark(status)


def _reason(error: OSError) -> str:
    return error.strerror or "it cannot be read"


def _name(place: str) -> str:
    """What people call it: text that can be written anywhere, in the one Unicode form."""
    if place.isascii():
        return place
    return unicodedata.normalize("NFC", place.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))


READER = Reader(
    name="folder",
    label="a folder of images",
    help="image files in folders, one a class, below train, val and test or not",
    listing=listing,
    layouts=LAYOUTS,
    recognises=recognises,
)
