"""Every file that flyweight writes, damaged in every way, read by every command that reads such a file.

What a command then says is what it says of the whole file, to the byte, or a line tells the damage. Nobody's file is
changed for it, and there is no traceback.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from damages import WAYS
from given import SEARCH, Given
from ledger import WHERE

from flyweight.cli.app import run_command
from flyweight.errors import EXIT_CODES

ALL = bool(os.environ.get(WHERE))
CHUNK = 10
"""Damaged files of one test."""
UNMISTAKABLE = "{}-of-somebody"
"""The name of a damaged folder: that of a run, say, is a word that any message may hold."""
LONGEST = 500
"""Characters of a line."""


@dataclass(frozen=True)
class Call:
    """A command that reads a place.

    Attributes:
        words: of it.
        writes: patterns of the files that it may write; what it says of the run is compared in those of `compared`.
        compared: patterns of the files in which its result lies; the rest tells times.
    """

    words: tuple[str, ...]
    writes: tuple[str, ...] = ()
    compared: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.words[0]


def _reported(run: str) -> tuple[str, ...]:
    files = ("REPORT.md", "report.html", "images/*", "evaluation.json", "mistakes.csv")
    return tuple(f"{run}/{file}" for file in files)


NEW = ("new", "new/*")
ASK = Call(("predict", "{0}/{1}", "photos/test", "--json"))
PREDICT = Call(("predict", "{0}", "photos/test", "--json"))
EVALUATE = Call(("evaluate", "{0}", "--json"), ("{0}/evaluation.json", "{0}/mistakes.csv"), ("{0}/mistakes.csv",))
TESTED = Call(("evaluate", "{0}", "--data", "photos", "--json"))
REPORT = Call(("report", "{0}"), _reported("{0}"), _reported("{0}"))
EXPORT = Call(("export", "{0}", "--to", "new", "--format", "onnx-uint8", "demo"), NEW, ("new/*.onnx", "new/*.html"))
RESUME = Call(
    ("train", "--resume", "{0}", "--no-report"), ("{0}/*",), ("{0}/model.safetensors", "{0}/config.json"),
)  # fmt: skip
STARTED = Call(
    ("train", "small.yaml", "--set", "train.start={0}", "--set", "train.epochs=1", "--out", "new", "--no-report"),
    NEW, ("new/model.safetensors",),
)  # fmt: skip
DATA = Call(("data", "photos"), ("{0}/*",))
CACHED = Call(("evaluate", "run", "--against", "digits", "--json"), ("run/*", "{0}/*"), ("run/mistakes.csv",))
SEARCHED = Call((*SEARCH[:-1], "{0}"), ("{0}/*",), ("{0}/winners/*",))


@dataclass(frozen=True)
class Place:
    """A folder whose files are damaged.

    Attributes:
        make: where a whole one lies; none: the calls make it.
        count: files that are damaged in it, of all 400.
        calls: that read it, by a pattern of the file.
        needed: what else lies in the working folder.
    """

    make: Callable[[Given], Path] | None
    count: int
    calls: dict[str, tuple[Call, ...]]
    needed: tuple[str, ...]


_SMALL = ("photos", "small.yaml", "cache")
_WEIGHTS = (PREDICT, EVALUATE, REPORT, EXPORT, STARTED)
PLACES = {
    "run": Place(
        lambda given: given.run,
        120,
        {
            "history.jsonl": (REPORT,), "environment.json": (REPORT,), "train.log": (REPORT,),
            "config.yaml": (REPORT, EVALUATE), "config.json": _WEIGHTS, "model.safetensors": _WEIGHTS,
        },
        _SMALL,
    ),
    "broken-off": Place(
        lambda given: given.broken_off,
        90,
        dict.fromkeys(("checkpoints/*", "config.yaml", "history.*", "environment.json"), (RESUME,)),
        _SMALL,
    ),
    "zoo": Place(lambda given: given.zoo, 30, {"config.json": (PREDICT,), "model.safetensors": (PREDICT,)}, _SMALL),
    "export": Place(
        lambda given: given.export,
        80,
        {
            "model*.onnx": (ASK, PREDICT), "export.json": (PREDICT,), "config.json": (TESTED,),
            "model.safetensors": (TESTED,),
        },
        _SMALL,
    ),
    "cache": Place(None, 50, {f"*.{kind}": (DATA, CACHED) for kind in ("npy", "json", "parquet")}, ("photos", "run")),
    "search": Place(
        lambda given: given.search,
        30,
        {"search.json": (SEARCHED,), "trials.journal": (SEARCHED,)},
        (*_SMALL, "rules.yaml", "space.yaml"),
    ),
}  # fmt: skip
"""400 files in all."""
FULL = [(name, chunk) for name, place in PLACES.items() for chunk in range(place.count // CHUNK)]
SAMPLE = [("run", 0), ("broken-off", 0)]
PARTS = {
    "run": "of a run", "broken-off": "of a run that is gone on with", "zoo": "of a network that ships",
    "export": "of an export", "cache": "of the cache", "search": "of a search",
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How a call ended.

    Attributes:
        code: its exit code.
        said: what it says of the network or the data, without times.
        err: standard error.
        files: contents of those that hold its result.
        after: all other files of the working directory, by their paths.
    """

    code: int
    said: str
    err: str
    files: dict[str, bytes]
    after: dict[str, bytes]


