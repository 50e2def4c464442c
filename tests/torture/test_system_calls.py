"""Wherever the system stops the program or refuses a call, the old file or the new one is there, whole.

`host` forks a child for each case and attaches strace to it, which kills the child before a system call or has the call
fail. All calls that touch the job's folder take their turn: a kill after a call leaves what a kill before the next one
does, and after the last there is nothing left to kill. What a kill cannot show, since the system keeps what a dead
process has written, a power cut does: `power` goes through the recorded calls and forgets what was not synced.
"""

import json
import os
import shutil
import subprocess
import sys
from inspect import signature
from pathlib import Path

import pytest
from blinded import TAKEN_OUT
from ledger import Part

ROOM = Path(__file__).parent
PROOF = "system-calls"
JOBS = (
    "checkpoint", "first-checkpoint", "card", "first-card", "conversion", "arrays", "onnx", "first-onnx", "c",
    "huggingface",
)  # fmt: skip
CHUNKS = {"huggingface": 6, "arrays": 4, "onnx": 2, "first-onnx": 2, "c": 2, "conversion": 2}
"""Parts that a job is done in, side by side; others in one."""
FEW = ("checkpoint", "card", "conversion", "onnx")
PLACE = Path("/dev/shm")
"""Nothing there waits for a disk, and strace sees all the same."""


NO_ATTACHING = "strace cannot attach"


def traceable() -> str | None:
    """Why no process can be traced here; None where one can."""
    if shutil.which("strace") is None:
        return "there is no strace here: `make programs` installs it"
    said = subprocess.run(["strace", "-e", "trace=none", "true"], capture_output=True, text=True, check=False)
    return None if said.returncode == 0 else f"strace may not trace here: {said.stderr.strip()[-200:]}"


WHY_NOT = "it is strace of Linux that does it" if sys.platform != "linux" else traceable()
pytestmark = [
    pytest.mark.skipif(WHY_NOT is not None, reason=f"THE FAULTS OF SYSTEM CALLS ARE NOT TRIED: {WHY_NOT}"),
    pytest.mark.timeout(3600),
]


@pytest.fixture
def work(tmp_path):
    """A folder that takes no disk's time."""
    if not os.access(PLACE, os.W_OK):
        yield tmp_path / "work"
        return
    place = PLACE / f"flyweight-{os.getpid()}-{tmp_path.name}"
    yield place
    shutil.rmtree(place, ignore_errors=True)


def asked(work: Path, *steps: dict) -> list[dict]:
    """What a host says to its steps."""
    path = [str(ROOM), str(ROOM.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, str(ROOM / "host.py"), str(work), json.dumps(steps)],
        capture_output=True, text=True, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path)},
    )  # fmt: skip
    if NO_ATTACHING in done.stderr:
        pytest.skip(f"THE FAULTS OF SYSTEM CALLS ARE NOT TRIED: {done.stderr.strip()[-200:]}")
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def record(ledger, rows: list[dict]) -> None:
    """Keep what was found, all of it, and fail where something was."""
    parts = [
        Part(
            row["part"] if row["what"] == "faults" else "power cuts",
            row["tried"],
            [f"{row['job']}: {line}" for line in row["broken"]],
        )
        for row in rows
    ]
    ledger.record_all(PROOF, parts)


def unseen(row: dict) -> list[str]:
    """A line where a harness does not see what was taken out."""
    return [] if row["broken"] else [f"{row['what']} of {row['job']} do not show that {row['without']}"]


@pytest.mark.sample
def test_a_few_faults_and_power_cuts(ledger, work):
    kept = [{"job": job, "what": what, "most": 8} for job in FEW for what in ("faults", "cuts")]
    *rows, last = asked(work, *kept, {"job": "card", "what": "cuts", "most": 30, "without": "files are not synced"})
    record(
        ledger, [*rows, last | {"what": "faults", "part": "seen when taken out", "tried": 1, "broken": unseen(last)}]
    )


@pytest.mark.sample
@pytest.mark.parametrize("what", TAKEN_OUT)
def test_what_a_harness_is_to_see_can_still_be_taken_out(what):
    for module, name, other in TAKEN_OUT[what]:
        whole = getattr(module, name)
        if callable(whole):
            assert [*signature(whole).parameters] == [*signature(other).parameters], name


@pytest.mark.whole
@pytest.mark.parametrize(
    ("job", "chunk", "of"), [(job, chunk, CHUNKS.get(job, 1)) for job in JOBS for chunk in range(CHUNKS.get(job, 1))]
)
def test_every_system_call(ledger, work, job, chunk, of):
    record(ledger, asked(work, {"job": job, "what": "faults", "chunk": chunk, "of": of}))


@pytest.mark.whole
@pytest.mark.parametrize("job", JOBS)
def test_every_power_cut(ledger, work, job):
    record(ledger, asked(work, {"job": job, "what": "cuts"}))


SEEN = [
    ("files are not synced", "checkpoint", "cuts"),
    ("files are not synced", "card", "cuts"),
    ("files are not synced", "arrays", "cuts"),
    ("files are not synced", "onnx", "cuts"),
    ("folders are not synced", "checkpoint", "cuts"),
    ("folders are not synced", "onnx", "cuts"),
    ("files are written in their place", "checkpoint", "faults"),
    ("files are written in their place", "card", "cuts"),
    ("folders are filled in their place", "onnx", "faults"),
    ("folders are filled in their place", "arrays", "cuts"),
    ("weights come before their card", "card", "faults"),
]
"""What is taken out of the program, and what shows it."""


@pytest.mark.whole
def test_the_harness_sees_what_is_taken_out(ledger, work):
    rows = asked(work, *({"job": job, "what": what, "without": without, "most": 80} for without, job, what in SEEN))
    ledger.record(PROOF, "seen when taken out", len(rows), [line for row in rows for line in unseen(row)])
