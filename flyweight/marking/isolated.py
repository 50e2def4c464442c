"""Judge each network in a process of its own, several at once; watch over them and end them."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

import flyweight
from flyweight.marking.marks import Mark
from flyweight.marking.task import Task
from flyweight.text import ending, printable

_KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "PYTHONHOME")
"""Of the environment: the rest, in which keys and passwords lie, does not reach a submission."""

_ANSWER_BYTES, _OUTPUT_BYTES = 1 << 24, 2000
_START_SECONDS = 120
"""That a process may take to import torch, on a busy machine, before its own time begins."""


def cores() -> int:
    """Processes at a time."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def mark(tasks: Sequence[Task], seconds: int, memory: int, started: Callable[[str], None]) -> Iterator[Mark]:
    """Judge networks, each in a process of its own, as many at once as there are cores.

    Where whoever reads it stops, all processes are ended.

    Args:
        tasks: one a network.
        seconds: that each may take.
        memory: that each may take, in bytes.
        started: called with the name of each as it starts, from any thread.

    Yields:
        a mark for each, in the order in which they end.
    """
    watch = _Watch(seconds, memory, started)
    with ThreadPoolExecutor(cores()) as pool:
        left: set[Future[Mark]] = {pool.submit(watch.judged, task) for task in tasks}
        try:
            while left:
                done, left = wait(left, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        finally:
            for future in left:
                future.cancel()
            watch.end_all()


class _Watch:
    """Over all processes of one call."""

    def __init__(self, seconds: int, memory: int, started: Callable[[str], None]) -> None:
        self.seconds, self.memory, self.started = seconds, memory, started
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._ended = False

    def end_all(self) -> None:
        """End every process; none is started any more."""
        with self._lock:
            self._ended = True
            for process in self._running:
                _end(process)

    def judged(self, task: Task) -> Mark:
        """Judge one network in a process and a temporary folder of its own."""
        self.started(task.name)
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="flyweight-", ignore_cleanup_errors=True) as folder:
            reader, writer = os.pipe()
            try:
                with self._lock:
                    if self._ended:
                        os.close(reader)
                        return Mark(task.name, error="not checked: it was interrupted")
                    process = self._start(folder, writer)
            finally:
                os.close(writer)
            try:
                order = {"answer": writer, "seconds": self.seconds, "memory": self.memory}
                talk = _Talk(process, reader, self.seconds)
                talk.say(json.dumps(order | {"task": task.model_dump(mode="json")}) + "\n")
                talk.listen()
            finally:
                _end(process)
                os.close(reader)
            with self._lock:
                self._running.discard(process)
                interrupted = self._ended
        seconds = time.monotonic() - begun
        if interrupted and talk.answer() is None:
            return Mark(task.name, error="not checked: it was interrupted")
        return _marked(task, talk, self.seconds, seconds)

    def _start(self, folder: str, writer: int) -> subprocess.Popen[bytes]:
        code = str(Path(flyweight.__file__).resolve().parents[1])
        places = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environment |= {
            "HOME": folder, "TMPDIR": folder, "TEMP": folder, "TMP": folder, "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8:backslashreplace",
            "PYTHONPATH": os.pathsep.join([code, *(str(Path(place).resolve()) for place in places if place)]),
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "flyweight.marking.child"],
            cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            pass_fds=(writer,), start_new_session=True,
        )  # fmt: skip
        self._running.add(process)
        return process


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


class _Talk:
    """With one process: an order goes in, its answer and the end of what it prints come out."""

    def __init__(self, process: subprocess.Popen[bytes], reader: int, seconds: int) -> None:
        self.process, self.reader, self.seconds = process, reader, seconds
        self.heard, self.printed = bytearray(), bytearray()
        self.late = False

    def say(self, line: str) -> None:
        """Write to its standard input, which is closed."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self.process.stdin as file:
            file.write(line.encode())

    def listen(self) -> None:
        """Return when it has answered, ended, or used up its time; then it has ended, and all that it started."""
        assert self.process.stdout is not None
        output = self.process.stdout.fileno()
        deadline, ready = time.monotonic() + _START_SECONDS, False
        with selectors.DefaultSelector() as selector, self.process.stdout:
            selector.register(self.reader, selectors.EVENT_READ)
            selector.register(output, selectors.EVENT_READ)
            while self.reader in selector.get_map():
                ended = self.process.poll() is not None
                events = selector.select(0 if ended else 0.2)
                for key, _ in events:
                    part = os.read(key.fd, 1 << 16)
                    if not part:
                        selector.unregister(key.fd)
                    elif key.fd == output:
                        self.printed = (self.printed + part)[-_OUTPUT_BYTES:]
                    else:
                        self.heard += part
                if not ready and b"\n" in self.heard:
                    deadline, ready = time.monotonic() + self.seconds, True
                if (ended and not events) or self.heard.count(b"\n") > 1 or len(self.heard) > _ANSWER_BYTES:
                    break
                if time.monotonic() > deadline:
                    self.late = True
                    break
            _end(self.process)
            self.process.wait()

    @property
    def ready(self) -> bool:
        """Whether the submission's code had begun."""
        return b"\n" in self.heard

    def answer(self) -> dict[str, object] | None:
        """What it answered; None: nothing whole."""
        lines = self.heard.split(b"\n")
        if len(lines) < 3:
            return None
        try:
            found = json.loads(lines[1])
        except ValueError:
            return None
        return found if isinstance(found, dict) else None


def _marked(task: Task, talk: _Talk, limit: int, seconds: float) -> Mark:
    answer = talk.answer()
    if answer is not None:
        return Mark.of(task, answer, seconds)
    if talk.late and talk.ready:
        return Mark(task.name, error=f"it takes more than {limit} s", seconds=seconds)
    last = ending(printable(" ".join(talk.printed.decode(errors="replace").split())), 160)
    if not talk.ready:
        return Mark(task.name, error=f"its process did not start: {last or 'no reason was given'}", bug=True)
    code = talk.process.returncode
    how = f"by signal {code - 128 if code > 128 else -code}" if code < 0 or code > 128 else f"with code {code}"
    told = f"; the last it printed: {last}" if last else ""
    return Mark(task.name, error=f"its code ended the process {how}, before it was judged{told}", seconds=seconds)
