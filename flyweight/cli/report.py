"""`flyweight report`: the report of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flyweight.cli import job
from flyweight.cli.console import DataBar, answer, err, say
from flyweight.cli.options import AllowOption, command
from flyweight.errors import FlyweightError

if TYPE_CHECKING:
    from flyweight.data import Dataset
    from flyweight.runs.folder import Run

app = command("report", "report runs/sprint2-20260101-120000")


@app.default
def report(run: Path, /, *, data: job.DataOption = None, allow_code: AllowOption = False) -> int:
    """Write the report of a run: report.html, which opens anywhere, REPORT.md, and the figures.

    Args:
        run: A run folder whose training has ended.
    """
    from flyweight.runs import allowing
    from flyweight.runs.folder import Run

    folder = Run.open(run)
    if allow_code:
        allowing.allow(run)
    plan = job.with_data(folder.recipe(), data).data
    try:
        dataset, _ = job.load_data(plan, None)
    except FlyweightError:
        for line in folder.changed():  # a recipe that was changed may name what is not there
            say(f"flyweight: {line}")
        raise
    write_report(folder, dataset)
    return 0


def write_report(folder: Run, dataset: Dataset) -> None:
    """Write the report of a run and tell where it is."""
    from flyweight.report import report as reports

    with DataBar(err) as bar:
        page = reports.write(folder, dataset, bar, say)
    answer(str(page))
