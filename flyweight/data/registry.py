"""The table of readers, and `load`, which goes through it. A new reader is one file and one entry here."""

from pathlib import Path

from flyweight.data import digits, folder
from flyweight.data.cache import cache_folder, expanded
from flyweight.data.cifar10 import find as cifar10
from flyweight.data.dataset import Dataset, Progress, silent
from flyweight.data.reader import Reader
from flyweight.errors import DataError, FlyweightError
from flyweight.images.spec import Spec
from flyweight.recipes.sections import DataConfig
from flyweight.schema import suggestion
from flyweight.text import short

READERS = (cifar10.READER, digits.READER, folder.READER)
"""The first one is the default. A path goes to the first that recognises it, so the most particular come first."""


def load(
    name: str | None = None,
    path: Path | None = None,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
    download: bool = True,
    config: DataConfig | None = None,
    like: Spec | None = None,
    verify: bool = False,
) -> Dataset:
    """Open a data set; the first time, find it and convert it to arrays in the cache (10 s for CIFAR-10).

    Args:
        name: of a reader; none: what `path` is recognised as, or the default, CIFAR-10.
        path: a folder or file to read; by default the places that the reader knows.
        cache: the folder for arrays and downloads; by default FLYWEIGHT_CACHE, else that of the platform.
        progress: called as progress(what, done, total).
        download: whether the network may be used.
        config: size and splits of a set of any images; its name and path do not count here.
        like: of a network that the images are for: its classes and its images' size; none: the set's own.
        verify: read all files of a set of any images again, whatever their times say.

    Raises:
        NoDataError: it is in none of the places; the message names them all.
        DataError: the data is damaged, `path` holds none, or the cache cannot be written.
        FlyweightError: there is no data set `name`, it takes no path or needs one, or its images have one size alone.
    """
    found, config = choose(name, path), config or DataConfig()
    place = None if path is None else expanded(path, "--data")
    root, told = cache_folder(cache), progress or silent
    if found.listing is not None:
        from flyweight.data import listed  # here, for it imports what decodes images

        if place is None:
            raise FlyweightError(f"data set {found.name} needs a path: name {found.layouts}")
        return listed.load(
            found.listing(place, config, told), config, cache=root, progress=told, like=like, verify=verify
        )
    assert found.read is not None
    if config.size is not None or config.resize is not None:
        raise FlyweightError(f"data.size and data.resize are not for {found.label}: its images have one size alone")
    return found.read(place, cache=root, progress=told, download=download)


def choose(name: str | None = None, path: Path | None = None) -> Reader:
    """The reader that `load` would call.

    Raises:
        DataError: `path` does not exist, or nobody recognises it.
        FlyweightError: there is no data set `name`, or it takes no path.
    """
    reader = None if name is None else _named(name)
    if path is None:
        return reader or READERS[0]
    if reader is not None and reader.layouts is None:
        raise FlyweightError(f"data set {reader.name} takes no path: {_choices()}")
    path = expanded(path, "--data")
    if not path.exists():
        known = [reader.name for reader in READERS]
        raise DataError(f"--data {path} does not exist{suggestion(path.name, known)}: name {_layouts(reader)}")
    if reader is not None:
        return reader
    for candidate in READERS:
        if candidate.layouts is not None and candidate.recognises(path):
            return candidate
    raise DataError(f"--data {path} holds no data set that is known here: name {_layouts(None)}")


def _named(name: str) -> Reader:
    for reader in READERS:
        if reader.name == name:
            return reader
    known = [reader.name for reader in READERS]
    raise FlyweightError(f"there is no data set {short(name, 80)!r}{suggestion(name, known)}: {_choices()}")


def _choices() -> str:
    names = (reader.name for reader in READERS)
    with_path = (reader.name for reader in READERS if reader.layouts)
    return f"choose {', '.join(names)}; a path goes with {', '.join(with_path)}"


def _layouts(reader: Reader | None) -> str:
    """What a path may hold, for one reader or for all."""
    if reader is not None:
        return reader.layouts or "none"
    return "; or ".join(f"{reader.label} as {reader.layouts}" for reader in READERS if reader.layouts)
