"""The run folder: the only module that knows the names of the files in it.

Every file is written whole to a temporary neighbour, flushed to disk and renamed, so that a crash or a full disk leaves
either the old file or the new one. Weights and checkpoints carry a SHA-256, because torch.load notices no flipped bit.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from flyweight import disk, files, recipes
from flyweight.errors import FlyweightError, RunError, out_of_memory
from flyweight.files import read_bytes, write_bytes, write_text
from flyweight.networks.code import gathered
from flyweight.recipes import renamed
from flyweight.recipes.sections import Recipe
from flyweight.runs import code, environment
from flyweight.runs.card import NEXT, Card, save_model
from flyweight.runs.names import CARD, WEIGHTS
from flyweight.text import one_line

_CHECKPOINT = r"epoch-\d{4,}-step-\d{6,}\.pt"
"""Names of checkpoints: another file of their folder is somebody's own, which is neither read nor deleted."""
MOST_RECORD, MOST_CHECKPOINT = 64 * 1024**2, 16 * 1024**3
"""Bytes of a history or an environment, and of a checkpoint."""
COLUMNS = frozenset({
    "epoch", "train_loss", "train_accuracy", "test_loss", "test_correct", "test_total", "test_accuracy",
    "learning_rate", "seconds",
})  # fmt: skip
"""That each row of a training's history has."""


class DamagedError(RunError):
    """All checkpoints of a run are damaged, and not merely out of reach for now."""


