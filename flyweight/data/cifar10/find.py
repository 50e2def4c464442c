"""Where CIFAR-10 is looked for, and in which order; its entry in the table of readers."""

import os
from dataclasses import replace
from pathlib import Path

from flyweight.data.cache import cached, expanded, intact
from flyweight.data.cifar10 import SPEC, formats
from flyweight.data.cifar10 import download as network
from flyweight.data.dataset import Dataset, Progress
from flyweight.data.online import offline
from flyweight.data.reader import NoDataError, Reader
from flyweight.errors import DataError

DATA_VARIABLE = "FLYWEIGHT_DATA"
MODIFIED = "These are not the 50,000 and 10,000 images of CIFAR-10: {}."


def read(path: Path | None, *, cache: Path, progress: Progress, download: bool = True) -> Dataset:
    """Open CIFAR-10.

    It is taken from the first of: `path`; the environment variable FLYWEIGHT_DATA; `../shared/cifar10` beside the
    source checkout; the cache; the Hugging Face hub; mirrors of the official archive. The images come in an order of
    their own (`dataset.in_canonical_order`), the same from every place.

    Args:
        path: a parquet folder in the layout of the hub, the official python or binary archive, or its folder.
        cache: the folder for arrays and downloads.
        progress: called as progress(what, done, total).
        download: whether the network may be used.

    Raises:
        NoDataError: CIFAR-10 is in none of these places; the message names them all.
        DataError: the data is damaged, `path` or FLYWEIGHT_DATA holds none, or the cache cannot be written.
    """
    for place, given in (("--data", path), (DATA_VARIABLE, os.environ.get(DATA_VARIABLE))):
        if given:
            return _convert(_named(Path(given), place), cache, progress)
    looked = ["--data (not given)", f"{DATA_VARIABLE} (not set)"]
    found = _beside_checkout(looked, cache, progress) or _in_cache(looked, cache, progress)
    if found is None and download:
        found = _from_network(looked, cache, progress)
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
    changed = formats.difference(dataset)
    notes = () if changed is None else (MODIFIED.format(changed),)
    return replace(dataset, source=str(source), notes=notes)  # the arrays may be those of an equal source elsewhere


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
    if offline():
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


READER = Reader(
    name="cifar10",
    label="CIFAR-10",
    help="CIFAR-10: photographs of ten classes, 32x32 pixels; downloaded where it is not on this machine",
    read=read,
    layouts=f"CIFAR-10 as {formats.LAYOUTS}",
    recognises=formats.recognises,
    spec=SPEC,
    hub=network.HUB_REPOSITORY,
)
