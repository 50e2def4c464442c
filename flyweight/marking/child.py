"""The process that submissions are judged in: ``python -m flyweight.marking.child SOCKET``, started by `isolated`.

It imports what the judging needs, once, and says ``ready``. Then it takes one order after another from the socket: one
object of JSON, with two descriptors, for the answer and for what is printed. For each it forks; the child fences itself
in and judges. The answer is one object a line: ``pid`` of the group, ``apart`` when the submission's code is about to
begin, then ``facts``, an ``error`` or a ``bug``; and ``code`` when that process has ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from flyweight import analysis, rules
from flyweight.errors import FlyweightError, out_of_memory
from flyweight.marking import fence
from flyweight.marking.task import Task, answered
from flyweight.networks import build
from flyweight.rules import summary
from flyweight.text import one_line

IMPORTED = (analysis, rules, build, summary)
"""Before the fork, so that no submission waits for torch."""


def main() -> None:
    """Serve until the socket is closed."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    # its children are nobody's to wait for
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    connection.sendall(b"ready\n")
    while True:
        message, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 2)
        if not message:
            return
        if not os.fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            connection.close()
            _serve(json.loads(message), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _serve(order: dict[str, Any], answer: int, output: int) -> None:
    """Judge one task and end, whatever its code has left to do at exit."""
    os.setsid()
    _say(answer, pid=os.getpid())
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    for number in (1, 2):
        os.dup2(output, number)
    os.close(output)
    folder = Path(order["folder"])
    os.chdir(folder)
    os.environ |= {name: str(folder) for name in ("HOME", "TMPDIR", "TEMP", "TMP")}
    apart = fence.enter(folder, lambda code: _say(answer, code=code))
    task = Task.model_validate(order["task"])
    sys.path.append(task.folder)
    sys.stdout = sys.stderr
    _say(answer, apart=apart)
    fence.limits(2 * order["seconds"] + 5, order["memory"])
    fence.refuse(folder, starting=apart)
    _say(answer, **_judged(task, order["memory"]))
    os._exit(0)


def _say(descriptor: int, **content: Any) -> None:
    line = (json.dumps(content) + "\n").encode()
    # who no longer listens has no use for it
    with contextlib.suppress(BrokenPipeError):
        while line:
            line = line[os.write(descriptor, line) :]


def _judged(task: Task, memory: int) -> dict[str, Any]:
    notes: list[str] = []
    try:
        return {**answered(task, notes.append), "notes": notes}
    except BaseException as error:
        if out_of_memory(error):
            told = {"error": f"it needs more memory than the limit of {memory / 2**30:g} GiB"}
        elif isinstance(error, FlyweightError):
            told = {"error": str(error)}
        elif isinstance(error, Exception):
            told = {"bug": f"{type(error).__name__}: {one_line(error)}"}
        else:  # an interrupt is the submission's own here: the terminal's goes to its parent
            told = {"error": f"its code raised {type(error).__name__}"}
        return {**told, "notes": notes}


if __name__ == "__main__":
    main()
