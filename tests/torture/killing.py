"""Jobs of the command line that are killed with -9, whose descendants are known, and what is left of them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from flyweight.files import UNFINISHED
from flyweight.runs.folder import Run

SERVER = Path(__file__).with_name("forking.py")
MARK = "FLYWEIGHT_KILLED"
"""Environment variable that all processes of a job have which a program began; those that it forks have its session."""
UNNAMED = re.compile(r"sem\.[A-Za-z0-9]{6}")
"""A semaphore of 32 bytes that the C library's `sem_open` has made and not yet named: a kill in there leaves it until
the machine starts again, and nobody can tell whose it was. Python's are named ``sem.mp-...``."""


@dataclass
class Job:
    """A job under way.

    Attributes:
        pid: of its first process.
        log: what it says.
        module: that it runs.
        mark: that its descendants have in their environment.
        end: waits for its end and gives the exit code, negative for a signal.
    """

    pid: int
    log: Path
    module: str
    mark: str
    end: Callable[[], int]

    @property
    def ended(self) -> bool:
        """Whether it has come to its end; nobody has waited for it yet."""
        state = _status(self.pid)
        return state is None or state[0] in "ZX"

    def kill(self, *others: int) -> int:
        """Kill it, and others of its processes, with -9; its exit code."""
        for pid in (self.pid, *others):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return self.end()

    def sleep(self, seconds: float) -> None:
        """Wait for so long, or for its end."""
        until = time.monotonic() + seconds
        while not self.ended and (rest := until - time.monotonic()) > 0:
            time.sleep(min(rest, 0.01))

    def said(self) -> str:
        """All that it has said."""
        # killed in its first moment, it has not begun
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def family(self) -> list[int]:
        """Its processes that live, forked or begun, whoever their parent is by now."""
        return [pid for pid, state in _processes() if state[3] == str(self.pid) or _has_mark(pid, self.mark)]


