"""Files from somebody else: each is read by the command that reads such files, and none of them does anything.

A canary that any of them leaves breaks the promise, and so does a byte that is written anywhere but where a command was
told to write, an exit code that is not documented, a traceback, or an end that is not told in a line.
"""

from __future__ import annotations

import contextlib
import fnmatch
import io
import json
import os
import pickle
import subprocess

import hostile_data
import hostile_exports
import hostile_runs
import huggingface_hub.constants
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from canaries import VARIABLE, Case, Place, everything, pickles
from hub_server import Hub
from ledger import WHERE, Part
from PIL import Image

from flyweight.cli.app import run_command
from flyweight.errors import EXIT_CODES

CASES = [*hostile_runs.cases(), *hostile_data.cases(), *hostile_exports.cases()]
CHUNK = 8
ALL = bool(os.environ.get(WHERE))
# what needs more whole files than a run, or draws a report
SLOW = {"ONNX", "exports", "searches", "links", "submissions", "folders of images"}
TRIED = CASES if ALL else [case for case in CASES if case.kind not in SLOW and not case.full][::9]
CHUNKS = [TRIED[start : start + CHUNK] for start in range(0, len(TRIED), CHUNK)]


@pytest.fixture
def tried(given, tmp_path, capfd, monkeypatch):
    """Tries a case: what it does against the promise; None: nothing."""

    def call(case: Case) -> str | None:
        around = tmp_path / case.kind / case.name.replace("/", " ")
        place = Place(given, around / "work", around / "outside")
        for folder in (place.work, place.outside / "checkpoints", around / "home"):
            folder.mkdir(parents=True)
        (place.outside / "bystander.txt").write_text("theirs, without an end of line")
        (place.outside / "checkpoints" / "epoch-0001-step-000000.pt").write_bytes(b"theirs")
        monkeypatch.chdir(place.work)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setenv("HOME", str(around / "home"))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(around / "settings"))
        words = list(case.make(place))
        monkeypatch.setenv("FLYWEIGHT_CACHE", str(place.work / "cache"))
        before = everything(around)
        capfd.readouterr()
        code = run_command(words)
        out, err = capfd.readouterr()
        return judged(case, code, out + err, before, everything(around))

    return call


def judged(case, code, said, before, after) -> str | None:
    """What was done against the promise."""
    if os.environ.pop(VARIABLE, None) is not None:
        return "the environment was changed"
    own = ("*.lock", "cache", "cache/*", *case.writes)
    # where matplotlib keeps what it knows of fonts
    allowed = (
        "settings",
        "settings/*",
        "home/.cache",
        "home/.cache/matplotlib*",
        *(f"work/{pattern}" for pattern in own),
    )
    changed = [
        path
        for path in {*before, *after}
        if before.get(path, 0) != after.get(path, 0) and not any(fnmatch.fnmatch(path, part) for part in allowed)
    ]
    if changed:
        return f"it wrote {', '.join(sorted(changed))[:300]}"
    if "Traceback" in said or code not in EXIT_CODES or code not in case.codes:
        return f"exit code {code}: {said[-400:]}"
    last = said.splitlines()[-1] if said else ""
    told = last.startswith("flyweight: ") and len(last) <= 500
    # how a submission is marked is told in a table
    if code and not told and case.kind != "submissions":
        return f"not told in one line: {said[-400:]}"
    return "an escape" if "\x1b" in said else None


@pytest.mark.parametrize("chunk", range(len(CHUNKS)))
def test_a_file_from_somebody_else_does_nothing(chunk, tried, ledger):
    kinds: dict[str, list[tuple[str, str | None]]] = {}
    for case in CHUNKS[chunk]:
        kinds.setdefault(case.kind, []).append((case.name, tried(case)))
    parts = [
        Part(kind, len(found), [f"{name}: {what}" for name, what in found if what is not None])
        for kind, found in kinds.items()
    ]
    ledger.record_all("hostile-files", parts)


def test_whoever_runs_them_finds_a_canary(tmp_path, monkeypatch):
    """Else the proof would see nothing."""
    monkeypatch.delenv(VARIABLE, raising=False)
    canary = tmp_path / "canary"
    assert tuple(pickles(canary)) == hostile_runs.PICKLED
    for name, content in pickles(canary).items():
        with contextlib.suppress(Exception):  # what comes after the harm
            made = pickle.loads(content)
            if isinstance(made, subprocess.Popen):
                made.wait()
        assert canary.exists() or os.environ.pop(VARIABLE), name
        canary.unlink(missing_ok=True)
    place = Place(None, tmp_path, tmp_path)
    exec(place.evil(tmp_path / "evil.py").read_text(), {})
    assert canary.exists()


def test_there_are_enough_of_them():
    names = [(case.kind, case.name) for case in CASES]
    assert len(set(names)) == len(names) >= 60


OUT = "../../../../outside/canary"
HUB = {
    "a name that leads out": lambda info, file: info.update(siblings=[{"rfilename": f"{OUT}.parquet"}]),
    "a name from the root": lambda info, file: info.update(siblings=[{"rfilename": "/canary.parquet"}]),
    "a commit that leads out": lambda info, file: info.update(sha=OUT),
    "a tag that leads out": lambda info, file: file["headers"].update(ETag=f'"{OUT}"'),
    "a commit of the file that leads out": lambda info, file: file["headers"].update({"X-Repo-Commit": OUT}),
    "a place that leads away": lambda info, file: file.update(status=302, headers={"Location": "file:///etc/passwd"}),
}


@pytest.mark.parametrize("name", HUB if ALL else ["a tag that leads out"])
def test_what_a_hub_answers_leads_nowhere(name, tried, ledger, monkeypatch):
    """Its real client is asked, by a server on this machine that lies."""
    with Hub(monkeypatch) as hub:

        def make(place: Place) -> list[str]:
            buffer = io.BytesIO()
            Image.new("RGB", (8, 8), "red").save(buffer, "PNG")
            images = [{"bytes": buffer.getvalue(), "path": "a.png"}] * 10
            (place.work / "served").mkdir()
            shard = place.work / "served" / "train-00000-of-00001.parquet"
            pq.write_table(pa.table({"image": images, "label": [0, 1] * 5}), shard)
            commit = hub.publish("them/set", shard.parent)
            page = hub.mirror.paths["/api/datasets/them/set"]
            info = json.loads(page["content"])
            HUB[name](info, hub.mirror.paths[f"/datasets/them/set/resolve/{commit}/{shard.name}"])
            page["content"] = json.dumps(info).encode()
            monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(place.work / "hub"))
            monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
            return ["data", "hub:them/set"]

        wrong = tried(Case("hub", name, make, (0, 2, 3), ("hub", "hub/*", "cache", "cache/*")))
    ledger.record("hostile-files", "answers of a hub", 1, [] if wrong is None else [f"{name}: {wrong}"])
