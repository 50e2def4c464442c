"""Begins jobs of the command line by forks of a process that has imported all they need: seconds earlier each.

    python forking.py MODULE...     (imports these, too)

It reads a job a line, as JSON: {"module": ..., "call": [...], "folder": ..., "log": ..., "environment": {...}}, and
answers with its process id; {"wait": ID} is answered with the exit code, negative for a signal. A job is a process of
its own, with a session, an environment and standard streams of its own, which does what `python -m MODULE` does.
"""

import importlib
import json
import os
import runpy
import sys
import tempfile
from pathlib import Path
from typing import Any

MODULES = (
    "accelerate", "matplotlib.figure", "sklearn.datasets", "torch._dynamo", "torch.utils.data", "flyweight.cli.app",
    "flyweight.cli.begun", "flyweight.cli.evaluate", "flyweight.cli.train", "flyweight.data.digits",
    "flyweight.evaluation.robustness", "flyweight.evaluation.unknown", "flyweight.training.loop",
    "flyweight.training.start",
)  # fmt: skip
"""What commands import when they are called, beside what the call names."""


def imported(more: list[str]) -> None:
    """Import what jobs need."""
    from flyweight.images.augment import import_albumentations

    import_albumentations()
    for module in (*MODULES, *more):
        importlib.import_module(module)
    # what another thread holds would be held in a fork for ever
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "an import has started a thread"


def begin(asked: dict[str, Any]) -> None:
    """Be the job, in the child."""
    os.setsid()
    os.chdir(asked["folder"])
    os.environ.update(asked["environment"])
    tempfile.tempdir = None
    nowhere = os.open(os.devnull, os.O_RDONLY)
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream, place in ((0, nowhere), (1, log), (2, log)):
        os.dup2(place, stream)
    sys.argv = ["", *asked["call"]]
    runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)
    sys.exit(0)


def main() -> None:
    """Serve until nobody asks any more."""
    imported(sys.argv[1:])
    for line in sys.stdin:
        asked = json.loads(line)
        if "wait" in asked:
            answer = os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1])
        elif (answer := os.fork()) == 0:
            begin(asked)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
