"""Which parquet files in a folder, or in a repository of the hub, are of one set, and the split that each holds."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from flyweight.data.folder import SPLIT_FOLDERS
from flyweight.errors import DataError
from flyweight.files import is_folder
from flyweight.text import some

LAYOUTS = "a .parquet file, or a folder of them that are called train-*, validation-* and test-*"
DEPTH = 3
"""Folders below the one that is named in which files are looked for: the hub's own are at SET/train/0000.parquet."""


class Shard(NamedTuple):
    """A parquet file.

    Attributes:
        name: below the folder, with slashes.
        split: one of `listing.SPLITS`; empty where its name says none.
    """

    name: str
    split: str


def names(folder: Path) -> Iterator[str]:
    """The .parquet files in a folder and those in it that are not hidden, by their names below it."""
    waiting = [("", folder)]
    while waiting:
        below, current = waiting.pop()
        try:
            with os.scandir(current) as inside:
                entries = [entry for entry in inside if not entry.name.startswith(".")]
        except OSError:
            continue
        for entry in entries:
            name = f"{below}{entry.name}"
            if wanted(name):
                yield name
            elif below.count("/") < DEPTH and is_folder(entry):
                waiting.append((f"{name}/", Path(entry.path)))


def wanted(name: str) -> bool:
    """Whether a file may be of a set: what lies beside images in folders is called metadata.parquet."""
    return name.lower().endswith(".parquet") and PurePosixPath(name).name.lower() != "metadata.parquet"


def arrange(found: Iterable[str], where: str) -> tuple[list[Shard], tuple[str, ...]]:
    """Sort out by their names which files are the set's, and the split that each holds.

    Args:
        found: their names below the folder, with slashes.
        where: what the user named.

    Returns:
        The shards in their order, and sentences that a person should read.

    Raises:
        DataError: there are none, several sets or files missing.
    """
    sets: dict[str, list[Shard]] = {}
    for name in sorted(found):
        place, split = _split(PurePosixPath(name))
        sets.setdefault(place, []).append(Shard(name, split))
    if not sets:
        raise DataError(f"{where} holds no .parquet files: name {LAYOUTS}")
    # those in the folder that was named come before those in folders in it
    if len(sets) > 1 and "" not in sets:
        raise DataError(f"{where} holds several sets ({some(sorted(sets), 8)}): name one, {where}/{min(sets)}")
    notes = []
    shards = sets.pop("", None) or sets.pop(min(sets))
    if sets:
        notes.append(
            f"Beside the .parquet files of {where} those in these folders were left out: {some(sorted(sets))}."
        )
    others = [shard.name for shard in shards if not shard.split]
    if 0 < len(others) < len(shards):
        notes.append(f"Files that are neither to train on nor to test with were left out: {some(others)}.")
        shards = [shard for shard in shards if shard.split]
    groups: dict[tuple[str, ...], list[str]] = {}
    for shard in shards:
        file = PurePosixPath(shard.name)
        key = (str(file.parent), shard.split or re.split(r"\d", file.name)[0])
        groups.setdefault(key, []).append(file.name)
    try:
        for group in groups.values():
            check_complete(group)
    except ValueError as error:
        raise DataError(f"{where}: {error}; get the set again") from None
    return shards, tuple(notes)


def _split(file: PurePosixPath) -> tuple[str, str]:
    """The folder of the set that a file is of, and its split: that of the first folder of such a name, or its own."""
    folders = file.parent.parts
    for place, folder in enumerate(folders):
        # of a set that is too large the hub converts the beginning, and calls it so
        if split := SPLIT_FOLDERS.get(folder.lower().removeprefix("partial-")):
            return "/".join(folders[:place]), split
    word = re.match(r"[a-z]*", file.name.lower())
    return "/".join(folders), SPLIT_FOLDERS.get(word[0], "") if word else ""


def check_complete(files: Sequence[str]) -> None:
    """Hold the numbers in the names of a split's files (train-00002-of-00004.parquet, 0002.parquet) against each other.

    Raises:
        ValueError: one is missing, or they are of different sets.
    """
    # an older hub wrote a hash behind the numbers
    numbered = [match for name in files if (match := re.fullmatch(r"(.+)-(\d+)-of-(\d+)(-\w+)?\.parquet", name))]
    plain = [match for name in files if (match := re.fullmatch(r"(\d+)\.parquet", name))]
    if numbered:
        totals, numbers = {int(match[3]) for match in numbered}, {int(match[2]) for match in numbered}
        if len(totals) > 1 or len(numbers) < len(files):
            raise ValueError(f"the files {some(files, 8)} belong to different sets")
        if missing := set(range(totals.pop())) - numbers:
            raise ValueError(f"{numbered[0][1]}-{min(missing):05d}-of-{numbered[0][3]}.parquet is missing")
    elif len(plain) == len(files) and (missing := set(range(len(plain))) - {int(match[1]) for match in plain}):
        raise ValueError(f"{min(missing):0{len(plain[0][1])}d}.parquet is missing")
