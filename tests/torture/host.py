"""A process that has imported everything, and forks a child for each case, to which strace is attached.

    python tests/torture/host.py /tmp/work '[{"job": "checkpoint", "what": "faults", "chunk": 0, "of": 8}]'

It writes a line of JSON for each step: what was tried, and what was broken. `test_system_calls` says what is proved.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import calls
import power
import system_jobs
from blinded import blinded
from calls import Call
from system_jobs import NEW, Job

from flyweight.cli import app
from flyweight.files import UNFINISHED

ERRORS = ("ENOSPC", "EIO", "EACCES")
KILL = "killed"
SECONDS = 300
"""That a case may take, whatever else the machine does."""
UNTRACED = 99
"""Exit code of a child of ours that met an error which no command line would tell."""
MOST = 500


@dataclass(frozen=True)
class End:
    """How a child ended.

    Attributes:
        code: its exit code; negative: the signal that killed it.
        said: what it wrote to standard error.
        trace: of its system calls.
    """

    code: int
    said: str
    trace: Path


class Stage:
    """A job's folder, as it is before, and children that do the job in it.

    Args:
        job: to be done.
        work: a folder of its own.
    """

    def __init__(self, job: Job, work: Path) -> None:
        self.job, self.work = job, work
        self.root, self.before = work / "here", work / "before"
        work.mkdir(parents=True)
        self.root.mkdir()
        job.prepare(self.root)
        self.root.rename(self.before)
        # what is imported late is imported, and all names that there may be are known
        self.reset()
        job.run(self.root)
        assert job.found(self.root) == NEW
        self.known = self.names()
        self.reset()
        self.known |= self.names()
        self.right = {job.found(self.root), NEW}
        gc.collect()
        gc.freeze()
        gc.disable()

    def reset(self) -> None:
        """As it is before."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.before, self.root)

    def names(self) -> set[str]:
        """All that is below the folder."""
        return {path.relative_to(self.root).as_posix() for path in self.root.rglob("*")}

    def child(self, strace: Sequence[str]) -> End:
        """Do the job in a child, from its first system call on under strace."""
        ours, theirs = socket.socketpair()
        said, trace = self.work / "said", self.work / "trace"
        pid = os.fork()
        if not pid:
            ours.close()
            _be_a_child(lambda: self.job.run(self.root), theirs, said)
        theirs.close()
        ours.recv(1)  # from here on it makes no call that would be counted
        tracer = subprocess.Popen(
            ["strace", "-f", "-o", str(trace), *strace, "-p", str(pid)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert tracer.stderr is not None
        told = tracer.stderr.readline()
        if "attached" not in told:
            os.kill(pid, signal.SIGKILL)
            raise SystemExit(f"strace cannot attach to a child of this process: {told.strip()}")
        ours.sendall(b"!")
        code = _ended(pid)
        tracer.communicate()
        ours.close()
        return End(code, said.read_text(encoding="utf-8", errors="replace"), trace)

    def asked(self, question: Callable[[], Any]) -> Any:
        """What a child answers; nothing of it stays in this process."""
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reading)
            try:
                answer = json.dumps(question())
            except BaseException:
                answer = json.dumps({"broken": traceback.format_exc()[-1500:]})
            with os.fdopen(writing, "w") as file:
                file.write(answer)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as file:
            content = file.read()
        _ended(pid)
        return json.loads(content)

    @cached_property
    def recorded(self) -> list[Call]:
        """The calls of an undisturbed run."""
        self.reset()
        end = self.child([*calls.ALL, *calls.WHOLE])
        if end.code:
            raise SystemExit(f"the undisturbed run ends with {end.code}: {end.said}")
        return calls.read(end.trace)


def _be_a_child(job: Callable[[], object], gate: socket.socket, said: Path) -> None:
    """Wait for strace, do the job as the command line does, and end; all of it in a child."""
    code = UNTRACED
    try:
        with said.open("wb", buffering=0) as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.stdout = sys.stderr = os.fdopen(2, "w", closefd=False)
        any_process = ctypes.c_ulong(-1)
        ctypes.CDLL(None).prctl(0x59616D61, any_process, 0, 0, 0)  # Yama lets only parents attach, but for this
        app.app = lambda *given, **settings: job() and 0
        gate.sendall(b"!")
        gate.recv(1)
        code = app.run_command([])
        sys.stdout.flush()
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _ended(pid: int) -> int:
    """Wait for a child; one that hangs is killed, and this process ends."""

    def hung(number: int, frame: object) -> None:
        os.kill(pid, signal.SIGKILL)
        raise SystemExit(f"a child hung for {SECONDS} s")

    signal.signal(signal.SIGALRM, hung)
    signal.alarm(SECONDS)
    _, status = os.waitpid(pid, 0)
    signal.alarm(0)
    return os.waitstatus_to_exitcode(status)


def faults(stage: Stage, chunk: int, of: int, most: int | None) -> dict[str, Any]:
    """Kill the job before each call that touches its folder, and have each call refused."""
    touching = [call for call in stage.recorded if any(Path(path).is_relative_to(stage.root) for path in call.paths())]
    main = stage.recorded[0].thread
    broken = [
        f"{call}: another thread makes it, and how many of its calls come before is chance"
        for call in touching
        if call.thread != main  # strace counts the calls of each thread
    ]
    cases = [(call, fault) for call in touching if call.thread == main for fault in (KILL, *ERRORS)]
    tried = cases[chunk::of] if most is None else _sample(cases, most)
    for call, fault in tried:
        said = _fault(stage, call, fault)
        broken += [f"{fault} at {call}: {line}" for line in said]
    return {"tried": len(tried), "broken": broken, "calls": len(touching)}


def _sample(cases: Sequence[tuple[Call, str]], most: int) -> list[tuple[Call, str]]:
    """A few, of as many different calls as there is room for."""
    chance = random.Random(0)
    mixed = chance.sample(cases, len(cases))
    seen: dict[str, int] = {}
    ranked = []
    for place, (call, fault) in enumerate(mixed):
        seen[call.name] = seen.get(call.name, 0) + 1
        ranked.append((seen[call.name], place, (call, fault)))
    return [case for _, _, case in sorted(ranked, key=lambda entry: entry[:2])[:most]]


def _fault(stage: Stage, call: Call, fault: str) -> list[str]:
    """What is wrong after one fault."""
    stage.reset()
    what = "signal=SIGKILL" if fault == KILL else f"error={fault}"
    strace = (f"trace={call.name}", "signal=none", f"inject={call.name}:{what}:when={call.number}")
    end = stage.child(["-y", "-xx", *(part for one in strace for part in ("-e", one))])
    hit = [one for one in calls.read(end.trace) if one.result is None or one.injected]
    if _masked(call) not in map(_masked, hit) or (fault == KILL) != (end.code == -signal.SIGKILL):
        return [f"the harness met {[str(one) for one in hit]} in its place, and {end.code}: {end.said[-300:]}"]
    if fault != KILL and (wrong := _words(end, stage.job)):
        return wrong
    found = stage.asked(lambda: _after(stage, end.code, any(UNFINISHED in path for path in call.paths())))
    return found["broken"] if isinstance(found["broken"], list) else [found["broken"]]


def _masked(call: Call) -> str:
    """A call without what chance gives to a name, or to a file without one."""
    return re.sub(r"[a-z0-9_]{8}\.unfinished|#\d+", "*", f"{call.name} {call.paths()}")


def _words(end: End, job: Job) -> list[str]:
    """What is wrong with how an error was told."""
    lines = [line for line in end.said.splitlines() if line.startswith("flyweight: ")]
    wrong = []
    if end.code and end.code not in job.codes:
        wrong.append(f"exit code {end.code}")
    if end.code and len(lines) != 1:
        wrong.append(f"{len(lines)} lines in place of one")
    if "Traceback" in end.said or "Exception ignored" in end.said or "bug of flyweight" in end.said:
        wrong.append("a traceback, or a bug")
    if any(len(line) > MOST for line in lines):
        wrong.append("a long line")
    return [f"{'; '.join(wrong)}: {end.said[-700:]}"] if wrong else []


def _after(stage: Stage, code: int, removing: bool) -> dict[str, list[str]]:
    """What is wrong with what is there; then after the next start.

    Args:
        stage: of the job.
        code: that it ended with.
        removing: whether the call was about something unfinished: where the job was done all the same, that could not
            be removed, and is left to the next start.
    """
    found = stage.job.found(stage.root)
    broken = [] if found in stage.right else [f"there is {found}"]
    if code == 0 and found != NEW:
        broken.append(f"it ended well, and there is {found}")
    left = stage.names() - stage.known
    if left - stage.job.needed and (code > 0 or (code == 0 and not removing)):
        broken.append(f"it ended with {code} and left {sorted(left)}")
    stage.job.run(stage.root)
    found = stage.job.found(stage.root)
    if found != NEW:
        broken.append(f"after the next start there is {found}")
    if left := stage.names() - stage.known:
        broken.append(f"the next start left {sorted(left)}")
    return {"broken": broken}


def cuts(stage: Stage, chunk: int, of: int, most: int | None) -> dict[str, Any]:
    """Cut the power after each call that changes something, with each legal loss."""
    stage.reset()
    disk = power.Disk(stage.root)
    moments: list[tuple[str, bool, power.Tree]] = []
    seen: set[int] = set()

    def look(where: str, ended: bool) -> None:
        for tree in disk.states(len(moments)):
            key = hash((ended, *sorted(tree.items())))
            if key not in seen:
                seen.add(key)
                moments.append((where, ended, tree))

    for call in stage.recorded:
        if disk.take(call):
            look(str(call), False)
    last = len(moments)
    look("the end", True)
    ends = moments[last:]
    tried = moments[chunk::of]
    if most is not None:
        tried = [*random.Random(0).sample(moments[:last], min(most, last)), *ends[:8]]
    answer = stage.asked(lambda: {"broken": [line for moment in tried for line in _cut(stage, *moment)]})
    broken = answer["broken"]
    return {
        "tried": len(tried),
        "broken": broken if isinstance(broken, list) else [broken],
        "calls": sum(any(Path(path).is_relative_to(stage.root) for path in call.paths()) for call in stage.recorded),
    }


def _cut(stage: Stage, where: str, ended: bool, tree: power.Tree) -> list[str]:
    shutil.rmtree(stage.root)
    power.lay(tree, stage.root)
    try:
        found = stage.job.found(stage.root)
        if found not in stage.right or (ended and found != NEW):
            return [f"power cut after {where}: there is {found}"]
        stage.job.run(stage.root)
        found = stage.job.found(stage.root)
        left = stage.names() - stage.known
    except Exception as error:
        return [f"power cut after {where}: {type(error).__name__}: {str(error)[:300]}"]
    whole = found == NEW and not left
    return [] if whole else [f"power cut after {where}: after the next start there is {found}, and {sorted(left)}"]


def main() -> None:
    """Do the steps one after the other."""
    work, steps = Path(sys.argv[1]), json.loads(sys.argv[2])
    staged: tuple[object, ...] = ()
    for number, step in enumerate(steps):
        without = step.get("without", "nothing")
        with redirect_stdout(sys.stderr), blinded(without):
            if staged != (step["job"], without):
                stage = Stage(system_jobs.jobs()[step["job"]], work / str(number))
                staged = step["job"], without
            how = {"faults": faults, "cuts": cuts}[step["what"]]
            done = how(stage, step.get("chunk", 0), step.get("of", 1), step.get("most"))
        sys.stdout.write(json.dumps(step | {"part": stage.job.part} | done) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    system_jobs.warm()
    main()
