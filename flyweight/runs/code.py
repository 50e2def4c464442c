"""The code of a user's network in a run folder: kept when the run begins, and run only where its user allowed it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ValidationError

from flyweight.errors import FlyweightError, RunError
from flyweight.files import read_bytes, reason, settle, whole_folder, write_text
from flyweight.neighbours import exchanged, sweep_neighbours
from flyweight.networks import allowed, code
from flyweight.networks.build import table
from flyweight.networks.custom import unheard
from flyweight.networks.reference import is_reference, parse
from flyweight.networks.sources import MOST_BYTES
from flyweight.recipes.sections import ModelConfig
from flyweight.text import short

RECORD, COPY, NEXT = "code.json", "code", ".code.next"
"""What was kept, with the SHA-256 of each file; the folder of the files; those of a record that has just been written,
until they have taken its place."""
MOST_RECORD = 1024**2
ANEW = "; take it from a backup, or train --resume --allow-code keeps the network's file as it is now"
"""What helps where the copy is damaged."""


class _Record(BaseModel):
    entry: str
    files: dict[str, str]


def is_own(model: ModelConfig) -> bool:
    """Whether it names code: a class of a file or a module, and neither rows nor a built-in network."""
    return table(model) is None and is_reference(model.network)


def keep(folder: Path, found: code.Code) -> None:
    """Write a copy of the network's files into a run folder, with their hashes; its user has just run them.

    The record makes it the copy at one stroke: killed before that, the old one is kept, and after it the new one.

    Raises:
        RunError: the folder cannot be written; what was kept before is.
    """
    allowed.allow(found.digest, found.reference.text)
    record = _Record(entry=found.entry, files=found.hashes)
    try:
        if found.entry:
            with whole_folder(folder / NEXT) as new:
                for name, content in found.files.items():
                    (new / name).parent.mkdir(parents=True, exist_ok=True)
                    (new / name).write_bytes(content)
        told = {"network": found.reference.text, **record.model_dump()}
        write_text(folder / RECORD, json.dumps(told, indent=2) + "\n")
        _place(folder, record)
    except OSError as error:
        raise RunError(f"cannot write the run folder {folder}: {reason(error)}") from None


def sweep(folder: Path) -> None:
    """Clear away what a process that was killed in :func:`keep` has left; hold the run's lock.

    Raises:
        OSError: the folder cannot be written.
    """
    sweep_neighbours(folder / NEXT)
    if (folder / NEXT).exists():
        with suppress(RunError):  # a damaged record is told where it is read
            _place(folder, _record(folder))


def _place(folder: Path, record: _Record | None) -> None:
    """Give the files that a record is of their place, and remove those of another record."""
    new, copy = folder / NEXT, folder / COPY
    if record is None or not record.entry or not new.exists():
        return
    if not _is_of(record, copy) and _is_of(record, new):
        if not exchanged(new, copy):
            shutil.rmtree(copy, ignore_errors=True)
            new.rename(copy)
        settle(copy)
    if _is_of(record, copy):
        shutil.rmtree(new, ignore_errors=True)


def allow(folder: Path, model: ModelConfig) -> None:
    """Allow the code of a run's network from now on: its user asks for it.

    Raises:
        RunError: a file of the folder is missing or damaged.
        FlyweightError: there is no such file.
    """
    if is_own(model):
        found = _kept(folder, model.network) or code.gathered(model.network)
        allowed.allow(found.digest, found.reference.text)


def runnable(folder: Path, model: ModelConfig, tell: Callable[[str], None] = unheard) -> ModelConfig:
    """What is built of a run's network: the copy that the run keeps of its code; of others what they are.

    Args:
        folder: of the run.
        model: the network as its card or recipe describes it.
        tell: called with a line where the file that the copy was made of has changed since.

    Raises:
        RunError: its user has not allowed that code, or the copy is damaged.
        FlyweightError: there is no copy and no such file.
    """
    if not is_own(model):
        return model
    found = _kept(folder, model.network) or code.gathered(model.network)
    if not allowed.is_allowed(found.digest):
        raise RunError(
            f"{folder} runs code that you have not allowed yet: {short(model.network, 200)} ({short(found.place, 200)},"
            f" SHA-256 {found.digest[:12]}); read it, and allow it with --allow-code"
        )
    if not found.entry and code.is_here(found.reference.source):
        raise RunError(f"{folder} runs {found.reference.source}, which is another module in this folder: leave it")
    known, now = found.root, _original(model.network)
    if now is not None and now.hashes == found.hashes:
        known = now.root
    elif now is not None and now.hashes and bool(now.entry) == bool(found.entry):
        what = f"its copy of then is run, {known}" if found.entry else "it is run as it is now"
        tell(f"{now.place} has changed since {folder} was begun: {what}")
    return model.model_copy(update={"network": found.placed(known)})


def renew(folder: Path, model: ModelConfig) -> None:
    """Take the network's code as it is now in place of a run's copy, where it is here: its user asks for it.

    Raises:
        RunError: the folder cannot be written.
    """
    now = _original(model.network) if is_own(model) else None
    if now is not None:
        keep(folder, now)
    else:
        allow(folder, model)


def _original(network: str) -> code.Code | None:
    """The code where the run was begun; None where it is no more."""
    try:
        return code.gathered(network)
    except FlyweightError:
        return None


def _kept(folder: Path, network: str) -> code.Code | None:
    """The copy in a run folder; None where it has none.

    Raises:
        RunError: it is damaged.
    """
    held, reference = _record(folder), parse(network)
    if held is None:
        return None
    if not held.entry and reference.is_file:
        raise RunError(f"{folder / RECORD} is damaged: it names no file, and the network is one")
    if not held.entry:
        return code.Code(reference, "", {}, held.files, Path())
    wrong: RunError | None = None
    for place in (folder / COPY, folder / NEXT):
        try:
            return code.Code(reference, held.entry, _files(held, place), held.files, place)
        except RunError as error:
            wrong = wrong or error
    assert wrong is not None
    raise wrong


def _record(folder: Path) -> _Record | None:
    """What was kept in a run folder; None where it says nothing.

    Raises:
        RunError: it is damaged.
    """
    record = folder / RECORD
    if not record.exists() and not record.is_symlink():
        return None
    try:
        held = _Record.model_validate_json(read_bytes(record, MOST_RECORD))
    except ValidationError as error:
        raise RunError(f"{record} is damaged: {short(error.errors()[0]['msg'], 200)}{ANEW}") from None
    except OSError as error:
        raise RunError(f"cannot read {record}: {reason(error)}{ANEW}") from None
    names = [PurePosixPath(name) for name in held.files]
    if any(name.is_absolute() or ".." in name.parts or not name.parts for name in names):
        raise RunError(f"{record} is damaged: it names files outside of {COPY}/")
    if len(names) > code.MOST_FILES or (held.entry and held.entry not in held.files):
        raise RunError(f"{record} is damaged: entry and files do not fit{ANEW}")
    return held


def _files(record: _Record, place: Path) -> dict[str, bytes]:
    """The files of a record, read from a folder.

    Raises:
        RunError: one of them is missing there or another one.
    """
    try:
        files = {name: read_bytes(place / name, MOST_BYTES) for name in record.files}
    except OSError as error:
        raise RunError(f"cannot read {error.filename}: {reason(error)}{ANEW}") from None
    found = code.hashes(files)
    wrong = next((name for name, digest in record.files.items() if digest != found[name]), None)
    if wrong is not None:
        raise RunError(f"{place / wrong} is damaged: its SHA-256 is not the one in {RECORD}{ANEW}")
    return files


def _is_of(record: _Record, place: Path) -> bool:
    try:
        return bool(_files(record, place))
    except RunError:
        return False