class Reading:
    """Calls in a working directory that holds copies of a place and of what its calls need besides.

    Args:
        given: where the whole ones are.
        name: of the place.
        folder: the working directory, a new one.
    """

    def __init__(self, given: Given, name: str, folder: Path, capsys, monkeypatch) -> None:
        self.name, self.place = UNMISTAKABLE.format(name), PLACES[name]
        self.folder, self._capsys = folder, capsys
        self._known: dict[tuple[str, ...], Outcome] = {}
        folder.mkdir()
        monkeypatch.chdir(folder)
        monkeypatch.setenv("FLYWEIGHT_CACHE", str(folder / ("cache" if self.place.make else self.name)))
        _ = given.run
        self._whole = folder.with_name("whole") if self.place.make is None else self.place.make(given)
        for other in self.place.needed:
            source = given.folder / other
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            copy(source, folder / other)
        if self.place.make is None:
            # which images it is of is known by where they lie
            for call in {call.words: call for calls in self.place.calls.values() for call in calls}.values():
                assert run_command([word.format(self.name) for word in call.words]) == 0
            (folder / self.name).rename(self._whole)
        self.files = sorted(
            path.relative_to(self._whole).as_posix()
            for path in self._whole.rglob("*")
            if path.is_file() and self.calls(path.relative_to(self._whole).as_posix())
        )

    def calls(self, file: str) -> tuple[Call, ...]:
        """That read a file; of the sample the first one, where that is not to draw a report."""
        found = next((calls for part, calls in self.place.calls.items() if fnmatch.fnmatch(file, part)), ())
        return found if ALL else tuple(call for call in found[:1] if call is not REPORT)

    def content(self, file: str) -> bytes:
        """Of a whole one."""
        return (self._whole / file).read_bytes()

    def ended(self, call: Call, file: str, content: bytes) -> Outcome:
        """How a call ends that reads a fresh copy of the place in which a file has this content."""
        copy, new = self.folder / self.name, self.folder / "new"
        for folder in (copy, new):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self._whole, copy)
        (copy / file).write_bytes(content)
        self._capsys.readouterr()
        code = run_command([word.format(self.name, file) for word in call.words])
        out, err = self._capsys.readouterr()
        there = {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file()
        }
        results = {path: there[path] for path in there if _any(path, call.compared, self.name)}
        kept = {path: there[path] for path in there if not _any(path, (*call.writes, "*.lock", "cache/*"), self.name)}
        said = re.sub(r"[\d.,]+ s\b", "", "" if call.words[0] in ("train", "search") else out)
        return Outcome(code, said, err, results, kept)

    def broken(self, call: Call, file: str, content: bytes) -> str | None:
        """What a call does against the promise where a file has this content; None: nothing."""
        words = tuple(word.format(self.name, file) for word in call.words)
        if words not in self._known:
            self._known[words] = self.ended(call, file, self.content(file))
            assert self._known[words].code == 0, self._known[words]
        whole, found = self._known[words], self.ended(call, file, content)
        damaged = f"{self.name}/{file}"
        expected = whole.after | ({damaged: content} if damaged in whole.after else {})
        lines = found.err.splitlines()
        if found.code not in EXIT_CODES or found.code == 70 or "Traceback" in found.err:
            return f"exit code {found.code}: {found.err[-300:]}"
        changed = [path for path in {*expected, *found.after} if expected.get(path) != found.after.get(path)]
        if changed:
            return f"changes {', '.join(sorted(changed))}"
        if [line for line in lines if len(line) > LONGEST]:
            return f"a line of {max(map(len, lines))} characters"
        told = [line for line in lines if says_where(line, file, self.name)]
        same = (found.code, found.said, found.files) == (whole.code, whole.said, whole.files)
        if found.code == 0:
            return None if same or told else "silent"
        if found.code not in (2, 3, 4) or not lines or not lines[-1].startswith("flyweight: "):
            return f"exit code {found.code}: {found.err[-300:]}"
        # of a file that was changed and names what is not there, the line before may say so
        return None if told else f"does not say where: {lines[-1]}"


