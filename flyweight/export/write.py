"""From a network to a folder of files: the formats one by one, and the folder whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from flyweight import __version__, files
from flyweight.errors import FlyweightError, RunError
from flyweight.export import around
from flyweight.export.formats import Format
from flyweight.export.subject import Artefact, Subject, saved
from flyweight.inference.exported import FLOATS, INT8, MOST_RECORD, PIXELS
from flyweight.runs.names import EXPORT_RECORD

SCRIPT, GRAPHS = "predict.py", (PIXELS, FLOATS, INT8)
"""A program that asks the first of these files, for those who have neither PyTorch nor flyweight: `alone`."""


@dataclass(frozen=True)
class Export:
    """What came of it.

    Attributes:
        folder: where it is.
        artefacts: what was written, in order.
        refused: formats that were not, with the reason.
    """

    folder: Path
    artefacts: tuple[Artefact, ...]
    refused: dict[str, FlyweightError]


def place_or_raise(to: Path, force: bool) -> Path:
    """The folder of an export, absolute, where one may be written.

    Raises:
        FlyweightError: something is there already that is not ours to replace.
    """
    folder = to.resolve()
    if not folder.name or Path.cwd().is_relative_to(folder):
        raise FlyweightError(f"--to {to}: it is or holds the folder that you are in; name a new folder")
    if folder.exists():
        if not folder.is_dir():
            raise FlyweightError(f"--to {to} is a file; name a new folder")
        ours = _ours(folder)
        if any(folder.iterdir()) and not (ours and force):
            cure = "--force replaces it" if ours else "it is no export, so name another"
            raise FlyweightError(f"--to {to} exists and is not empty: {cure}")
    return folder


def _ours(folder: Path) -> bool:
    """Whether a folder holds an export and nothing else."""
    try:
        content = json.loads(files.read_bytes(folder / EXPORT_RECORD, MOST_RECORD))
        known = {EXPORT_RECORD, *(artefact["file"] for artefact in content["files"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
    return all(path.relative_to(folder).as_posix() in known for path in folder.rglob("*") if not path.is_dir())


def write(subject: Subject, folder: Path, formats: Sequence[Format], tell: Callable[[str], None]) -> Export:
    """Write the formats, each checked on all test images; what fails is left out, and the folder holds the others.

    Args:
        subject: what is exported.
        folder: see :func:`place_or_raise`.
        formats: of the table.
        tell: called with a line about each file, and about each format that was refused.

    Raises:
        FlyweightError: no format could be written: there is no folder then; or it cannot be where it is to be.
        RunError: the disk refuses; what was there before is untouched, unless it says that the new one is written.
    """
    artefacts: list[Artefact] = []
    refused: dict[str, FlyweightError] = {}
    try:
        with _made_parent(folder), files.whole_folder(folder) as temporary:
            for format in formats:
                # a place of its own, so that one that fails half-way leaves nothing
                place = temporary / f".{format.name}"
                place.mkdir()
                try:
                    written = format.write(subject, place)
                    _move(place, temporary)
                except RunError:  # the disk refuses, and would leave less than was there
                    raise
                except FlyweightError as error:
                    refused[format.name] = error
                    continue
                finally:
                    shutil.rmtree(place)
                artefacts += written
                for artefact in written:
                    tell(artefact.line())
            if not artefacts:
                raise next(iter(refused.values()))
            if any(artefact.file in GRAPHS for artefact in artefacts):
                artefacts.append(saved(temporary, SCRIPT, Path(__file__).with_name("alone.py").read_bytes()))
                tell(artefacts[-1].line())
            files.write_text(temporary / EXPORT_RECORD, json.dumps(record(subject, artefacts), indent=2) + "\n")
    except OSError as error:
        raise RunError(f"cannot write {folder}: {files.reason(error)}") from None
    return Export(folder, tuple(artefacts), refused)


@contextmanager
def _made_parent(folder: Path) -> Iterator[None]:
    """Make the folders above one; they go again where nothing came into them.

    Raises:
        FlyweightError: they cannot be made.
    """
    with ExitStack() as held:
        try:
            held.enter_context(files.made_folder(folder.parent))
        except OSError as error:
            raise FlyweightError(f"cannot write {folder}: {files.reason(error)}; name another place") from None
        yield


def _move(place: Path, to: Path) -> None:
    """Move all that is in a folder into another one; folders of the same name become one."""
    for path in place.iterdir():
        if path.is_dir() and (to / path.name).is_dir():
            _move(path, to / path.name)
        else:
            path.replace(to / path.name)


def record(subject: Subject, artefacts: Sequence[Artefact]) -> dict[str, object]:
    """What is known of an export, for programs."""
    card, scores = subject.card, subject.scores
    return {
        "flyweight": __version__,
        "network": subject.name,
        "classes": list(card.classes),
        "preprocessing": around.preprocessing(card),
        "temperature": card.temperature,
        "threshold": card.threshold,
        "weights_sha256": card.sha256,
        "data": {"trained_on": card.data, "fingerprint": card.fingerprint},
        "checked_on": {"data": scores.data, "fingerprint": scores.fingerprint, "images": scores.n},
        "accuracy": round(scores.accuracy, 2),
        "files": [artefact.as_json() for artefact in artefacts],
    }
