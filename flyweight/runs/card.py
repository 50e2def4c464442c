"""What travels with weights, and the trained networks that are found by name."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from flyweight import schema
from flyweight.errors import FlyweightError, RunError
from flyweight.files import read_bytes, reason, settle, write_bytes, write_text
from flyweight.images.decode import MOST_PIXELS
from flyweight.images.spec import Preprocessing, Resize, Spec
from flyweight.networks import builtin
from flyweight.networks.build import build
from flyweight.networks.code import shown
from flyweight.networks.custom import unheard
from flyweight.recipes.network import Network
from flyweight.recipes.sections import ModelConfig
from flyweight.runs import code
from flyweight.runs.fitting import former, misfit, sound_or_raise
from flyweight.runs.names import CARD, EXPORT_RECORD, WEIGHTS
from flyweight.text import one_line, short

ZOO = Path(__file__).parents[1] / "zoo"
NEXT = f".{WEIGHTS}.next"
"""The weights while their card takes the place of another one's."""
MOST_CARD, MOST_WEIGHTS = 16 * 1024**2, 4 * 1024**3
"""Bytes of the two files."""


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
        table: rows of a network of the recipe's own; none: a built-in one or a class of the user's.
        resize: what becomes of images of other proportions.
        start: network or run folder whose weights it began with; none: with fresh ones.
        temperature: probabilities are ``softmax(logits / temperature)``; 1: those of the network as it is.
        threshold: where the highest of these probabilities, in 0 to 1, is below it, the image is of none of the
            classes; none: it was not calibrated, and every image gets a class.
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
    table: Network | None = None
    resize: Resize = "crop"
    start: str | None = None
    temperature: float = 1.0
    threshold: float | None = None

    @property
    def spec(self) -> Spec:
        """Classes and images that the network was trained on."""
        return Spec(self.classes, *self.input_shape, Preprocessing(self.mean, self.std, self.resize))

    @property
    def model(self) -> ModelConfig:
        """The network as a recipe describes it."""
        return ModelConfig(network=self.network, dropout=self.dropout, table=self.table)

    @property
    def title(self) -> str:
        """The network's name, and what it was distilled from or begun with where it was."""
        told = [("begun with", self.start), ("distilled from", self.teacher)]
        origins = [f"{how} {which}" for how, which in told if which is not None]
        return f"{self.network} ({', '.join(origins)})" if origins else self.network


@dataclass(frozen=True)
class Trained:
    """A network with its weights and its card, in eval mode."""

    model: nn.Module
    card: Card
    folder: Path


def save_model(folder: Path, network: nn.Module, card: Card) -> None:
    """Write ``model.safetensors`` and ``config.json`` into a folder: whoever reads finds the old ones or the new ones.

    Raises:
        RunError: they cannot be written; or nobody knows whether they will stay.
    """
    # copies, for safetensors refuses tensors that share memory, as those of a layer that is used twice do
    content = safetensors.torch.save(
        {key: value.cpu().contiguous().clone() for key, value in network.state_dict().items()}
    )
    card = replace(card, sha256=hashlib.sha256(content).hexdigest())
    # whoever finds other weights beside the new card reads these; the old ones stay until that card is there
    write_bytes(folder / NEXT, content)
    try:
        save_card(folder, card)
        (folder / NEXT).replace(folder / WEIGHTS)
    except OSError as error:
        raise RunError(f"cannot write {folder / WEIGHTS}: {reason(error)}; start again") from None
    except RunError:
        with suppress(OSError):
            if not (folder / CARD).exists() or card.sha256.encode() not in (folder / CARD).read_bytes():
                (folder / NEXT).unlink()
        raise
    settle(folder / WEIGHTS)


def save_card(folder: Path, card: Card) -> None:
    """Write ``config.json`` alone, beside weights that stay as they are."""
    rows = None if card.table is None else card.table.model_dump(mode="json")
    content = {**asdict(replace(card, table=None)), "table": rows}
    write_text(folder / CARD, json.dumps({**content, "checksum": _checksum(content)}, indent=2) + "\n")


def _checksum(content: dict[str, Any]) -> str:
    """SHA-256 of what is a card's in the file: an export says more there, for others."""
    own = {field.name: content[field.name] for field in fields(Card) if field.name in content}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()


def ships(folder: Path) -> bool:
    """Whether it is the folder of a network that comes with the package."""
    return folder.is_dir() and folder.resolve().parent == ZOO.resolve()


