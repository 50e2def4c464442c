"""Where trials are kept: a journal in the search's folder, or a database that many machines share."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flyweight.errors import FlyweightError, RunError
from flyweight.files import read_bytes, reason, regular, whose_or_raise, write_text
from flyweight.search.halving import Rung
from flyweight.text import one_line, short

try:
    import optuna
    from optuna.storages.journal import JournalFileBackend
except ModuleNotFoundError as missing:  # pragma: no cover - told by the wheel's test
    raise FlyweightError(
        f"flyweight search needs {missing.name or 'optuna'}: pip install 'flyweight[search]'"
    ) from None

JOURNAL = "trials.journal"
FOLDERS = ("trials", "workers", "winners")
"""That a search writes into, in its own."""
DEFINITION, RECORD = "search", "search.json"
"""What makes it this search, as an attribute of the study and as a file in the folder."""
DRIVERS = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}
UNWRITABLE = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EROFS, errno.EIO}
CHECK = "check"
"""Key of a line's checksum in the journal."""
MOST_RECORD = 16 * 1024**2
"""Bytes of a record."""
WAIT = 10
"""Seconds within which a server must answer."""


class _Lock:
    """One writer at a time. The system lets go of it when a process dies, whose half-written line is taken away."""

    def __init__(self, journal: Path, tell: Callable[[str], None]) -> None:
        from filelock import FileLock

        self._journal, self._lock, self._tell = journal, FileLock(f"{journal}.lock"), tell

    def acquire(self) -> bool:
        """Wait for the others."""
        self._lock.acquire()
        with self._journal.open("a+b") as file:
            end = file.seek(0, 2)
            file.seek(max(0, end - 1))
            if end and file.read() != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
                self._tell(f"{self._journal} ended in the middle of a line, which is left out")
        return True

    def release(self) -> None:
        """Let the next one write."""
        self._lock.release()


