"""From a listing to a data set: its images decoded once, by all processors, into a memory-mapped array in the cache.

What a listing's stamp led to last time is remembered, so that a later start reads no image at all. A new stamp (a
copied folder, a changed file) costs one pass that hashes the files; only contents that were never seen are decoded.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from flyweight import files
from flyweight.data import catalogue, workers
from flyweight.data.cache import HEADER_ERRORS, MOST_MANIFEST, locked, read_manifest, sealed_json, writing
from flyweight.data.catalogue import Catalogue
from flyweight.data.dataset import Progress
from flyweight.data.decoding import Decoded, Looked, decode_rows, look
from flyweight.data.listing import Content, Listing
from flyweight.data.target import Target, choose
from flyweight.errors import DataError, out_of_memory
from flyweight.images.spec import Resize, Spec
from flyweight.recipes.sections import DataConfig
from flyweight.text import one_line, printable, some

FORMAT = 2
"""Raise it when the same files would give other arrays, or what is kept of them changes."""
ARRAY, CATALOGUE, MANIFEST = "images.npy", "catalogue.parquet", "manifest.json"
ALONE = 500
"""Images up to which starting worker processes costs more than it gains."""
CHUNK, CHUNK_BYTES = 64, 16 * 2**20
"""A job's images: so many, and of their bytes as they are, and as they will be, no more than about so many."""
ALWAYS_HASHED = 256 * 2**20
"""Bytes of an array that is hashed at each start (0.2 s); a larger one only where its file's time has changed."""


@dataclass(frozen=True, eq=False)
class Converted:
    """A converted listing.

    Attributes:
        images: (N, H, W, C) uint8, memory-mapped; a row that could not be read is black.
        catalogue: a row for each of them.
        resize: what became of other proportions.
        notes: how the images' size was chosen.
    """

    images: np.ndarray
    catalogue: Catalogue
    resize: Resize
    notes: tuple[str, ...]


def open_listing(
    listing: Listing, config: DataConfig, cache: Path, progress: Progress, like: Spec | None, verify: bool
) -> Converted:
    """Open the images of a listing, converting them first where that has not been done.

    Args:
        listing: of the images.
        config: size and proportions.
        cache: the folder for arrays.
        progress: called as progress(what, done, total).
        like: of a network that they are for; none: of one that is yet to be trained.
        verify: hash all files and arrays again, whatever their times say.

    Raises:
        DataError: no image can be read, or the cache cannot be written.
    """
    wanted = (like.shape, like.preprocessing.resize) if like else (config.size, config.resize)
    pointer = _pointer(cache, listing, wanted)
    if not verify and (found := _remembered(pointer, cache)) is not None:
        return found
    with locked(pointer.with_suffix(".lock"), progress):
        if not verify and (found := _remembered(pointer, cache)) is not None:
            return found
        try:
            key, target, lasting = _convert(listing, config, cache, progress, like, verify)
        except MemoryError:
            raise DataError(
                f"{listing.kind} {printable(str(listing.path))}: there is too little memory to decode an image: start"
                " again, with fewer programs beside it"
            ) from None
        with writing(cache):
            # a network that is trained on it will ask for what was chosen now
            for place in {pointer, _pointer(cache, listing, (target.shape, target.resize))} if lasting else ():
                place.write_text(json.dumps({"folder": key}), encoding="utf-8")  # half of it would count as none
    return read(cache / key)


def _pointer(cache: Path, listing: Listing, wanted: tuple[object, object]) -> Path:
    """The file that says which arrays a listing with this stamp became."""
    request = hashlib.sha256(f"{FORMAT}|{listing.stamp}|{wanted[0]} {wanted[1]}".encode()).hexdigest()
    return cache / "sets" / f"{request[:16]}.json"


