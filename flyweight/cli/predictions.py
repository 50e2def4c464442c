"""How predictions are told: as text, as a table of comma-separated values, as JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from flyweight import files
from flyweight.cli.console import answer, answer_json
from flyweight.errors import FlyweightError
from flyweight.inference.predict import Prediction, Predictor
from flyweight.text import cell

STDOUT = "-"
_HEAD = "path,class,probability"


class Text:
    """One line an image, as it comes; what could not be read is said elsewhere.

    Args:
        paths: of all images.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._width = min(60, max(len(str(path)) for path in paths))

    def add(self, prediction: Prediction) -> None:
        """Tell one."""
        if prediction.error is None:
            answer(prediction.line(self._width))

    def end(self) -> None:
        """Nothing is left."""


class Json:
    """One object for all of them."""

    def __init__(self) -> None:
        self._told: list[dict[str, object]] = []

    def add(self, prediction: Prediction) -> None:
        """Keep one."""
        self._told.append(prediction.as_json())

    def end(self) -> None:
        """Tell them."""
        answer_json(self._told)


class Table:
    """A row an image: path, class, probability, the next classes with theirs, and an error where there is one.

    Args:
        to: a file, or ``-`` for standard output.
        predictor: who is asked.
        top: how many classes are named.
    """

    def __init__(self, to: str, predictor: Predictor, top: int) -> None:
        self._to = None if to == STDOUT else Path(to)
        self._top = min(top, len(predictor.spec.classes))
        self._known = predictor.threshold is not None
        head = ["path", "class", "probability"]
        for place in range(2, self._top + 1):
            head += [f"class_{place}", f"probability_{place}"]
        self._rows = io.StringIO()
        self._write([*head, *(["none_of_my_classes"] if self._known else []), "error"])

    def add(self, prediction: Prediction) -> None:
        """Add one."""
        row = [cell(str(prediction.path))]
        for name, probability in zip(prediction.classes, prediction.probabilities, strict=True):
            row += [cell(name), f"{probability:.6f}"]
        row += [""] * (1 + 2 * self._top - len(row))
        row += [{True: "no", False: "yes", None: ""}[prediction.known]] if self._known else []
        self._write([*row, cell(prediction.error or "")])

    def end(self) -> None:
        """Write the file, whole or not at all.

        Raises:
            RunError: it cannot be written.
        """
        if self._to is not None:
            files.write_text(self._to, self._rows.getvalue())
            answer(str(self._to))

    def _write(self, row: Sequence[str]) -> None:
        csv.writer(self._rows, lineterminator="\n").writerow(row)
        if self._to is None:
            answer(self._rows.getvalue())
            self._rows = io.StringIO()


Told = Text | Json | Table


def teller(csv: str | None, as_json: bool, predictor: Predictor, paths: Sequence[Path], top: int) -> Told:
    """Who tells predictions, as the options say.

    Args:
        csv: of ``--csv``, see :class:`Table`; None: no table.
        as_json: of ``--json``.
        predictor: who is asked.
        paths: of all images.
        top: how many classes are named.
    """
    if csv is not None:
        return Table(csv, predictor, top)
    return Json() if as_json else Text(paths)


def table_or_raise(to: str | None, as_json: bool) -> None:
    """Refuse a table that could take the place of a user's file.

    Args:
        to: of ``--csv``; None: there is to be no table.
        as_json: of ``--json``.

    Raises:
        FlyweightError: it is no table, cannot be there, or JSON is wanted as well.
    """
    if to is None:
        return
    if as_json:
        raise FlyweightError("--csv and --json: choose one")
    path = Path(to)
    if to == STDOUT:
        return
    if path.suffix.lower() != ".csv":
        raise FlyweightError(f"--csv {to}: its name must end in .csv, or be - for standard output")
    if not path.resolve().parent.is_dir():
        raise FlyweightError(f"--csv {to}: there is no folder {path.parent}: make it, or name another place")
    if path.exists():
        ours = path.is_file() and path.read_bytes()[: len(_HEAD)] == _HEAD.encode()
        if not ours:
            raise FlyweightError(
                f"--csv {to}: there is such a file already, and it is no table of predictions: name another place"
            )
