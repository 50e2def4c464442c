"""The record of a run, ``environment.json``: on what machine and data it was made, and what its other files were.

It carries a checksum of itself. When a training has ended, it holds the SHA-256 of the recipe, the history and the log
as well, of which nothing else would notice a changed digit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from flyweight.data.cache import sealed_json, unsealed_json
from flyweight.files import read_bytes, write_text

MOST_BYTES = 64 * 1024**2
"""Of it, and of each of the others."""
FILES = "files"
"""Its key for the hashes of other files, by their names."""
_NUMBERS = {"seconds", "peak_memory_mib", "cores", "threads", "processes"}
"""Keys with a number; the others hold texts."""
ALWAYS = {
    "started", "command", "flyweight", "python", "torch", "platform", "threads", "processes", "device", "precision",
    "data_source", "data_fingerprint",
}  # fmt: skip
"""Keys with a value in each record that has a checksum, from the beginning of its training on."""
LABELS = {
    "processor": "processor",
    "cores": "processor cores",
    "threads": "threads",
    "processes": "processes",
    "device": "device",
    "precision": "precision of the training",
    "platform": "platform",
    "python": "Python",
    "torch": "torch",
    "accelerate": "accelerate",
    "albumentations": "albumentations",
    "opencv": "OpenCV",
    "numpy": "NumPy",
    "flyweight": "flyweight",
    "started": "started (UTC)",
    "finished": "finished (UTC)",
    "command": "command",
}
"""What a person calls its keys, in the order in which they are told."""
_OF_THE_RUN = {"started", "finished", "command"}
"""Keys that are those of the whole run, however often it went on."""
_ENDED = {"finished", "seconds"}
"""Keys with a value once it has ended."""


def read(file: Path) -> dict[str, Any]:
    """What it says; nothing where it is missing or damaged, for it is a record and no more."""
    try:
        text = read_bytes(file, MOST_BYTES).decode("utf-8")
        content = json.loads(text)
        if not isinstance(content, dict):
            return {}
        # those of earlier versions have no checksum
        sealed = "check" in content
        content = unsealed_json(text) if sealed else content
    except (OSError, ValueError, RecursionError):
        return {}
    record = {key: value for key, value in content.items() if _is_record(key, value)}
    there = {key for key, value in record.items() if value is not None}
    lacking = (ALWAYS | (_ENDED if FILES in record else set())) - there
    return {} if sealed and lacking else record


def write(file: Path, record: Mapping[str, Any]) -> None:
    """Write it with its checksum.

    Raises:
        RunError: it cannot be written.
    """
    write_text(file, sealed_json(dict(record)) + "\n")


def hashes(files: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of each file that can be read, by its name."""
    found = {}
    for file in files:
        with suppress(OSError):
            found[file.name] = hashlib.sha256(read_bytes(file, MOST_BYTES)).hexdigest()
    return found


def of_all(record: Mapping[str, Any], key: str) -> Any:
    """The value of a key; of a run that went on elsewhere all values, such as ``NVIDIA H200, then cpu``; None: none."""
    values = _different(record, key)
    return values[0] if len(values) == 1 else ", then ".join(map(str, values)) or None


def _different(record: Mapping[str, Any], key: str) -> list[Any]:
    machines = [record] if key in _OF_THE_RUN else [record, *record.get("resumed", [])]
    different: dict[str, Any] = {}
    for one in machines:
        if isinstance(one, dict) and one.get(key) is not None:
            different.setdefault(str(one[key]), one[key])
    return list(different.values())


def moved(record: Mapping[str, Any]) -> bool:
    """Whether a run went on where it is computed otherwise, so that no machine alone gives its weights to the bit."""
    keys = ("processor", "threads", "processes", "device", "precision", "torch")
    return any(len(_different(record, key)) > 1 for key in keys)


def rows(record: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What a person is told of it: labels and values."""
    told = [(label, of_all(record, key)) for key, label in LABELS.items()]
    return [(label, value) for label, value in told if value is not None]


def changed(file: Path, files: Iterable[Path]) -> list[str]:
    """Which of a run's files are not what they were when its training ended, a line each.

    Args:
        file: ``environment.json``.
        files: the others.
    """
    record = read(file)
    if not record and (file.exists() or file.is_symlink()):
        return [f"{file} is damaged"]
    were = record.get(FILES, {})
    now = hashes(path for path in files if path.name in were)
    named = {path.name: path for path in files}
    return [
        f"{named[name]} {'has changed' if name in now else 'is gone'} since the training ended"
        for name, digest in were.items()
        if name in named and now.get(name) != digest
    ]


def _is_record(key: str, value: Any) -> bool:
    """Whether a value is of the kind that its key has."""
    if key == "resumed":
        return isinstance(value, list)
    if key == FILES:
        return isinstance(value, dict) and all(isinstance(digest, str) for digest in value.values())
    if key in _NUMBERS:
        return value is None or type(value) in (int, float)
    return value is None or isinstance(value, str)
