"""Where data is looked for, and in which order."""

import os
from dataclasses import replace
from pathlib import Path

from flyweight.data import digits
from flyweight.data.cache import FORMAT, cache_folder, cached, expanded, intact
from flyweight.data.cifar10 import download as network
from flyweight.data.cifar10 import formats
from flyweight.data.dataset import Dataset, Progress
from flyweight.errors import DataError, FlyweightError

DATA_VARIABLE = "FLYWEIGHT_DATA"


class NoDataError(DataError):
    """CIFAR-10 is in none of the places; nothing is damaged, and no place that the user named was passed over."""


def load(
    name: str = "cifar10",
    path: Path | None = None,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
    download: bool = True,
) -> Dataset:
    """Open a data set; the first time, find it and convert it to arrays in the cache (10 s for CIFAR-10).

    CIFAR-10 is taken from the first of: `path`; the environment variable FLYWEIGHT_DATA; `../shared/cifar10` beside
    the source checkout; the cache; the Hugging Face hub; mirrors of the official archive. The images come in an order
    of their own (`dataset.in_canonical_order`), the same from every place.

    Args:
        name: "cifar10", or "digits", which needs neither files nor network.
        path: a parquet folder in the layout of the hub, the official python or binary archive, or its folder.
        cache: the folder for arrays and downloads; by default FLYWEIGHT_CACHE, else that of the platform.
        progress: called as progress(what, done, total).
        download: whether the network may be used.

    Raises:
        NoDataError: CIFAR-10 is in none of these places; the message names them all.
        DataError: the data is damaged, `path` or FLYWEIGHT_DATA holds none, or the cache cannot be written.
        FlyweightError: there is no data set `name`, or it takes no path.
    """
    root, report = cache_folder(cache), progress or _silent
    if name == "digits" and path is None:
        return cached(root, f"digits-{FORMAT}", digits.read, report)
    if name != "cifar10":
        wrong = f"{name} takes no path" if name == "digits" else f"there is no data set {name!r}"
        raise FlyweightError(f"{wrong}: choose cifar10, with or without a path, or digits")
    for place, given in (("--data", path), (DATA_VARIABLE, os.environ.get(DATA_VARIABLE))):
        if given:
            return _convert(_named(Path(given), place), root, report)
    looked = ["--data (not given)", f"{DATA_VARIABLE} (not set)"]
    found = _beside_checkout(looked, root, report) or _in_cache(looked, root, report)
    if found is None and download:
        found = _from_network(looked, root, report)
    if found is not None:
        return found
    raise NoDataError(
        f"CIFAR-10 was not found; looked in: {'; '.join(looked)}. Give its place with --data PATH or {DATA_VARIABLE}, "
        "or use --data digits, which needs no network"
    )


def checkout() -> Path | None:
    """The folder of the source checkout that this package runs from; None where it is installed elsewhere."""
    folder = Path(__file__).resolve().parents[3]
    return folder if (folder / "pyproject.toml").is_file() else None


def _named(path: Path, place: str) -> formats.Source:
    path = expanded(path, place)
    if not path.exists():
        raise DataError(f"{place} {path} does not exist: name {formats.LAYOUTS}")
    source = formats.find(path)
    if source is None:
        raise DataError(f"{place} {path} holds no CIFAR-10: name {formats.LAYOUTS}")
    return source


def _convert(source: formats.Source, root: Path, progress: Progress) -> Dataset:
    dataset = cached(root, source.key(), lambda: formats.read(source, progress), progress)
    return replace(dataset, source=str(source))  # the arrays may be those of an equal source elsewhere


def _beside_checkout(looked: list[str], root: Path, progress: Progress) -> Dataset | None:
    base = checkout()
    if base is None:
        return None
    folder = base.parent / "shared" / "cifar10"
    source = formats.find(folder)
    looked.append(f"{folder} ({'holds none' if folder.exists() else 'no such folder'})")
    return _convert(source, root, progress) if source else None


def _in_cache(looked: list[str], root: Path, progress: Progress) -> Dataset | None:
    """Earlier conversions, whatever they came from: all complete ones are the same. Then an earlier download."""
    for folder in sorted(root.glob("cifar10-*/")):
        dataset = intact(folder)
        if dataset is not None and dataset.fingerprint == formats.FINGERPRINT:
            return replace(dataset, source=f"the cache {folder}, made from the {dataset.source}")
    looked.append(f"the cache {root} (holds none)")
    source = formats.find(root / "downloads")
    return _convert(source, root, progress) if source else None


def _from_network(looked: list[str], root: Path, progress: Progress) -> Dataset | None:
    try:
        folder = network.from_hub(progress)
        return _complete(folder, root, progress)
    except DataError as error:
        looked.append(f"the Hugging Face hub ({error})")
    if network.offline():
        return None
    try:
        archive = network.from_mirrors(network.CIFAR10, root / "downloads", progress)
    except DataError as error:
        looked.append(f"mirrors: {error}")
        return None
    return _complete(archive, root, progress)


def _complete(path: Path, root: Path, progress: Progress) -> Dataset:
    dataset = _convert(_named(path, "the download"), root, progress)
    changed = formats.difference(dataset)
    if changed is not None:
        raise DataError(f"the download {path} is not the complete CIFAR-10: {changed}")
    return dataset


def _silent(what: str, done: int, total: int | None) -> None:
    """Report nothing."""
