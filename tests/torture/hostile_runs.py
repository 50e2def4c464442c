"""Hostile run folders, weights and searches."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from socket import gethostname
from typing import Any

import torch
from canaries import Case, Place, pickles
from given import SEARCH

from flyweight import files
from flyweight.runs import card, names

RESUME = ("train", "--resume", "broken-off", "--no-report")
PREDICT = ("predict", "run", "photos/test")
CALLS = {
    "predict": PREDICT,
    "evaluate": ("evaluate", "run"),
    "report": ("report", "run"),
    "export": ("export", "run", "--to", "new"),
    "demo": ("demo", "run", "--port", "0"),
    # it is its weights alone that are begun with
    "a start": ("train", "small.yaml", "--set", "train.start=run", "--out", "new", "--no-report"),
    "a teacher": ("train", "small.yaml", "--set", "train.teacher=run", "--out", "new", "--no-report"),
}


def cases() -> Iterator[Case]:
    """All of them."""
    for name in PICKLED:
        yield Case("checkpoints", f"a pickle with {name}", _pickled(name))
    for name, form in {"of an old form": _old, "that is a program of torch's": _script, "with odd names": _odd}.items():
        yield Case("checkpoints", f"a checkpoint {name}", _checkpoint(form))
    for name, call in CALLS.items():
        codes = (0, 4) if name == "a start" else (4,)
        yield Case("run folders", f"code in a card, {name}", _code(call), codes, ("new", "new/*"))
    for reference in REFERENCES:
        yield Case("run folders", f"a card that names {reference}", _named(reference))
    yield Case("run folders", "code in the recipe of a broken-off run", _code_in_recipe)
    yield Case("run folders", "a record of code that leads out", _record)
    yield Case("run folders", "a folder of code that is a link", _linked_code)
    for name, change in HEADERS.items():
        yield Case("weights", name, _safetensors(change))
    for link, (call, writes, codes) in LINKS.items():
        yield Case("links", link, _linked(link, call), codes, writes)
    for name, make in SEARCHES.items():
        yield Case("searches", name, make, (0, 2, 4), ("search", "search/*", "cache/*"))


# of torch.load's, and the names of all pickles
PICKLED = (
    "os.system", "exec", "subprocess.Popen", "runpy", "a helper of numpy's", "a pickle in a pickle", "pickle.loads",
    "Path.write_text", "the environment", "the opcode INST", "the opcode OBJ", "getattr",
)  # fmt: skip


def _sealed(place: Place, content: bytes) -> Sequence[str]:
    folder = place.copy("broken-off")
    (folder / "checkpoints" / "epoch-0001-step-000000.pt").write_bytes(files.sealed(content))
    return RESUME


def packed(pickled: bytes, name: str = "archive/data.pkl") -> bytes:
    """A file of torch's with this pickle in it."""
    whole, made = io.BytesIO(), io.BytesIO()
    torch.save({"epoch": 1}, whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(made, "w") as target:
        for member in source.namelist():
            content = source.read(member)
            if member.endswith("data.pkl"):
                target.writestr(name, pickled)
            else:
                target.writestr(member, content)
    return made.getvalue()


def _pickled(name: str) -> Callable[[Place], Sequence[str]]:
    return lambda place: _sealed(place, packed(pickles(place.canary)[name]))


def _checkpoint(form: Callable[[Place], bytes]) -> Callable[[Place], Sequence[str]]:
    return lambda place: _sealed(place, form(place))


def _old(place: Place) -> bytes:
    magic, protocol = (pickle.dumps(number, 2) for number in (0x1950A86A20F9469CFC6C, 1001))
    return magic + protocol + pickle.dumps({}, 2) + pickles(place.canary)["os.system"]


def _script(place: Place) -> bytes:
    content = io.BytesIO(packed(pickle.dumps({}, 2)))
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr("archive/constants.pkl", pickles(place.canary)["exec"])
        archive.writestr("archive/code/__torch__.py", f"open({str(place.canary)!r}, 'w')")
    return content.getvalue()


def _odd(place: Place) -> bytes:
    return packed(pickles(place.canary)["exec"], "../../../outside/canary")


def written_card(folder: Path, **changes: Any) -> None:
    """Change a card as somebody does who knows its checksum."""
    content = json.loads((folder / names.CARD).read_text())
    content |= changes
    del content["checksum"]
    (folder / names.CARD).write_text(json.dumps({**content, "checksum": card._checksum(content)}))


def _code(call: Sequence[str]) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        folder = place.copy("run")
        written_card(folder, network=f"{place.evil(folder / 'evil.py')}:Net", table=None)
        return call

    return make


REFERENCES = (
    "run/evil.py:Net", "evil:Net", "os:system('touch {canary}')", "subprocess:run(['touch', '{canary}'])",
    "builtins:exec(\"open('{canary}', 'w')\")", "../outside/evil.py:Net", "torch.hub:load('a/b', 'c')",
    "run/evil.ipynb:Net", "run:Net", "posixpath:os.system('touch {canary}')",
)  # fmt: skip


def _named(reference: str) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        folder = place.copy("run")
        for path in (folder / "evil.py", place.work / "evil.py", folder / "__init__.py", place.outside / "evil.py"):
            place.evil(path)
        code = (folder / "evil.py").read_text()
        cell = {"cell_type": "code", "source": code, "metadata": {}, "outputs": []}
        (folder / "evil.ipynb").write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4}))
        written_card(folder, network=reference.format(canary=place.canary), table=None)
        return PREDICT

    return make