def _remembered(pointer: Path, cache: Path) -> Converted | None:
    try:
        return read(cache / json.loads(files.read_bytes(pointer, MOST_MANIFEST))["folder"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, DataError) as error:
        if out_of_memory(error):
            raise  # it says nothing of the arrays
        return None


def _convert(
    listing: Listing, config: DataConfig, cache: Path, progress: Progress, like: Spec | None, verify: bool
) -> tuple[str, Target, bool]:
    """Convert the listing unless its contents have been converted before.

    Returns:
        The name of the folder, what the images became, and whether another try would give the same: not where the file
        system refused one of them.
    """
    count = len(listing.entries)
    with workers.pool(workers.available() if count > ALONE else 1) as mapped:
        jobs = ((chunk,) for chunk in _chunks(listing.contents()))
        looked: list[Looked] = []
        for part in mapped(look, jobs):
            looked += part
            progress("reading headers", len(looked), count)
        sound = [record for record in looked if record.error is None]
        if not sound:
            reasons = sorted(
                {f"{entry.name}: {record.error}" for entry, record in zip(listing.entries, looked, strict=True)}
            )
            raise DataError(
                f"{listing.kind} {printable(str(listing.path))}: none of its {count:,} images can be read"
                f" ({some(reasons, 2)})"
            )
        target = choose(sound, config, like)
        lasting = not any(record.passing for record in looked)
        key = f"{listing.kind.replace(' ', '-')}-{_content_key(listing, looked, target)}"
        folder = cache / key
        with locked(cache / f"{key}.lock", progress):
            if _intact(folder, verify):
                return key, target, lasting
            with writing(cache), files.whole_folder(folder, DataError) as temporary:
                decoded = list(_decode(listing, looked, target, temporary / ARRAY, mapped, progress))
                made = catalogue.make(listing.entries, looked, decoded, target.shape[0])
                _finish(temporary, made, target)
    return key, target, lasting


def _content_key(listing: Listing, looked: Sequence[Looked], target: Target) -> str:
    digest = hashlib.sha256(f"{FORMAT}|{target.shape}|{target.resize}".encode())
    for entry, record in zip(listing.entries, looked, strict=True):
        digest.update("\0".join(entry).encode("utf-8", "surrogateescape") + b"|" + record.content)
    return digest.hexdigest()[:16]


def _decode(
    listing: Listing, looked: Sequence[Looked], target: Target, file: Path, mapped: workers.Mapped, progress: Progress
) -> Iterator[Decoded]:
    """Decode all that can be looked at into the file; their records, in their order."""
    channels, height, width = target.shape
    offset = _allocate(file, (len(looked), height, width, channels))
    sound = (
        (row, content)
        for row, (record, content) in enumerate(zip(looked, listing.contents(), strict=True))
        if record.error is None
    )

    def jobs() -> Iterator[tuple[Any, ...]]:
        for chunk in _chunks(sound, max(1, min(CHUNK, CHUNK_BYTES // (channels * height * width)))):
            rows, contents = [row for row, _ in chunk], [content for _, content in chunk]
            yield contents, rows, file, offset, target.shape, target.resize

    done = 0
    with closing(sound):
        for part in mapped(decode_rows, jobs()):
            yield from part
            done += len(part)
            progress("decoding images", done, len(looked))


def _allocate(file: Path, shape: tuple[int, int, int, int]) -> int:
    """Write the head of an array's file of this shape, its images still black; returns where the first one begins."""
    needed, free = int(np.prod(shape)), shutil.disk_usage(file.parent).free
    if needed > free:
        raise DataError(
            f"the images become {needed / 1e9:,.2f} GB in the cache {file.parent.parent}, where {free / 1e9:,.2f} GB"
            " are free: make room, choose a smaller data.size, or set FLYWEIGHT_CACHE to another folder"
        )
    with file.open("wb") as array:
        head = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(array, head)
        offset = array.tell()
        array.truncate(offset + needed)
    return offset


def _chunks(items: Iterator[Any], most: int = CHUNK) -> Iterator[list[Any]]:
    """Lists of a few items: at most so many, and of contents that are in memory at most so many bytes."""
    chunk: list[Any] = []
    size = 0
    for item in items:
        content: Content = item[1] if isinstance(item, tuple) else item
        chunk.append(item)
        size += 0 if isinstance(content, Path) else len(content) if isinstance(content, bytes) else content.nbytes
        if len(chunk) == most or size > CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _finish(folder: Path, made: Catalogue, target: Target) -> None:
    """Write what goes beside the array, and wait until all of it is on the disk."""
    catalogue.write(made, folder / CATALOGUE)
    manifest: dict[str, Any] = {"format": FORMAT, "resize": target.resize, "notes": target.notes, "files": {}}
    for name in (ARRAY, CATALOGUE):
        with (folder / name).open("rb+") as file:
            files.flush(file)
        manifest["files"][name] = {**_status(folder / name), "sha256": files.file_hash(folder / name)}
    with (folder / MANIFEST).open("w", encoding="utf-8") as file:
        file.write(sealed_json(manifest))
        files.flush(file)


def _status(path: Path) -> dict[str, int]:
    status = path.stat()
    return {"size": status.st_size, "time": status.st_mtime_ns}


def _intact(folder: Path, verify: bool) -> bool:
    try:
        read(folder, verify)
    except DataError:
        return False
    return True


def read(folder: Path, verify: bool = False) -> Converted:
    """Open a converted listing.

    Args:
        folder: in the cache.
        verify: hash its files, whatever their times say.

    Raises:
        DataError: it is missing, was made by another version, or its files are not what they were.
    """
    try:
        manifest = read_manifest(folder / MANIFEST)
        if manifest["format"] != FORMAT:
            raise DataError(f"the arrays in {folder} were made by another version: delete that folder")
        for name, was in manifest["files"].items():
            now = _status(folder / name)
            trusted = now["size"] > ALWAYS_HASHED and not verify and now["time"] == was["time"]
            if now["size"] != was["size"] or not (trusted or files.file_hash(folder / name) == was["sha256"]):
                raise DataError(f"{folder / name} does not match its checksum: delete that folder")
        if manifest["resize"] not in get_args(Resize) or not all(isinstance(note, str) for note in manifest["notes"]):
            raise DataError(f"{folder / MANIFEST} is damaged: delete that folder")
        images = np.load(folder / ARRAY, mmap_mode="r")
        return Converted(images, catalogue.read(folder / CATALOGUE), manifest["resize"], tuple(manifest["notes"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, *HEADER_ERRORS) as error:
        raise DataError(f"the arrays in {folder} cannot be opened ({one_line(error)}): delete that folder") from error
