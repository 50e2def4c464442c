"""Image files in the places that somebody named."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from flyweight.errors import DataError
from flyweight.files import answers, reason
from flyweight.images.decode import SUFFIXES
from flyweight.text import printable


@dataclass(frozen=True)
class Found:
    """What lies in the places that somebody named.

    Attributes:
        images: files that were named, and those of folders whose names end as an image's does.
        others: files of folders whose names do not, which are left out.
        closed: folders that cannot be looked into, each with a line that says why.
    """

    images: tuple[Path, ...]
    others: tuple[Path, ...] = ()
    closed: tuple[tuple[Path, str], ...] = ()


def find(places: Iterable[Path]) -> Found:
    """Image files, in the order of the places; those of a folder and its subfolders sorted by name.

    Raises:
        DataError: a place does not exist, or a folder holds no image.
    """
    found: list[Path] = []
    others: list[Path] = []
    closed: list[tuple[Path, str]] = []
    for place in places:
        if answers(place, Path.is_dir):
            inside, unseen = _inside(place)
            images = [path for path in inside if path.suffix.lower() in SUFFIXES and path.is_file()]
            closed += unseen
            if not images and unseen:
                raise DataError(unseen[0][1])
            if not images:
                raise DataError(f"{printable(str(place))} holds no images ({', '.join(sorted(SUFFIXES))})")
            found += images
            others += sorted(set(inside) - set(images))
        elif answers(place, Path.exists):
            found.append(place)
        else:
            raise DataError(f"{printable(str(place))} does not exist: name image files or folders of them")
    return Found(tuple(found), tuple(others), tuple(closed))


def _inside(folder: Path) -> tuple[list[Path], list[tuple[Path, str]]]:
    """All files of a folder and its subfolders, sorted; and which of these cannot be looked into, and why."""
    closed: list[tuple[Path, str]] = []

    def unseen(error: OSError) -> None:
        shut = Path(error.filename)
        closed.append((shut, f"{printable(str(shut))} cannot be looked into: {reason(error)}"))

    files = [Path(where, name) for where, _, names in os.walk(folder, onerror=unseen) for name in names]
    return sorted(files), closed
