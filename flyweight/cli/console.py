"""What the terminal shows while something runs: bars on a terminal, one plain line an epoch elsewhere."""

from __future__ import annotations

import json
import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from flyweight.text import printable

# messages go to standard error, so that what a command computes can be piped
err = Console(stderr=True, emoji=False)


def answer(text: str) -> None:
    """Print what a command was asked for to standard output."""
    sys.stdout.write(text.rstrip("\n") + "\n")


def answer_json(content: object) -> None:
    """The same for a program."""
    answer(json.dumps(content, indent=2))


def say(message: str) -> None:
    """Print a line for a person; whatever it holds is text, no markup, and nothing that a terminal obeys."""
    lines = [printable(line) for line in message.split("\n")]
    err.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def banner(note: str) -> None:
    """Say loudly that the data is a stand-in."""
    err.print(Panel(Text(note), title="STAND-IN DATA", border_style="bold red", style="bold"))


class _Bar:
    """A progress bar that is there inside its ``with`` block."""

    _bar: Progress

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


class DataBar(_Bar):
    """Progress of a download or a conversion. Call it as ``bar(what, done, total)`` inside its ``with`` block."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn(),
            console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """Show that ``done`` of ``total`` (none: unknown) is through."""
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=total)
            if not self._console.is_terminal:
                self._console.print(f"{what} ...", markup=False, highlight=False)
        self._bar.update(self._tasks[what], completed=done, total=total)


class TrainingBar(_Bar):
    """The observer of a training: one bar for all of it, so that the time left is the whole; a line an epoch."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[loss]}"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
            console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self._task: TaskID | None = None
        self._images = self._before = 0

    def start(self, epoch: int, epochs: int, step: int, steps: int, images: int) -> None:
        """An epoch (from 0) begins at a step."""
        self._images, self._before = images, epoch * steps
        if self._task is None:
            done = self._before + step
            self._task = self._bar.add_task("", total=epochs * steps, completed=done, speed="", loss="")
        self._bar.update(self._task, description=f"epoch {epoch + 1}/{epochs}")

    def step(self, step: int, loss: float | None) -> None:
        """So many steps of the epoch are done."""
        if self._task is None:
            return
        task = self._bar.tasks[self._bar.task_ids.index(self._task)]
        speed = f"{task.speed * self._images:,.0f} images/s" if task.speed else ""
        self._bar.update(self._task, completed=self._before + step, speed=speed)
        if loss is not None:
            self._bar.update(self._task, loss=f"loss {loss:.3f}")

    def epoch(self, line: str) -> None:
        """An epoch has ended."""
        self.note(line)

    def note(self, message: str) -> None:
        """Print a line above the bar."""
        self._console.print(message, markup=False, highlight=False, soft_wrap=True)