def _code_in_recipe(place: Place) -> Sequence[str]:
    folder = place.copy("broken-off")
    text = (folder / "config.yaml").read_text()
    head, _, tail = text.partition("model:")
    rest = tail.partition("augment:")[2]
    evil = place.evil(folder / "evil.py")
    (folder / "config.yaml").write_text(f"{head}model: {{network: '{evil}:Net'}}\naugment:{rest}")
    return RESUME


def _record(place: Place) -> Sequence[str]:
    folder = place.copy("run")
    evil = place.evil(place.outside / "evil.py")
    name, digest = "../../outside/evil.py", hashlib.sha256(evil.read_bytes()).hexdigest()
    (folder / "code.json").write_text(json.dumps({"entry": name, "files": {name: digest}}))
    written_card(folder, network=f"{name}:Net", table=None)
    return PREDICT


def _linked_code(place: Place) -> Sequence[str]:
    folder = place.copy("run")
    evil = place.evil(place.outside / "evil.py")
    (folder / "code").symlink_to(place.outside)
    digest = hashlib.sha256(evil.read_bytes()).hexdigest()
    (folder / "code.json").write_text(json.dumps({"entry": "evil.py", "files": {"evil.py": digest}}))
    written_card(folder, network="evil.py:Net", table=None)
    return PREDICT


def _headed(header: bytes, length: int | None = None, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def _tensor(start: int, end: int, shape: list[int], kind: str = "F32") -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": [start, end]}


HEADERS = {
    "a header longer than the file": lambda: _headed(b"{}", 2**63),
    "a header that is a nest": lambda: _headed(b'{"a":' + b"[" * 1_000_000),
    "offsets behind the end": lambda: _headed(json.dumps({"a": _tensor(0, 2**40, [2**38])}).encode(), None, bytes(64)),
    "offsets that overlap": lambda: _headed(
        json.dumps({"a": _tensor(0, 64, [16]), "b": _tensor(0, 64, [16])}).encode(), None, bytes(64)
    ),
    "a shape of more than the offsets": lambda: _headed(
        json.dumps({"a": _tensor(0, 64, [2**40])}).encode(), None, bytes(64)
    ),
    "a tensor whose name leads out": lambda: _headed(
        json.dumps({"../../outside/canary": _tensor(0, 64, [16])}).encode(), None, bytes(64)
    ),
}


def _safetensors(content: Callable[[], bytes]) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        folder = place.copy("run")
        (folder / names.WEIGHTS).write_bytes(content())
        written_card(folder, sha256=hashlib.sha256(content()).hexdigest())
        return PREDICT

    return make


_RUN, _OFF, _REPORT = ("run/*",), ("broken-off/*",), ("report", "run")
LINKS: dict[str, tuple[Sequence[str], tuple[str, ...], tuple[int, ...]]] = {
    "run/images": (_REPORT, _RUN, (4,)),
    "run/report.html": (_REPORT, _RUN, (0, 4)),
    "run/evaluation.json": (("evaluate", "run"), _RUN, (0,)),
    "run/config.json": (PREDICT, (), (0, 4)),
    "run/train.log": (_REPORT, _RUN, (0, 4)),
    "broken-off/checkpoints": (RESUME, _OFF, (4,)),
    "broken-off/history.jsonl": (RESUME, _OFF, (0, 4)),
    "broken-off/environment.json": (RESUME, _OFF, (0, 4)),
    "broken-off/model.safetensors": (RESUME, _OFF, (0, 4)),
    "broken-off/.lock": (RESUME, _OFF, (4,)),
}


def _linked(link: str, call: Sequence[str]) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        folder = place.copy(link.partition("/")[0])
        inside, theirs = folder / Path(link).name, place.outside / f"theirs {Path(link).name}"
        if inside.is_dir():
            inside.rename(theirs)
        else:
            theirs.write_bytes(inside.read_bytes() if inside.exists() else b"theirs")
            inside.unlink(missing_ok=True)
        inside.symlink_to(theirs)
        return call

    return make


def _search_link(name: str) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        folder = place.copy("search")
        theirs = place.outside / f"theirs {name}"
        (folder / name).rename(theirs)
        if theirs.is_dir():
            (theirs / "begun.yaml").write_text("theirs")
        else:
            theirs.write_bytes(theirs.read_bytes() + b"and a line without an end")
        (folder / name).symlink_to(theirs)
        return SEARCH

    return make


def _rewritten(place: Place, change: Callable[[dict[str, Any]], bool]) -> None:
    """Change the lines of a journal as somebody does who knows what they are, and leave some out."""
    journal = place.copy("search") / "trials.journal"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in lines:
        line.pop("check")
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines if change(line)))


def _search_worker(place: Place) -> Sequence[str]:
    """A trial that never ended, and whose worker's lock is some file of somebody's."""

    def change(line: dict[str, Any]) -> bool:
        if "worker" in line.get("user_attr", {}):
            line["user_attr"]["worker"] = f"{gethostname()}:{place.outside / 'bystander.txt'}"
        return not (line.get("values") and line.get("trial_id") == 1)

    _rewritten(place, change)
    return *SEARCH, "--hours", "0.0003"


def _search_name(place: Place) -> Sequence[str]:
    def change(line: dict[str, Any]) -> bool:
        if "name" in line.get("user_attrs", {}):
            line["user_attrs"]["name"] = "../../outside/canary"
        return True

    _rewritten(place, change)
    return SEARCH


SEARCHES = {
    **{f"{name} is a link": _search_link(name) for name in ("winners", "trials", "workers", "trials.journal")},
    "a lock that is somebody's file": _search_worker,
    "a name that leads out": _search_name,
}
