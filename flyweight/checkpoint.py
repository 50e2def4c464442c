"""The run folder: the only module that knows the names of the files in it.

Every file is written whole to a temporary neighbour, flushed to disk and renamed, so that a crash or a full disk leaves
either the old file or the new one. Weights and checkpoints carry a SHA-256, because torch.load notices no flipped bit.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError
from torch import nn

from flyweight import config, model
from flyweight.config import ModelConfig, Recipe
from flyweight.errors import FlyweightError, RunError

ZOO = Path(__file__).parent / "zoo"
WEIGHTS = "model.safetensors"
CARD = "config.json"


@dataclass(frozen=True)
class Card:
    """What must travel with weights for them to mean anything: ``config.json`` beside ``model.safetensors``.

    Attributes:
        network: a name from the table, or the reference of a user's own class.
        dropout: of the recipe; none: the network's own.
        classes: names, in the order of the logits.
        input_shape: (channels, height, width).
        mean: of each channel of the training pixels, in 0 to 1.
        std: of each channel of the training pixels, in 0 to 1.
        data: name of the data set.
        fingerprint: of the data set that the network was trained on.
        epochs: how long.
        teacher: network or run folder whose answers it learnt beside the labels; none: it was not distilled.
        sha256: of the file of weights.
    """

    network: str
    dropout: float | None
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    data: str
    fingerprint: str
    epochs: int
    teacher: str | None = None
    sha256: str = ""

    @property
    def title(self) -> str:
        """The network's name, and that it was distilled where it was."""
        return self.network if self.teacher is None else f"{self.network} (distilled from {self.teacher})"