def says_where(line: str, file: str, folder: str) -> bool:
    """Whether a line names the file, or the folder that it lies in: what only a message about these can hold."""
    return Path(file).name in line or folder in line


def _any(path: str, patterns: tuple[str, ...], name: str) -> bool:
    return any(fnmatch.fnmatch(path, pattern.format(name)) for pattern in patterns)


def _damaged(reading: Reading, generator: np.random.Generator) -> tuple[str, str, bytes]:
    """(file, way, content): another than the whole one."""
    while True:
        file = reading.files[int(generator.integers(len(reading.files)))]
        content, chosen = reading.content(file), int(generator.integers(len(WAYS) + 1))
        if chosen == len(WAYS):
            other = reading.files[int(generator.integers(len(reading.files)))]
            way, damaged = f"swapped with {other}", reading.content(other)
        else:
            way, damaged = WAYS[chosen].__name__, WAYS[chosen](content, generator)
        if damaged is not None and damaged != content:
            return file, way, damaged


@pytest.mark.parametrize(("name", "chunk"), FULL if ALL else SAMPLE)
def test_a_damaged_file_is_told_or_means_nothing(name, chunk, given, ledger, tmp_path, capsys, monkeypatch):
    reading = Reading(given, name, tmp_path / "work", capsys, monkeypatch)
    count, broken, reads = ledger.count(CHUNK, 5), [], 0
    for number in range(count):
        file, way, content = _damaged(reading, np.random.default_rng([list(PLACES).index(name), chunk, number]))
        for call in reading.calls(file):
            reads += 1
            wrong = reading.broken(call, file, content)
            if wrong is not None:
                broken.append(f"{name}/{file} {way}, {call}: {wrong}")
    ledger.record("damaged-files", PARTS[name], count, broken, reads=reads)


def test_a_word_that_any_message_holds_names_no_file():
    for line, where in [
        ("flyweight: the run is damaged; start a new run", False),
        ("flyweight: the cache cannot be opened: export it again", False),
        ("flyweight: runs/config.json is damaged", True),
        ("flyweight: run-of-somebody holds no weights", True),
    ]:
        assert says_where(line, "config.json", UNMISTAKABLE.format("run")) == where
