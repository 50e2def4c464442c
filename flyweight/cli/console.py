"""What the terminal shows while something runs: bars on a terminal, one plain line an epoch elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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

from flyweight.errors import FlyweightError
from flyweight.machine import launched
from flyweight.text import ending, lines, middle, printable, some

MOST = 500
"""Characters of a line for a person, whatever it quotes."""

# messages go to standard error, so that what a command computes can be piped; of several processes the first one speaks
err = Console(stderr=True, emoji=False, quiet=launched.rank() > 0)


def answer(text: str) -> None:
    """Print what a command was asked for to standard output, and nothing that a terminal obeys."""
    if launched.rank() == 0:
        with putting():
            sys.stdout.write(lines(text).rstrip("\n") + "\n")


@contextmanager
def putting() -> Iterator[None]:
    """Where standard output is written or flushed.

    Raises:
        FlyweightError: it cannot take what it is given, as a file on a full disk; it is tried no more then.
        BrokenPipeError: its reader has gone.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        sys.stdout = None
        why = error.strerror or "it refuses"
        raise FlyweightError(f"standard output cannot be written: {why}; send it to another place") from None


def answer_json(content: object) -> None:
    """The same for a program."""
    answer(json.dumps(content, indent=2))


def say(message: str) -> None:
    """Print a line for a person; whatever it holds is text, no markup, and nothing that a terminal obeys."""
    err.print(_shown(message), markup=False, highlight=False, soft_wrap=True)


def _shown(message: str) -> str:
    return "\n".join(middle(line, MOST) for line in message.split("\n"))


def complain(message: str) -> None:
    """Say why this process ends, where no other one of its job on this machine has said so before."""
    if launched.world() == 1:
        say(printable(f"flyweight: {message}"))
        return
    from flyweight.machine.together import to_be_told

    told = to_be_told(message)
    if told is not None:
        err.quiet = False
        say(printable(f"flyweight: {told}"))


def banner(note: str) -> None:
    """Say loudly that the data is a stand-in."""
    err.print(Panel(Text(printable(note)), title="STAND-IN DATA", border_style="bold red", style="bold"))


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
        what = _shown(what)
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
        self._console.print(_shown(message), markup=False, highlight=False, soft_wrap=True)


class MarkingBar(_Bar):
    """Progress of a marking: how many are done, and which run now."""

    def __init__(self, console: Console, total: int) -> None:
        self._bar = Progress(
            SpinnerColumn(), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
            console=console, transient=True, disable=not console.is_terminal or total < 2,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=total)
        self._running: list[str] = []

    def start(self, name: str) -> None:
        """One begins; from any thread."""
        self._running.append(name)
        self._show()

    def done(self, name: str, outcome: str) -> None:
        """One has ended."""
        if name in self._running:
            self._running.remove(name)
        self._bar.advance(self._task)
        self._show()

    def _show(self) -> None:
        self._bar.update(self._task, description=some([ending(name, 30) for name in self._running], 3))
