"""`flyweight data`: what is in a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flyweight.cli import job
from flyweight.cli.console import DataBar, answer, answer_json, err, say
from flyweight.cli.options import JsonOption, command
from flyweight.errors import FlyweightError

if TYPE_CHECKING:
    from flyweight.recipes.sections import DataConfig

MARK = b"flyweight data</title>"
"""In the head of each page that `--page` writes."""

app = command(
    "data",
    "data photos/",
    "data photos/ --page photos.html",
    "data photos/ --set data.size=96 --json",
    "data cifar10",
)


@app.default
def data(
    path: str,
    /,
    *,
    page: Annotated[
        Path | None, Parameter(help="Also write a page with images, such as scan.html; by default none is written.")
    ] = None,
    verify: Annotated[
        bool, Parameter(negative="", help="Read all files again, even if their sizes and times have not changed.")
    ] = False,
    changes: Annotated[
        tuple[str, ...],
        Parameter(name="--set", negative="", help="Change how images are read: --set data.size=96. May be repeated."),
    ] = (),
    as_json: JsonOption = False,
) -> int:
    """Look through a data set: classes, sizes, unreadable files, images that are there twice or in two splits.

    No file of the set is changed. Exit code 3 when it cannot be read.

    Args:
        path: A folder of images, or what else --data takes.
    """
    from flyweight import data as datasets
    from flyweight.data import findings
    from flyweight.data.scan import scan

    config = _config(path, changes)
    if page is not None:
        _check(page, config.path)
    with DataBar(err) as bar:
        dataset = datasets.load(config.name, config.path, progress=bar, config=config, verify=verify)
        found = scan(dataset, bar)
    if page is not None:
        from flyweight.report import scanned

        scanned.write(found, dataset, page)
        say(f"page {page}")
    if as_json:
        answer_json(findings.as_json(found))
    else:
        answer(findings.render(found))
    return 0


def _config(path: str, changes: tuple[str, ...]) -> DataConfig:
    """Which data, and how it is read."""
    from flyweight import recipes

    for change in changes:
        if not change.startswith("data."):
            raise FlyweightError(f"--set {change}: only keys of data count here, such as data.size=96")
    config = job.with_data(recipes.load(recipes.FOR_IMAGES, changes), path).data
    if config.hold_out or config.train_images is not None or config.test_images is not None:
        raise FlyweightError("the whole set is looked through: leave out data.hold_out, train_images and test_images")
    return config


def _check(page: Path, data: Path | None) -> None:
    """Refuse a page that could take the place of a user's file.

    Raises:
        FlyweightError: it is no page, or lies in the data set.
    """
    if page.suffix.lower() not in (".html", ".htm"):
        raise FlyweightError(f"--page {page}: its name must end in .html")
    if data is not None and page.resolve().is_relative_to(data.expanduser().resolve()):
        raise FlyweightError(f"--page {page} lies in the data set, where nothing is written: name another place")
    if page.exists() and not (page.is_file() and MARK in page.read_bytes()[:1000]):
        raise FlyweightError(
            f"--page {page}: there is such a file already, and it is no page of flyweight's: name another place"
        )
    if not page.resolve().parent.is_dir():
        raise FlyweightError(f"--page {page}: there is no folder {page.parent}: make it, or name another place")
