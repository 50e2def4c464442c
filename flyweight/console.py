"""What the terminal shows while something runs: bars on a terminal, one plain line an epoch elsewhere."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
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


class DataBar:
    """Progress of a download or a conversion. Call it as ``bar(what, done, total)`` inside its ``with`` block."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn(),
            console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> DataBar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """Show that ``done`` of ``total`` (none: unknown) is through."""
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=total)
            if not self._console.is_terminal:
                self._console.print(f"{what} ...", markup=False, highlight=False)
        self._bar.update(self._tasks[what], completed=done, total=total)


class TrainingBar:
    """The observer of a training: a bar for the epoch under way, a line for each one that has ended."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[loss]}"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
            console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self._epoch: TaskID | None = None
        self._images = 0

    def __enter__(self) -> TrainingBar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def start(self, epoch: int, epochs: int, step: int, steps: int, images: int) -> None:
        """An epoch (from 0) begins at a step."""
        if self._epoch is not None:
            self._bar.remove_task(self._epoch)
        self._images = images
        self._epoch = self._bar.add_task(f"epoch {epoch + 1}/{epochs}", total=steps, completed=step, rate="", loss="")

    def step(self, step: int, loss: float | None) -> None:
        """So many steps of the epoch are done."""
        if self._epoch is None:
            return
        task = self._bar.tasks[self._bar.task_ids.index(self._epoch)]
        rate = f"{task.speed * self._images:,.0f} images/s" if task.speed else ""
        self._bar.update(self._epoch, completed=step, rate=rate)
        if loss is not None:
            self._bar.update(self._epoch, loss=f"loss {loss:.3f}")

    def epoch(self, line: str) -> None:
        """An epoch has ended."""
        self.note(line)

    def note(self, message: str) -> None:
        """Print a line above the bar."""
        self._console.print(message, markup=False, highlight=False, soft_wrap=True)
