"""What is compared, as processes of their own, so that neither side warms or changes the other.

Our allocator settings, for one, would speed the peer up, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from flyweight.errors import FlyweightError
from flyweight.runs.folder import Run

Rows = list[dict[str, Any]]


def peer(name: Literal["course_loop", "resnet8_loop"], epochs: int, images: int, *options: str) -> Rows:
    """Run a peer's loop; a record for each epoch.

    Args:
        name: of its module in :mod:`flyweight.bench.peers`.
        epochs: how many.
        images: trained on in an epoch.
        options: more of what it takes.

    Raises:
        FlyweightError: it failed.
    """
    arguments = ["--epochs", str(epochs), "--images", str(images), "--json", *options]
    output = _run(["-m", f"flyweight.bench.peers.{name}", *arguments])
    return [json.loads(line) for line in output.splitlines()]


def ours(recipe: str, **settings: object) -> tuple[Rows, dict[str, Any]]:
    """Train a recipe with our loop; a record for each epoch, and what the run wrote down about itself.

    Args:
        recipe: its name.
        settings: by the setting's key, with ``__`` for the dot: ``train__epochs=2``.

    Raises:
        FlyweightError: it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / "run")
        options = [part for key, value in settings.items() for part in ("--set", f"{key.replace('__', '.')}={value}")]
        _run(["-m", "flyweight", "train", recipe, "--out", str(run.folder), "--no-report", *options])
        lines = run.history_jsonl.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines], run.read_environment()


def asking(way: str, network: str, batches: Sequence[tuple[int, int]]) -> dict[int, float]:
    """Images a second by batch size: how fast a network answers, in one of the ways of :mod:`flyweight.bench.asking`.

    Args:
        way: which.
        network: its name.
        batches: (batch size, how many such batches are timed).

    Raises:
        FlyweightError: it failed.
    """
    answer = json.loads(module("asking", way, network, *(f"{size}:{count}" for size, count in batches)))
    return {int(size): rate for size, rate in answer.items()}


def module(name: str, *arguments: str) -> str:
    """What a module of this room prints in a process of its own.

    Raises:
        FlyweightError: it failed.
    """
    return _run(["-m", f"flyweight.bench.{name}", *arguments])


def _run(arguments: Sequence[str]) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise FlyweightError(f"{' '.join(arguments[:4])} failed with exit code {done.returncode}: {last}")
    return done.stdout
