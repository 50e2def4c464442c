"""Judge each network in a process of its own, several at once; watch over them and end them."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path
from typing import Any

import flyweight
from flyweight.marking.marks import Mark
from flyweight.marking.task import Task
from flyweight.text import ending, printable

_KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "PYTHONHOME")
"""Of the environment: the rest, in which keys and passwords lie, does not reach a submission."""

SERVER = ("-m", "flyweight.marking.child")
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
    if not tasks:
        return
    watch = _Watch(seconds, memory, started)
    with ThreadPoolExecutor(cores()) as pool, closing(watch):
        watch.ready()
        left: set[Future[Mark]] = {pool.submit(watch.judged, task) for task in tasks}
        try:
            while left:
                done, left = wait(left, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        finally:
            for future in left:
                future.cancel()
            watch.close()


class _Watch:
    """Over all processes of one call: the one that they are forked from, and those that run."""

    def __init__(self, seconds: int, memory: int, started: Callable[[str], None]) -> None:
        self.seconds, self.memory, self.started = seconds, memory, started
        self._lock = threading.Lock()
        self._running: dict[int, None] = {}
        self._ended = False
        self._folder = tempfile.TemporaryDirectory(prefix="flyweight-", ignore_cleanup_errors=True)
        self._orders, theirs = socket.socketpair()
        with theirs:
            self._server = _start(theirs.fileno(), self._folder.name)
        self._orders.settimeout(_START_SECONDS)

    def ready(self) -> None:
        """Return when networks can be judged.

        Raises:
            RuntimeError: that cannot be, which is our fault.
        """
        try:
            if self._orders.recv(16):
                return
        except TimeoutError:
            pass
        printed = self._server.communicate(timeout=1)[0] if self._server.poll() is not None else b""
        raise RuntimeError(f"the process for submissions does not start: {_last(printed) or 'no reason is known'}")

    def close(self) -> None:
        """End every process; none is started any more."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
            for pid in self._running:
                _end(pid)
            self._orders.close()
        self._server.kill()
        self._server.wait()
        if self._server.stdout is not None:
            self._server.stdout.close()
        self._folder.cleanup()

    def judged(self, task: Task) -> Mark:
        """Judge one network in a process and a temporary folder of its own."""
        self.started(task.name)
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(dir=self._folder.name, ignore_cleanup_errors=True) as folder:
            order = {"folder": folder, "seconds": self.seconds, "memory": self.memory}
            message = json.dumps(order | {"task": task.model_dump(mode="json")}).encode()
            answer, output = os.pipe(), os.pipe()
            talk = _Talk(answer[0], output[0], self.seconds)
            try:
                with self._lock:
                    if not self._ended:
                        socket.send_fds(self._orders, [message], [answer[1], output[1]])
                for writer in (answer[1], output[1]):
                    os.close(writer)
                talk.listen(self._begun)
            finally:
                for reader in (answer[0], output[0]):
                    os.close(reader)
            with self._lock:
                self._running.pop(talk.pid, None)
                interrupted = self._ended
        if interrupted and talk.result is None:
            return Mark(task.name, error="it was interrupted")
        return _marked(task, talk, self.seconds, time.monotonic() - begun)

    def _begun(self, pid: int) -> None:
        with self._lock:
            self._running[pid] = None
            if self._ended:
                _end(pid)


def _start(descriptor: int, folder: str) -> subprocess.Popen[bytes]:
    code = str(Path(flyweight.__file__).resolve().parents[1])
    places = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment |= {
        "HOME": folder, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8:backslashreplace",
        "PYTHONPATH": os.pathsep.join([code, *(str(Path(place).resolve()) for place in places if place)]),
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-P", *SERVER, str(descriptor)],
        cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        pass_fds=(descriptor,), start_new_session=True,
    )  # fmt: skip


def _end(pid: int) -> None:
    """End a process and all of its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


class _Talk:
    """With the process of one submission: its answer and the end of what it prints come out.

    Attributes:
        pid: of the group; 0 before it is known.
        ready: whether the submission's code had begun.
        result: what it answered; None: nothing.
        code: how the process ended; None: it was ended.
        late: whether it was ended because its time was over.
        printed: the last bytes of what it printed.
    """

    def __init__(self, answer: int, output: int, seconds: int) -> None:
        self.pid, self.ready, self.late = 0, False, False
        self.result: dict[str, Any] | None = None
        self.code: int | None = None
        self.printed = bytearray()
        self._answer, self._output, self._seconds = answer, output, seconds
        self._heard = bytearray()

    def listen(self, begun: Callable[[int], None]) -> None:
        """Return when it has answered, ended, or used up its time; then it has ended, and all of its group."""
        deadline, was_ready = time.monotonic() + _START_SECONDS, False
        with selectors.DefaultSelector() as selector:
            selector.register(self._answer, selectors.EVENT_READ)
            selector.register(self._output, selectors.EVENT_READ)
            while self._answer in selector.get_map() and self.result is None and self.code is None:
                for key, _ in selector.select(0.2):
                    part = os.read(key.fd, 1 << 16)
                    if not part:
                        selector.unregister(key.fd)
                    elif key.fd == self._output:
                        self.printed = (self.printed + part)[-_OUTPUT_BYTES:]
                    else:
                        self._hear(part, begun)
                if self.ready and not was_ready:
                    deadline, was_ready = time.monotonic() + self._seconds, True
                if time.monotonic() > deadline or len(self._heard) > _ANSWER_BYTES:
                    self.late = True
                    break
            self._drain()
        if self.pid:
            _end(self.pid)

    def _hear(self, part: bytes, begun: Callable[[int], None]) -> None:
        *lines, rest = (self._heard + part).split(b"\n")
        self._heard = bytearray(rest)
        for line in lines:
            try:
                content = json.loads(line)
            except (ValueError, RecursionError):  # the submission's own
                continue
            if not isinstance(content, dict):
                continue
            if isinstance(content.get("pid"), int) and not self.pid:
                self.pid = content["pid"]
                begun(self.pid)
            elif "apart" in content:
                self.ready = True
            elif isinstance(content.get("code"), int):
                self.code = content["code"]
            elif content.keys() & {"facts", "error", "bug"}:
                self.result = content

    def _drain(self) -> None:
        """What it printed last may still lie in the pipe."""
        os.set_blocking(self._output, False)
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self._output, 1 << 16):
                self.printed = (self.printed + part)[-_OUTPUT_BYTES:]
                if len(self.printed) >= _OUTPUT_BYTES:
                    return


def _marked(task: Task, talk: _Talk, limit: int, seconds: float) -> Mark:
    if talk.result is not None:
        return Mark.of(task, talk.result, seconds)
    if talk.late and talk.ready:
        return Mark(task.name, error=f"it takes more than {limit} s", seconds=seconds)
    last = _last(talk.printed)
    if not talk.ready:
        return Mark(task.name, error=f"its process did not start: {last or 'no reason is known'}", bug=True)
    code = talk.code if talk.code is not None else 0
    how = f"by signal {code - 128}" if code > 128 else f"with code {code}"
    told = f"; the last it printed: {last}" if last else ""
    return Mark(task.name, error=f"its code ended the process {how}, before it was judged{told}", seconds=seconds)


def _last(printed: bytes | bytearray) -> str:
    return ending(printable(" ".join(printed.decode(errors="replace").split())), 160)
