"""Work shared out to processes that end with the one that began them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from flyweight.errors import DataError

Mapped = Callable[[Callable[..., Any], Iterable[tuple[Any, ...]]], Iterator[Any]]


def available() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def pool(workers: int) -> Iterator[Mapped]:
    """A map over so many processes: called as mapped(function, jobs), it gives function(*job) of each in their order.

    Only a few jobs are under way at a time, so that memory does not grow with their number. With one worker all happens
    in this process.

    Raises:
        DataError: a worker died.
    """
    if workers < 2:
        yield lambda function, jobs: (function(*job) for job in jobs)
        return
    # loky's processes are not forked, for a fork of a process with threads, as torch has them, may hang; and unlike
    # those of the standard library they do not run the user's script again, or a notebook, to get there
    from joblib.externals.loky import ProcessPoolExecutor

    executor = ProcessPoolExecutor(workers, initializer=_begin, initargs=(os.getpid(),))

    def mapped(function: Callable[..., Any], jobs: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        waiting: deque[Future[Any]] = deque()
        for job in jobs:
            waiting.append(executor.submit(function, *job))
            if len(waiting) >= 3 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    try:
        yield mapped
    except BrokenProcessPool:
        raise DataError(
            "a process that decodes images died, most likely for want of memory: what was decoded is made again by the"
            " next start"
        ) from None
    finally:
        executor.shutdown(kill_workers=True)


def _begin(parent: int) -> None:
    """Leave Ctrl-C to the process that began this one, and end when it does, even by kill -9."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