def _status(pid: int) -> list[str] | None:
    """State, parent, group and session of a process; none: there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[:4]
    except (FileNotFoundError, ProcessLookupError):
        return None


def _processes() -> Iterator[tuple[int, list[str]]]:
    for folder in Path("/proc").glob("[0-9]*"):
        state = _status(int(folder.name))
        if state is not None and state[0] not in "ZX":
            yield int(folder.name), state


def _has_mark(pid: int, mark: str) -> bool:
    try:
        return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


class Server:
    """The process that begins jobs: see forking.py."""

    def __init__(self, *modules: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(SERVER), *modules],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self._begun = 0

    def begin(self, module: str, call: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str]) -> Job:
        """Begin a job: what `python -m MODULE CALL...` does in a folder."""
        self._begun += 1
        mark = f"{self._process.pid}-{self._begun}"
        asked = {"module": module, "call": call, "folder": str(folder), "log": str(log)}
        pid = self._ask(asked | {"environment": {MARK: mark, **environment}})
        return Job(pid, log, module, mark, lambda: self._ask({"wait": pid}))

    def _ask(self, asked: Mapping[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the process that begins jobs has ended"
        return int(answer)

    def close(self) -> None:
        """End it."""
        self._process.communicate()


@dataclass
class Place:
    """Where jobs of a kind run, and what they must leave as it is when they are killed.

    Attributes:
        folder: an empty one.
        server: that begins them.
        environment: of each of them.
        jobs: those that were begun.
    """

    folder: Path
    server: Server
    environment: dict[str, str] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.folder / "temporary").mkdir(parents=True)
        self.environment = {
            "FLYWEIGHT_CACHE": str(self.folder / "cache"),
            "TMPDIR": str(self.folder / "temporary"),
            **self.environment,
        }
        self._shared = shared_memory()

    def begin(self, *call: str, module: str = "flyweight", within: str = ".", **environment: str) -> Job:
        """Begin a job, in a folder within this one."""
        log, own = self.folder / f"log{len(self.jobs)}", self.environment | environment
        self.jobs.append(self.server.begin(module, call, self.folder / within, log, own))
        return self.jobs[-1]

    def done(self, *call: str, **options: str) -> float:
        """Let a job run to its end; the seconds that it took."""
        began = time.monotonic()
        job = self.begin(*call, **options)
        code = job.end()
        assert code == 0, f"{' '.join(call)}: {code}: {job.said()}"
        return time.monotonic() - began

    def broken(self) -> list[str]:
        """What jobs have said that none should, and what they have left: processes, temporary files, shared memory."""
        lines = [
            f"{job.log}: {line}"
            for job in self.jobs
            for line in job.said().splitlines()
            # torchrun shows its own where a process of a job has ended
            if "bug of flyweight" in line or "damaged" in line or ("Traceback" in line and job.module == "flyweight")
        ]
        # a process that loads batches looks every five seconds whether its parent lives
        until = time.monotonic() + 20
        while time.monotonic() < until and (self._alive() or self._left()):
            time.sleep(0.1)
        return (
            lines + [f"process {pid} lives" for pid in self._alive()] + [f"left over: {name}" for name in self._left()]
        )

    def _alive(self) -> list[int]:
        return [pid for job in self.jobs for pid in job.family()]

    def _left(self) -> list[str]:
        hidden = [str(path) for path in inside(self.folder) if UNFINISHED in path.name]
        # an unbroken job leaves these, too: what torch compiles, what torchrun keeps of each call, onnxruntime's number
        theirs = ("torchinductor_", "torchelastic_", ".ses")
        temporary = [str(path) for path in (self.folder / "temporary").iterdir() if not path.name.startswith(theirs)]
        return hidden + temporary + sorted(shared_memory() - self._shared)


def shared_memory() -> set[str]:
    """Names of the shared memory and the semaphores that are there, of Python's and torch's."""
    ours = ("torch_", "sem.", "psm_", "gloo")
    names = {path.name for path in Path("/dev/shm").iterdir() if path.name.startswith(ours)}
    return {name for name in names if not UNNAMED.fullmatch(name)}


def torn(folder: Path) -> list[Path]:
    """Files and folders that were being written when a process was killed, this or one before it."""
    return [path for path in inside(folder) if path.name.endswith(UNFINISHED)]


def inside(folder: Path) -> Iterator[Path]:
    """All files and folders in it. What goes meanwhile is passed over, where Path.rglob of Python 3.11 raises."""
    return (Path(where, name) for where, folders, files in os.walk(folder) for name in (*folders, *files))


def newest(run: Run) -> tuple[int, int]:
    """Epoch and step of the newest checkpoint of a run folder; zeros: there is none."""
    names = [path.stem for path in run.checkpoints.glob("epoch-*-step-*.pt")] if run.checkpoints.is_dir() else []
    return max((tuple(map(int, re.findall(r"\d+", name))) for name in names), default=(0, 0))  # type: ignore[return-value]


def told(job: Job) -> list[int]:
    """The epochs whose end a training has told, in its order."""
    return [int(number) for number in re.findall(r"^Epoch (\d+)/", job.said(), re.MULTILINE)]


def trained(run: Run) -> dict[str, Any]:
    """What a training leaves, but for how long it took and when."""
    rows = [{key: value for key, value in row.items() if not _is_time(key)} for row in run.history()]
    content, damaged = run.load_checkpoint()
    assert content is not None
    assert not damaged
    content["history"] = [{key: value for key, value in row.items() if not _is_time(key)} for row in content["history"]]
    del content["seconds"]
    return {
        "weights": run.weights.read_bytes(),
        "card": run.card.read_bytes(),
        "recipe": run.config.read_bytes(),
        "history": rows,
        "table": [line.split(",")[:-2] for line in run.history_csv.read_text(encoding="utf-8").splitlines()],
        "log": [line.rpartition(" | ")[0] for line in run.log.read_text(encoding="utf-8").splitlines()],
        "checkpoint": _comparable(content),
        "files": names(run.folder),
    }


def _is_time(name: str) -> bool:
    return name in ("seconds", "images_per_second")


def _comparable(content: Any) -> Any:
    if isinstance(content, torch.Tensor):
        return str(content.dtype), content.numpy(force=True).tobytes()
    if isinstance(content, Mapping):
        return {key: _comparable(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_comparable(value) for value in content]
    return content


def names(folder: Path) -> list[str]:
    """All files and folders in a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def content(folder: Path) -> dict[str, bytes]:
    """All files in a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