class Run:
    """A run folder. Attributes ending in a file's name are paths; methods read and write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.yaml"
        self.history_csv = folder / "history.csv"
        self.history_jsonl = folder / "history.jsonl"
        self.log = folder / "train.log"
        self.weights = folder / WEIGHTS
        self.card = folder / CARD
        self.environment = folder / "environment.json"
        self.evaluation = folder / "evaluation.json"
        self.mistakes = folder / "mistakes.csv"
        self.images = folder / "images"
        self.report_html = folder / "report.html"
        self.report_markdown = folder / "REPORT.md"
        self.checkpoints = folder / "checkpoints"
        self.answers = folder / "answers"

    @classmethod
    def create(cls, folder: Path | None, recipe: Recipe) -> Run:
        """Make a new run folder, write its recipe, and keep the code of a network of the user's own.

        Args:
            folder: where; none: ``runs/<name>-<date>-<time>`` in the working directory.
            recipe: as it will be run, with all overrides.

        Raises:
            FlyweightError: the folder holds something already, or cannot be made; or there is no such file.
        """
        own = gathered(recipe.model.network) if code.is_own(recipe.model) else None
        if folder is None:
            name = re.sub(r"[^\w.-]+", "_", recipe.name)
            folder = disk.new_folder(Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}")
        # what a start that was killed before there was a recipe has left
        ours = re.compile(r"\.lock|\.config\.yaml\.[a-z0-9_]{8}\.unfinished")
        if folder.exists() and (not folder.is_dir() or not all(ours.fullmatch(path.name) for path in folder.iterdir())):
            raise FlyweightError(
                f"{folder} exists and is not empty: go on with --resume {folder}, or choose another with --out"
            )
        try:
            files.make_folders(folder)
        except OSError as error:
            raise FlyweightError(
                f"cannot make the run folder {folder}: {error.strerror}; choose another: --out"
            ) from None
        run = cls(folder)
        write_text(run.config, recipes.write(recipe))
        if own is not None:
            code.keep(folder, own)
        return run

    @classmethod
    def open(cls, folder: Path) -> Run:
        """Open a run folder that exists.

        Raises:
            RunError: it is none.
        """
        run = cls(folder)
        try:
            if not (there := run.config.is_file()) and run.config.exists():
                raise RunError(f"{run.config} is not a regular file: take it from a backup")
        except OSError as error:
            raise RunError(f"cannot read {run.config}: {files.reason(error)}; make it readable") from None
        if not there:
            raise RunError(f"{folder} is not a run folder: it has no {run.config.name}; `flyweight train` makes one")
        return run

    def recipe(self) -> Recipe:
        """The recipe that the run was started with; a `RunError` where it is damaged."""
        try:
            return recipes.recorded(self.config)
        except FlyweightError as error:
            raise RunError(str(error)) from None

    def write_history(self, rows: Sequence[Mapping[str, Any]], log: Sequence[str]) -> None:
        """Write ``history.csv``, ``history.jsonl`` and ``train.log``: a row, an object and a line for each epoch."""
        table = io.StringIO()
        if rows:
            writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        write_text(self.history_csv, table.getvalue())
        write_text(self.history_jsonl, "".join(json.dumps(dict(row)) + "\n" for row in rows))
        write_text(self.log, "".join(line + "\n" for line in log))

    def history(self, needed: frozenset[str] = frozenset()) -> list[dict[str, Any]]:
        """The rows of ``history.jsonl``: numbers by their names; empty before the first epoch has ended.

        Args:
            needed: names that each row must have.

        Raises:
            RunError: it is damaged.
        """
        if not self.history_jsonl.is_file():
            return []
        rows = []
        try:
            lines = read_bytes(self.history_jsonl, MOST_RECORD).splitlines()
        except OSError as error:
            raise RunError(
                f"cannot read {self.history_jsonl}: {files.reason(error)}; --resume writes it anew"
            ) from None
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            sound = isinstance(row, dict) and all(type(value) in (int, float) for value in row.values())
            row = renamed.rows([row])[0] if sound else {}
            if not sound or not row.keys() >= needed:
                raise RunError(f"{self.history_jsonl} is damaged in line {number}; --resume writes it anew")
            rows.append(row)
        return rows

    def save_checkpoint(self, state: Mapping[str, Any], epoch: int, step: int, keep: int) -> None:
        """Write the state of a training and delete all but the newest ``keep`` checkpoints.

        Args:
            state: tensors, numbers, strings and containers of them.
            epoch: epochs done.
            step: steps done in the epoch under way.
            keep: how many to leave.

        Raises:
            RunError: it cannot be written; the checkpoints that were there stay.
        """
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        try:
            files.make_folders(self.checkpoints)
        except OSError as error:
            raise RunError(f"cannot make {self.checkpoints}: {files.reason(error)}; no checkpoint is lost") from None
        write_bytes(self.checkpoints / f"epoch-{epoch:04d}-step-{step:06d}.pt", files.sealed(buffer.getvalue()))
        for old in self._checkpoints()[:-keep]:
            with suppress(OSError):  # the next one asks for it again
                old.unlink()

    def _checkpoints(self) -> list[Path]:
        """Files of checkpoints, the oldest first: by their numbers, for past epoch 9999 the names sort otherwise.

        Raises:
            RunError: their folder cannot be read; `glob` would take it for an empty one.
        """
        try:
            there = list(self.checkpoints.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunError(f"cannot read {self.checkpoints}: {files.reason(error)}; make it readable") from None
        return sorted(
            (file for file in there if re.fullmatch(_CHECKPOINT, file.name)),
            key=lambda file: [int(number) for number in re.findall(r"\d+", file.stem)],
        )

    def _sweep(self) -> None:
        """Remove what killed trainings left, and older ones of reports and evaluations, which hold no lock."""
        ours = (self.config, self.history_csv, self.history_jsonl, self.log, self.weights, self.card, self.environment)
        files.sweep(self.folder, "|".join(map(re.escape, (NEXT, code.RECORD, *(file.name for file in ours)))))
        files.sweep(self.checkpoints, _CHECKPOINT)
        code.sweep(self.folder)
        others = (self.evaluation, self.mistakes, self.report_html, self.report_markdown)
        files.sweep(self.folder, "|".join(re.escape(file.name) for file in others), age=600)
        if not self.images.is_symlink():
            files.sweep(self.images, r"[a-z_]+\.png", age=600)

    def load_checkpoint(self) -> tuple[dict[str, Any] | None, list[str]]:
        """The newest checkpoint that is whole, and a line about each newer one that is not.

        Raises:
            DamagedError: there are checkpoints and all of them are damaged.
            RunError: none is whole, and one of them cannot be read now; it may be whole.
            MemoryError: there is too little memory to read one, or torch's error that says so.
        """
        damaged: list[str] = []
        unread = None
        newest_first = self._checkpoints()[::-1]
        for file in newest_first:
            try:
                content = files.unsealed(read_bytes(file, MOST_CHECKPOINT))
            except OSError as error:
                if out_of_memory(error):
                    raise
                # without a number it is our own refusal of what is no file; one that is gone stays so
                if unread is None and error.errno is not None and not isinstance(error, FileNotFoundError):
                    unread = f"cannot read {file}: {files.reason(error)}; it is kept, try again once it can be read"
                damaged.append(f"{file} cannot be read ({files.reason(error)}); falling back to the one before")
                continue
            if content is None:
                damaged.append(f"{file} is damaged (its SHA-256 does not fit); falling back to the one before")
                continue
            try:
                state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
                return renamed.checkpoint(state), damaged
            # of another program: torch raises what it likes
            except Exception as error:
                if out_of_memory(error):
                    raise
                damaged.append(f"{file} is no checkpoint ({one_line(error, 100)}); falling back to the one before")
        if unread is not None:
            raise RunError(unread)
        if newest_first:
            newest = damaged[0].partition("; ")[0]
            raise DamagedError(
                f"all {len(newest_first)} checkpoints in {self.checkpoints} are damaged (the newest one: {newest});"
                " start a new run"
            )
        return None, []

    def save_model(self, network: nn.Module, card: Card) -> None:
        """Write the weights and their card."""
        save_model(self.folder, network, card)

    def read_environment(self) -> dict[str, Any]:
        """What ``environment.json`` says; nothing where it is missing or damaged, for it is a record and no more."""
        return environment.read(self.environment)

    def write_environment(self, record: Mapping[str, Any], ended: bool = False) -> None:
        """Write ``environment.json``; of a training that has ended with the hashes of its recipe, history and log."""
        kept = {key: value for key, value in record.items() if key != environment.FILES}
        told = {environment.FILES: environment.hashes(self._hashed)} if ended else {}
        environment.write(self.environment, kept | told)

    def changed(self) -> list[str]:
        """A line about each of the recipe, the history, the log and their record that changed after the training."""
        return environment.changed(self.environment, self._hashed)

    @property
    def _hashed(self) -> tuple[Path, ...]:
        return self.config, self.history_csv, self.history_jsonl, self.log

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other trainings out of the folder, and remove what those that were killed left half written.

        Raises:
            RunError: another process trains in it, it cannot be written, or its checkpoints lie somewhere else.
        """

        def busy() -> None:
            raise RunError(f"{self.folder} is being trained by another process")

        with ExitStack() as held:
            try:
                held.enter_context(files.locked(self.folder / ".lock", busy))
                files.whose_or_raise(self.checkpoints)
                self._sweep()
            except OSError as error:
                raise RunError(f"cannot write the run folder {self.folder}: {files.reason(error)}") from None
            yield
