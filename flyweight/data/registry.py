"""The table of readers, and `load`, which goes through it. A new reader is one file and one entry here."""

from pathlib import Path

from flyweight.data import digits, folder, hub, npz, parquet
from flyweight.data.cache import cache_folder, expanded, sweep
from flyweight.data.cifar10 import find as cifar10
from flyweight.data.dataset import Dataset, Progress, silent
from flyweight.data.reader import Reader
from flyweight.errors import DataError, FlyweightError
from flyweight.images.spec import Spec
from flyweight.recipes.sections import DataConfig
from flyweight.schema import suggestion
from flyweight.text import printable, short

READERS = (cifar10.READER, digits.READER, parquet.READER, npz.READER, folder.READER, hub.READER)
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
    trained_on: str | None = None,
    verify: bool = False,
) -> Dataset:
    """Open a data set; the first time, find it and convert it to arrays in the cache (10 s for CIFAR-10).

    Args:
        name: of a reader, with the address of the set after a colon where it takes one; none: what `path` is
            recognised as, or the default, CIFAR-10.
        path: a folder or file to read; by default the places that the reader knows.
        cache: the folder for arrays and downloads; by default FLYWEIGHT_CACHE, else that of the platform.
        progress: called as progress(what, done, total).
        download: whether the network may be used.
        config: size and splits of a set of any images; its name and path do not count here.
        like: of a network that the images are for: its classes and its images' size; none: the set's own.
        trained_on: fingerprint of the data set that this network was trained on: all images of another one that has
            no splits are test images.
        verify: read all files of a set of any images again, whatever their times say.

    Raises:
        NoDataError: it is in none of the places; the message names them all.
        DataError: the data is damaged, `path` holds none, or the cache cannot be written.
        FlyweightError: there is no data set `name`, it takes no path or needs one, or its images have one size alone.
    """
    found, config = choose(name, path), config or DataConfig()
    place = None if path is None else expanded(path, "--data")
    root, told = cache_folder(cache), progress or silent
    sweep(root)
    if found.read is None:
        from flyweight.data import listed  # here, for it imports what decodes images

        if found.fetch is not None:
            address = (name or "").partition(":")[2]
            listing = found.fetch(address, config, cache=root, progress=told, download=download)
        elif place is None:
            raise FlyweightError(f"data set {found.name} needs a path: name {found.layouts}")
        else:
            assert found.listing is not None
            listing = found.listing(place, config, told)
        return listed.load(listing, config, cache=root, progress=told, like=like, trained_on=trained_on, verify=verify)
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
        where = printable(str(path))
        raise DataError(f"--data {where} does not exist{suggestion(path.name, known)}: name {_layouts(reader)}")
    if reader is not None:
        return reader
    for candidate in READERS:
        if candidate.layouts is not None and candidate.recognises(path):
            return candidate
    # a pipe, a socket, a device
    what = "holds no data set" if path.is_dir() or path.is_file() else "is not a regular file"
    raise DataError(f"--data {printable(str(path))} {what}: name {_layouts(None)}")


def is_name(text: str) -> bool:
    """Whether it names a data set by its reader, and not by a path."""
    plain, colon, _ = text.partition(":")
    return any(reader.name == plain and (not colon or reader.address is not None) for reader in READERS)


def pinned(name: str | None = None, path: Path | None = None, *, cache: Path | None = None) -> str:
    """The name of the data set that `load` would open, by which it opens the same one at any later time.

    Raises:
        DataError, FlyweightError: as `choose`; or the network is needed to know, and cannot be had.
    """
    reader = choose(name, path)
    if reader.pin is None:
        return reader.name
    return f"{reader.name}:{reader.pin((name or '').partition(':')[2], cache_folder(cache))}"


def _named(name: str) -> Reader:
    plain, _, address = name.partition(":")
    for reader in READERS:
        if reader.name == plain and reader.address is not None and not address:
            raise FlyweightError(f"data set {reader.name} needs an address: write {reader.called}")
        if reader.name == plain and (reader.address is not None or name == plain):
            return reader
    known = [reader.name for reader in READERS]
    raise FlyweightError(f"there is no data set {short(name, 80)!r}{suggestion(name, known)}: {_choices()}")


def _choices() -> str:
    names = (reader.called for reader in READERS)
    with_path = (reader.name for reader in READERS if reader.layouts)
    return f"choose {', '.join(names)}; a path goes with {', '.join(with_path)}"


def _layouts(reader: Reader | None) -> str:
    """What a path may hold, for one reader or for all."""
    if reader is not None:
        return reader.layouts or "none"
    paths = [reader.layouts for reader in READERS if reader.layouts]
    return "; or ".join([*paths, *(f"{reader.label} as {reader.called}" for reader in READERS if reader.address)])