def find_trained(name: str) -> Path:
    """The folder of a trained network: one that ships with the package, or a run folder.

    Raises:
        RunError: there is neither.
    """
    shipped = sorted(path.parent.name for path in ZOO.glob(f"*/{WEIGHTS}"))
    if name in shipped:
        return ZOO / name
    folder = Path(name)
    if schema.is_file(folder / WEIGHTS):
        return folder
    if schema.is_file(folder / "config.yaml"):
        if (folder / WEIGHTS).exists():
            raise RunError(f"{folder / WEIGHTS} is not a regular file: take it from a backup")
        raise RunError(
            f"{name} has no weights yet: its training has not ended; go on with: flyweight train --resume {name}"
        )
    if schema.is_file(folder / EXPORT_RECORD):
        raise RunError(f"{name} holds exports, and no network comes back from one: name the one that it was made of")
    if name in builtin.NETWORKS:
        raise RunError(f"no weights of {name} are shipped; train it: flyweight train {name}")
    raise RunError(
        f"{short(name, 200)!r} is neither a run folder nor a shipped network{schema.suggestion(name, shipped)}"
        f" (shipped: {', '.join(shipped) or 'none'})"
    )


def read_card(folder: Path) -> Card:
    """The card in a folder.

    Raises:
        RunError: it is missing or damaged.
    """
    try:
        raw = read_bytes(folder / CARD, MOST_CARD)
        card = TypeAdapter(Card).validate_json(raw)
    except OSError as error:
        raise RunError(f"{folder}: cannot read {CARD}: {reason(error)}; take it from a backup") from None
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        said = f"{where or 'the file'}: {problem['msg']}"
        raise RunError(f"{folder / CARD} is damaged: {said}; take it from a backup") from None
    content = json.loads(raw)
    # cards of earlier versions have none
    if "checksum" in content and content["checksum"] != _checksum(content):
        raise RunError(f"{folder / CARD} is damaged: its SHA-256 is not the one in checksum; take it from a backup")
    channels = card.input_shape[0]
    if not card.classes:
        raise RunError(f"{folder / CARD} is damaged: classes: there are none; take it from a backup")
    numbers = all(len(values) == channels and all(map(math.isfinite, values)) for values in (card.mean, card.std))
    if min(card.input_shape) < 1 or math.prod(card.input_shape) > MOST_PIXELS or not numbers or min(card.std) <= 0:
        raise RunError(
            f"{folder / CARD} is damaged: input_shape must be three sizes of 1 or more, mean and std"
            f" {short(str(channels), 20)} numbers each, std above 0"
        )
    if not 0 < card.temperature < math.inf or not 0 <= (card.threshold or 0) <= 1:
        raise RunError(f"{folder / CARD} is damaged: temperature must be above 0, threshold 0 to 1 or null")
    return card


def load_weights(folder: Path) -> tuple[Card, dict[str, Tensor]]:
    """A card, and the weights beside it by their names.

    Raises:
        RunError: a file is missing or damaged.
    """
    card = read_card(folder)
    try:
        content = read_bytes(folder / WEIGHTS, MOST_WEIGHTS)
        if not _is_of(content, card) and (folder / NEXT).exists():
            content = read_bytes(folder / NEXT, MOST_WEIGHTS)
    except OSError as error:
        raise RunError(f"{folder}: cannot read {WEIGHTS}: {reason(error)}; take it from a backup") from None
    if not _is_of(content, card):
        raise RunError(
            f"{folder / WEIGHTS} is damaged or of another run: its SHA-256 is not the one in {CARD}; take both from a"
            " backup"
        )
    try:
        return card, safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise RunError(f"{folder / WEIGHTS} is damaged: {one_line(error)}; take it from a backup") from None


def _is_of(content: bytes, card: Card) -> bool:
    return hashlib.sha256(content).hexdigest() == card.sha256


def load_trained(folder: Path, tell: Callable[[str], None] = unheard) -> Trained:
    """Load a network with its weights. A user's own is built by the copy of its code that the run keeps.

    Args:
        folder: of the weights.
        tell: called with a line where the file that the copy was made of has changed since.

    Raises:
        RunError: a file is missing or damaged, the weights do not fit the network or are not finite, or its code
            is not allowed.
    """
    card, weights = load_weights(folder)
    try:
        described = schema.parse(
            ModelConfig, {"network": card.network, "dropout": card.dropout, "table": card.table}, "the network's card"
        )
        then = former(described, card.spec, weights)
        if then is not None:
            described, card = then, replace(card, network=then.network, table=then.table)
        wrong = misfit(described, card.spec, weights)
        if wrong is not None:
            raise RunError(f"{folder / WEIGHTS} does not fit the network {card.network}: {wrong}")
        network = build(code.runnable(folder, described, tell), card.spec)
    except RunError:
        raise
    except FlyweightError as error:
        raise RunError(f"{folder / CARD}: {shown(str(error))}") from None
    try:
        sound_or_raise(network, weights, folder / WEIGHTS)
        network.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).strip().splitlines()[-1].strip()
        raise RunError(f"{folder / WEIGHTS} does not fit the network {card.network}: {first}") from None
    return Trained(network.eval(), card, folder)
