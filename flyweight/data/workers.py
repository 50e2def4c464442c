"""Work shared out to processes that end with the one that began them.

They are plain Python processes that are asked through pipes. Not forked, for a fork of a process with threads, as torch
has them, may hang. Not those of `multiprocessing`, which run the user's script again. Not those of joblib, which tell
their tracebacks at Ctrl-C. When the process that began them is gone, by kill -9 even, their pipe ends, and so do they.
"""

from __future__ import annotations

import logging
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from flyweight.errors import DataError
from flyweight.text import one_line

Mapped = Callable[[Callable[..., Any], Iterable[tuple[Any, ...]]], Iterator[Any]]

_SERVE = """
import pickle, sys
try:
    sys.path[:] = pickle.load(sys.stdin.buffer)
except (EOFError, pickle.UnpicklingError):
    sys.exit()  # whoever began this is gone already
from flyweight.data import workers
workers.serve()
"""
# as many threads as processors in each process would be in each other's way
_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)


def available() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def pool(workers: int) -> Iterator[Mapped]:
    """A map over so many processes: called as mapped(function, jobs), it gives function(*job) of each in their order.

    Only a few jobs are under way at a time, so that memory does not grow with their number. With one worker, or where
    the system gives no process, all happens in this process.

    Raises:
        DataError: a worker died.
    """
    started: list[_Worker] = []
    try:
        with suppress(OSError):
            while len(started) < workers > 1:
                started.append(_Worker())
        if started:
            yield lambda function, jobs: _shared(started, function, jobs)
        else:
            yield lambda function, jobs: (function(*job) for job in jobs)
    finally:
        for worker in started:
            worker.end()


def _shared(workers: list[_Worker], function: Callable[..., Any], jobs: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
    free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    for worker in workers:
        free.put(worker)

    def ask(job: tuple[Any, ...]) -> Any:
        worker = free.get()
        try:
            return worker.ask(function, job)
        finally:
            free.put(worker)

    waiting: deque[Future[Any]] = deque()
    # a thread for each process, which waits for it
    threads = ThreadPoolExecutor(len(workers))
    try:
        for job in jobs:
            waiting.append(threads.submit(ask, job))
            if len(waiting) >= 3 * len(workers):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BaseException:
        for worker in workers:  # a thread that waits for one waits no longer
            worker.end()
        raise
    finally:
        threads.shutdown(cancel_futures=True)


class _Worker:
    """A process that computes one thing at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **_ONE_THREAD},
            process_group=0 if os.name == "posix" else None,  # Ctrl-C in a terminal is for this process alone
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._questions, self._answers = self._process.stdin, self._process.stdout
        with suppress(OSError):  # it is gone: the first question will tell
            pickle.dump(sys.path, self._questions)
            self._questions.flush()

    def ask(self, function: Callable[..., Any], job: tuple[Any, ...]) -> Any:
        """What function(*job) gives, or raises, in that process."""
        try:
            pickle.dump((function, job), self._questions)
            self._questions.flush()
            worked, answer = pickle.load(self._answers)
        except (OSError, EOFError, ValueError, pickle.UnpicklingError):
            raise DataError(
                "a process that decodes images died, most likely for want of memory: start again, with fewer programs"
                " beside it"
            ) from None
        if not worked:
            raise answer
        return answer

    def end(self) -> None:
        """End the process, whatever it does, and wait until it has."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._questions, self._answers):
            with suppress(OSError):  # what was still to be written goes nowhere
                pipe.close()


def serve() -> None:
    """What a worker does until its pipe ends."""
    jobs: queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]] = queue.SimpleQueue()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints does not get between the answers
    logging.disable()  # what Pillow says of a damaged file comes with its error

    def read() -> None:
        # in a thread, so that a process whose parent is gone ends in the midst of a job
        while True:
            try:
                jobs.put(pickle.load(sys.stdin.buffer))
            except EOFError:
                os._exit(0)
            except Exception as error:
                jobs.put((_raise, (error,)))

    threading.Thread(target=read, daemon=True).start()
    while True:
        function, job = jobs.get()
        try:
            answer = pickle.dumps((True, function(*job)))
        except Exception as error:
            answer = _failure(error)
        try:
            answers.write(answer)
            answers.flush()
        except OSError:  # nobody is there to read it
            os._exit(0)


def _raise(error: Exception) -> None:
    raise error


def _failure(error: Exception) -> bytes:
    try:
        raw = pickle.dumps((False, error))
        pickle.loads(raw)  # some errors can be written and not be read
    except Exception:
        return pickle.dumps((False, RuntimeError(one_line(error))))
    return raw