@dataclass(frozen=True)
class Trained:
    """A network with its weights and its card, in eval mode."""

    model: nn.Module
    card: Card
    folder: Path


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

    @classmethod
    def create(cls, folder: Path | None, recipe: Recipe) -> Run:
        """Make a new run folder and write its recipe.

        Args:
            folder: where; none: ``runs/<name>-<date>-<time>`` in the working directory.
            recipe: as it will be run, with all overrides.

        Raises:
            FlyweightError: the folder holds something already, or cannot be made.
        """
        if folder is None:
            name = re.sub(r"[^\w.-]+", "_", recipe.name)
            folder = _new_folder(Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}")
        if folder.exists() and (not folder.is_dir() or any(path.name != ".lock" for path in folder.iterdir())):
            raise FlyweightError(
                f"{folder} exists and is not empty: go on with --resume {folder}, or choose another with --out"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FlyweightError(
                f"cannot make the run folder {folder}: {error.strerror}; choose another: --out"
            ) from None
        run = cls(folder)
        write_text(run.config, config.write(recipe))
        return run

    @classmethod
    def open(cls, folder: Path) -> Run:
        """Open a run folder that exists.

        Raises:
            RunError: it is none.
        """
        run = cls(folder)
        if not run.config.is_file():
            raise RunError(f"{folder} is not a run folder: it has no {run.config.name}; `flyweight train` makes one")
        return run

    def recipe(self) -> Recipe:
        """The recipe that the run was started with."""
        return config.load(self.config)

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

    def history(self) -> list[dict[str, Any]]:
        """The rows of ``history.jsonl``; empty before the first epoch has ended."""
        if not self.history_jsonl.is_file():
            return []
        rows = []
        for number, line in enumerate(self.history_jsonl.read_bytes().splitlines(), start=1):
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
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
        """
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        content = buffer.getvalue()
        self.checkpoints.mkdir(exist_ok=True)
        write_bytes(
            self.checkpoints / f"epoch-{epoch:04d}-step-{step:06d}.pt", content + hashlib.sha256(content).digest()
        )
        for old in self._checkpoints()[:-keep]:
            old.unlink()

    def _checkpoints(self) -> list[Path]:
        """Files of checkpoints, the oldest first: by their numbers, for past epoch 9999 the names sort otherwise."""
        return sorted(
            self.checkpoints.glob("*.pt"), key=lambda file: [int(number) for number in re.findall(r"\d+", file.stem)]
        )

    def load_checkpoint(self) -> tuple[dict[str, Any] | None, list[str]]:
        """The newest checkpoint that is whole, and a line about each newer one that is not.

        Raises:
            RunError: there are checkpoints and all of them are damaged.
        """
        damaged: list[str] = []
        files = self._checkpoints()[::-1]
        for file in files:
            raw = file.read_bytes()
            content, digest = raw[:-32], raw[-32:]
            if hashlib.sha256(content).digest() == digest:
                return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True), damaged
            damaged.append(f"{file} is damaged (its SHA-256 does not fit); falling back to the one before")
        if files:
            raise RunError(f"all {len(files)} checkpoints in {self.checkpoints} are damaged; start a new run")
        return None, []

    def save_model(self, network: nn.Module, card: Card) -> None:
        """Write the weights and their card."""
        save_model(self.folder, network, card)

    def read_environment(self) -> dict[str, Any]:
        """What ``environment.json`` says; nothing where it is missing or damaged, for it is a record and no more."""
        try:
            content = json.loads(self.environment.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other trainings out of the folder.

        Raises:
            RunError: another process trains in it.
        """
        try:
            with FileLock(self.folder / ".lock", timeout=0):
                yield
        except Timeout:
            raise RunError(f"{self.folder} is being trained by another process") from None

    def write_json(self, file: Path, content: Any) -> None:
        """Write one of the JSON files."""
        write_text(file, json.dumps(content, indent=2) + "\n")


def save_model(folder: Path, network: nn.Module, card: Card) -> None:
    """Write ``model.safetensors`` and ``config.json`` into a folder."""
    # copies, for safetensors refuses tensors that share memory, as those of a layer that is used twice do
    content = safetensors.torch.save(
        {key: value.cpu().contiguous().clone() for key, value in network.state_dict().items()}
    )
    write_bytes(folder / WEIGHTS, content)
    fields = {**asdict(card), "sha256": hashlib.sha256(content).hexdigest()}
    write_text(folder / CARD, json.dumps(fields, indent=2) + "\n")


def find_trained(name: str) -> Path:
    """The folder of a trained network: one that ships with the package, or a run folder.

    Raises:
        RunError: there is neither.
    """
    shipped = sorted(path.parent.name for path in ZOO.glob(f"*/{WEIGHTS}"))
    if name in shipped:
        return ZOO / name
    folder = Path(name)
    if (folder / WEIGHTS).is_file():
        return folder
    if (folder / "config.yaml").is_file():
        raise RunError(
            f"{name} has no weights yet: its training has not ended; go on with: flyweight train --resume {name}"
        )
    if name in model.NETWORKS:
        raise RunError(f"no weights of {name} are shipped; train it: flyweight train {name}")
    raise RunError(
        f"{name!r} is neither a run folder nor a shipped network{config.suggestion(name, shipped)}"
        f" (shipped: {', '.join(shipped) or 'none'})"
    )


def load_trained(folder: Path) -> Trained:
    """Load a network with its weights.

    Raises:
        RunError: a file is missing or damaged, or the weights do not fit the network.
    """
    try:
        card = TypeAdapter(Card).validate_json((folder / CARD).read_bytes())
        content = (folder / WEIGHTS).read_bytes()
    except OSError as error:
        raise RunError(f"{folder}: cannot read {Path(error.filename).name}: {error.strerror}") from None
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise RunError(f"{folder / CARD} is damaged: {where or 'the file'}: {problem['msg']}") from None
    channels = card.input_shape[0]
    if min(card.input_shape) < 1 or len(card.mean) != channels or len(card.std) != channels or min(card.std) <= 0:
        raise RunError(
            f"{folder / CARD} is damaged: input_shape must be three sizes of 1 or more, mean and std {channels} numbers"
            " each, std above 0"
        )
    if hashlib.sha256(content).hexdigest() != card.sha256:
        raise RunError(f"{folder / WEIGHTS} is damaged or of another run: its SHA-256 is not the one in {CARD}")
    try:
        described = config.parse(ModelConfig, {"network": card.network, "dropout": card.dropout}, "the network's card")
        network = model.build(described, len(card.classes))
    except FlyweightError as error:
        raise RunError(f"{folder / CARD}: {error}") from None
    try:
        network.load_state_dict(safetensors.torch.load(content))
    except (RuntimeError, safetensors.SafetensorError) as error:
        first = str(error).strip().splitlines()[-1].strip()
        raise RunError(f"{folder / WEIGHTS} does not fit the network {card.network}: {first}") from None
    return Trained(network.eval(), card, folder)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: temporary neighbour, flush to disk, rename, flush the folder.

    Raises:
        RunError: the disk is full or the folder cannot be written; what was there before is untouched.
    """
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise RunError(f"cannot write {path}: {error.strerror}; the file that was there before is unchanged") from None
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _umask() -> int:
    # it can only be read by setting it
    current = os.umask(0)
    os.umask(current)
    return current


def _new_folder(folder: Path) -> Path:
    """Make the folder, or one beside it with a number where it exists: two starts in one second share none."""
    for number in itertools.count(1):
        candidate = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        try:
            candidate.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError:  # Run.create says why
            pass
        return candidate
    raise AssertionError("count() has no end")