class _Journal(JournalFileBackend):
    """A journal whose damaged line is the user's to mend: each carries a checksum of itself."""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write lines behind the others."""
        super().append_logs([{**log, CHECK: _check(log)} for log in logs])

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """The lines from this one on.

        Raises:
            RunError: one of them is damaged.
        """
        try:
            for log in super().read_logs(log_number_from):
                # lines of earlier versions have none
                if isinstance(log, dict) and CHECK in log and log.pop(CHECK) != _check(log):
                    raise ValueError("a line does not match its checksum")
                yield log
        except ValueError as error:  # raised by the library's reading alone: what uses a line is not within it
            raise _damaged(Path(self._file_path), error) from None


def _check(log: dict[str, Any]) -> str:
    """A checksum of a line's content as it is read: keys are texts."""
    content = json.dumps(json.loads(json.dumps(log)), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _damaged(file: Path, error: Exception) -> RunError:
    return RunError(
        f"{file} is damaged: {one_line(error, 100)}; put back a copy of it, or begin another search with --out"
    )


def _file_or_raise(journal: Path) -> None:
    try:
        regular(journal)
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunError(f"cannot read {journal}: {reason(error)}; begin another search with --out") from None


def prefix(rules: str) -> str:
    """Of the names of a search's networks, and of its study: the name of its rules as one of a file."""
    # a name that begins with a dot would be a hidden file
    return re.sub(r"[^\w.-]+", "_", Path(rules).stem).lstrip(".") or "rules"


def open_study(
    url: str | None,
    out: Path,
    name: str,
    definition: dict[str, Any] | None,
    tell: Callable[[str], None] = lambda line: None,
) -> optuna.Study:
    """The study of a search, new or gone on with.

    Args:
        url: of a database; none: a journal in `out`.
        out: the folder of the search.
        name: of the study.
        definition: what makes it this search: JSON. All workers must have the same; none: whichever it is.
        tell: called with a line where something of the journal is lost.

    Raises:
        FlyweightError: the database cannot be reached, or the study is another search's.
        RunError: what the folder keeps of the search is damaged, or lies somewhere else.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    for own in (JOURNAL, f"{JOURNAL}.lock", *FOLDERS):
        whose_or_raise(out / own)
    mine, record = json.loads(json.dumps(definition)), out / RECORD
    # run folders are named by networks: those of another study would be taken for this one's
    place = {"--study": name, "--storage": _mark(url)}
    # of searches that were begun before these could be said
    first = {"--reference": (mine or {}).get("--reference"), "--seeds": 1}
    since = {key: value for key, value in first.items() if mine and key in mine}
    if mine is not None and record.is_file():
        _same({**since, **place, **_recorded(record)}, {**mine, **place}, f"the folder {out}", "folder with --out")
    with reached(url):
        storage: Any
        if url is None:
            journal = out / JOURNAL
            _file_or_raise(journal)
            lock: Any = _Lock(journal, tell)
            backend = _Journal(str(journal), lock_obj=lock)
            try:  # all lines that are there are followed here
                storage = optuna.storages.JournalStorage(backend)
            except (LookupError, TypeError, ValueError, AttributeError, AssertionError, RecursionError) as error:
                raise _damaged(journal, error) from None
        else:
            storage = _database(url)
        study = optuna.create_study(
            storage=storage, study_name=name, directions=["maximize", "minimize"], load_if_exists=True
        )
        before = study.user_attrs.get(DEFINITION)
        if before is None and mine is not None:
            study.set_user_attr(DEFINITION, mine)
    if before is not None and mine is not None:
        if not isinstance(before, dict):
            raise RunError(f"the study {name!r} is damaged: {DEFINITION!r} says not what is searched; name another")
        _same({**since, **before}, mine, f"the study {name!r}", "study with --study")
    if mine is not None and not record.is_file():
        write_text(record, json.dumps({**mine, **place}, indent=2) + "\n")
    return study


def _recorded(record: Path) -> dict[str, Any]:
    """What a folder says of its search.

    Raises:
        RunError: it is damaged, or cannot be read.
    """
    try:
        content = json.loads(read_bytes(record, MOST_RECORD))
    except OSError as error:
        raise RunError(f"cannot read {record}: {reason(error)}; begin another search with --out") from None
    except (ValueError, RecursionError) as error:
        raise _damaged(record, error) from None
    if not isinstance(content, dict):
        raise _damaged(record, ValueError("it holds no object"))
    return content


def _mark(url: str | None) -> str | None:
    """The same for the same database, whoever asks it with whatever password; none: the journal in the folder."""
    if url is None:
        return None
    address = _address(url)
    kind, database = address.get_backend_name(), address.database
    port = address.port or (5432 if kind == "postgresql" else None)
    if kind == "sqlite" and database:
        database = str(Path(database).resolve())
    parts = [kind, address.host, port, database, address.query.get("host")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _same(before: dict[str, Any], mine: dict[str, Any], where: str, another: str) -> None:
    """Refuse a folder or a study of another search.

    Raises:
        FlyweightError: what differs.
    """
    if before != mine:
        differing = ", ".join(key for key in mine if before.get(key) != mine[key]) or "the version"
        raise FlyweightError(
            f"{where} is that of another search ({differing} differ): name another {another}, or repeat the options"
            " that it began with"
        )


def _database(url: str) -> Any:
    import sqlalchemy

    address = _address(url)
    options: dict[str, Any] = {"pool_pre_ping": True}
    if address.get_backend_name() == "postgresql":
        options["connect_args"] = {"connect_timeout": WAIT}
    # before Optuna, which would retry with a long traceback: is there anybody?
    engine = sqlalchemy.create_engine(address, **options)
    engine.connect().close()
    engine.dispose()
    return optuna.storages.RDBStorage(address.render_as_string(hide_password=False), engine_kwargs=options)


def _address(url: str) -> Any:
    import sqlalchemy

    try:
        address = sqlalchemy.make_url(url)
    except sqlalchemy.exc.ArgumentError:
        raise FlyweightError(
            "--storage: that is no address of a database: write postgresql://user:password@host/database"
        ) from None
    return address.set(drivername=DRIVERS.get(address.drivername, address.drivername))


def hidden(url: str) -> str:
    """The address without its password."""
    return short(_address(url).render_as_string(hide_password=True), 200)


@contextmanager
def reached(url: str | None) -> Iterator[None]:
    """Where the storage is asked: what it raises is told in one line.

    Raises:
        FlyweightError: it cannot be reached, or refuses.
    """
    import sqlalchemy

    refusals = (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError)
    try:
        yield
    except refusals as error:
        if url is None:
            raise
        cause = error.__cause__ or error
        told = getattr(cause, "orig", None) or cause
        raise FlyweightError(
            f"--storage {hidden(url)} cannot be used: {one_line(told)}; what was found is kept, and the same command"
            " goes on once the database answers"
        ) from None
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise FlyweightError(f"cannot write in the folder of the search: {error.strerror}; nothing is lost") from None


def named(trial: optuna.trial.FrozenTrial) -> tuple[str, Rung]:
    """Name of a trial's network, and its rung. Both become names of files; whoever writes in a storage may not.

    Raises:
        FlyweightError: they are not what a search writes.
    """
    name, epochs = trial.user_attrs.get("name"), trial.user_attrs.get("epochs")
    seed = trial.user_attrs.get("seed", 0)  # earlier versions had one
    if not isinstance(name, str) or not re.fullmatch(r"[\w-][\w.-]*", name):
        what = f"the name {short(repr(name), 80)}"
    elif type(epochs) is not int or epochs < 1:
        what = f"{short(repr(epochs), 80)} epochs"
    elif type(seed) is not int or seed < 0:
        what = f"the seed {short(repr(seed), 80)}"
    else:
        return name, Rung(epochs, seed)
    raise FlyweightError(
        f"trial {trial.number} of the search has {what}, which no search writes: its journal or database was changed"
        " by something else; begin another search: --out, --study"
    )
