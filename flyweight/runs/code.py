"""The code of a user's network in a run folder: kept when the run begins, and run only where its user allowed it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ValidationError

from flyweight.errors import FlyweightError, RunError
from flyweight.files import read_bytes, reason, write_bytes, write_text
from flyweight.networks import allowed, code
from flyweight.networks.build import table
from flyweight.networks.custom import unheard
from flyweight.networks.reference import is_reference, parse
from flyweight.networks.sources import MOST_BYTES
from flyweight.recipes.sections import ModelConfig
from flyweight.text import short

RECORD, COPY = "code.json", "code"
"""What was kept, with the SHA-256 of each file; the folder of the files."""
MOST_RECORD = 1024**2


class _Record(BaseModel):
    entry: str
    files: dict[str, str]


def is_own(model: ModelConfig) -> bool:
    """Whether it names code: a class of a file or a module, and neither rows nor a built-in network."""
    return table(model) is None and is_reference(model.network)


def keep(folder: Path, found: code.Code) -> None:
    """Write a copy of the network's files into a run folder, with their hashes; its user has just run them.

    Raises:
        RunError: the folder cannot be written.
    """
    try:
        for name, content in found.files.items() if found.entry else ():
            (folder / COPY / name).parent.mkdir(parents=True, exist_ok=True)
            write_bytes(folder / COPY / name, content)
    except OSError as error:
        raise RunError(f"cannot write the run folder {folder}: {reason(error)}") from None
    record = {"network": found.reference.text, "entry": found.entry, "files": found.hashes}
    write_text(folder / RECORD, json.dumps(record, indent=2) + "\n")
    allowed.allow(found.digest, found.reference.text)


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
    record = folder / RECORD
    if not record.exists() and not record.is_symlink():
        return None
    reference = parse(network)
    try:
        held = _Record.model_validate_json(read_bytes(record, MOST_RECORD))
        names = [PurePosixPath(name) for name in held.files]
        if any(name.is_absolute() or ".." in name.parts or not name.parts for name in names):
            raise RunError(f"{record} is damaged: it names files outside of {COPY}/")
        if len(names) > code.MOST_FILES or (held.entry and held.entry not in held.files):
            raise RunError(f"{record} is damaged: entry and files do not fit")
        if not held.entry and reference.is_file:
            raise RunError(f"{record} is damaged: it names no file, and the network is one")
        if not held.entry:
            return code.Code(reference, "", {}, held.files, Path())
        files = {name: read_bytes(folder / COPY / name, MOST_BYTES) for name in held.files}
    except ValidationError as error:
        raise RunError(f"{record} is damaged: {short(error.errors()[0]['msg'], 200)}") from None
    except OSError as error:
        raise RunError(f"cannot read {error.filename}: {reason(error)}") from None
    found = code.Code(reference, held.entry, files, code.hashes(files), folder / COPY)
    wrong = next((name for name, digest in found.hashes.items() if digest != held.files[name]), None)
    if wrong is not None:
        raise RunError(f"{folder / COPY / wrong} is damaged: its SHA-256 is not the one in {RECORD}")
    return found
