"""What is exported, and what every format needs to know of it."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from flyweight import analysis
from flyweight.data.dataset import Dataset
from flyweight.errors import FlyweightError
from flyweight.evaluation import evaluate
from flyweight.evaluation.scores import Evaluation
from flyweight.export import around, gate, graph
from flyweight.export.session import BATCH, Session
from flyweight.files import write_bytes
from flyweight.images.preprocess import normalize
from flyweight.inference import confidence
from flyweight.inference.classifier import Classifier
from flyweight.networks.builtin import NETWORKS
from flyweight.networks.modes import evaluating
from flyweight.runs.card import Trained
from flyweight.text import one_line

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Artefact:
    """One file that was written.

    Attributes:
        file: below the export's folder.
        bytes: how many.
        sha256: of them.
        takes: its input, for people; none: it is no graph.
        gives: its output, for people.
        agreement: with PyTorch, on all test images.
        note: what else must be known of it.
        sizes: in bytes, what a program is made of: arena, constants, code.
    """

    file: str
    bytes: int
    sha256: str
    takes: str | None = None
    gives: str | None = None
    agreement: gate.Agreement | None = None
    note: str | None = None
    sizes: Mapping[str, int] | None = None

    def as_json(self) -> dict[str, Any]:
        """Everything in it that is there."""
        told = {"file": self.file, "bytes": self.bytes, "sha256": self.sha256, "takes": self.takes, "gives": self.gives}
        told |= {"agreement": None if self.agreement is None else self.agreement.as_json(), "note": self.note}
        told |= {"sizes": None if self.sizes is None else dict(self.sizes)}
        return {key: value for key, value in told.items() if value is not None}

    def line(self) -> str:
        """For people."""
        about = [self.agreement.line() if self.agreement else "", self.note or ""]
        return f"{self.file}  {self.bytes:,} bytes" + "".join(f"; {part}" for part in about if part)


@dataclass(frozen=True)
class Made:
    """A graph that passed the gate.

    Attributes:
        content: of the ONNX file.
        agreement: with PyTorch, on all test images.
        note: what else must be known of it.
    """

    content: bytes
    agreement: gate.Agreement
    note: str | None = None


class Subject:
    """A trained network with its test images, and what PyTorch says of them.

    Args:
        trained: the network with its card.
        dataset: whose test images an export is checked on, and whose training images calibrate it.
        licence: of the weights, as the Hugging Face hub writes it.

    Raises:
        FlyweightError: the images are not such as the network takes, or it does not give one finite number a class.
    """

    def __init__(self, trained: Trained, dataset: Dataset, licence: str = "unknown") -> None:
        evaluate.fit_or_raise(trained, dataset)
        self.trained, self.dataset, self.card, self.licence = trained, dataset, trained.card, licence
        self.labels = np.asarray(dataset.test.labels)
        with evaluating(trained.model), torch.inference_mode():
            # the network itself, and not our inference: what is folded there is folded in the graph as well
            parts = [trained.model(self._tensor(start, start + BATCH)) for start in range(0, len(self.labels), BATCH)]
        said = torch.cat(parts).float().cpu()
        self.scores: Evaluation = evaluate.scored(trained, dataset, said)
        self.logits = said.numpy()
        self.probabilities = confidence.probabilities(self.logits, self.card.temperature).astype(np.float32)
        self._kept: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """Of the network."""
        return around.network(self.card)

    @property
    def own_class(self) -> bool:
        """Whether the network is a class of the user's own, whose file is in no export."""
        return self.card.table is None and self.card.network not in NETWORKS

    @cached_property
    def facts(self) -> analysis.Facts | None:
        """Of the network; None where it cannot be watched."""
        try:
            return analysis.analyze(self.trained.model, self.card.input_shape)
        except FlyweightError:
            return None

    @cached_property
    def _graph(self) -> onnx.ModelProto:
        card = self.card
        with evaluating(self.trained.model):
            folded = Classifier(self.trained.model, card.input_shape, card.mean, card.std).network
            if folded is not self.trained.model:
                # of channels-last maps torch takes the mean by a detour that a graph would have to go, too
                folded = folded.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
            model = graph.build(folded, card.input_shape, self.name)
        around.say(model, around.told(card))
        return model

    def model(self) -> onnx.ModelProto:
        """The network as a graph from ``pixel_values`` to ``logits``: a copy, which may be changed.

        Raises:
            FlyweightError: ONNX cannot hold it.
        """
        return copy.deepcopy(self._graph)

    def once(self, key: str, make: Any) -> Any:
        """What two formats share is made once; an error that it ended with is raised again."""
        if key not in self._kept:
            try:
                self._kept[key] = make()
            except FlyweightError as error:
                self._kept[key] = error
        if isinstance(self._kept[key], FlyweightError):
            raise self._kept[key]
        return self._kept[key]

    def pixels(self, start: int, end: int) -> np.ndarray:
        """Test images as they are, (n, H, W, C) uint8."""
        return np.asarray(self.dataset.test.images[start:end])

    def shares(self, start: int, end: int) -> np.ndarray:
        """Test images in 0 to 1, (n, C, H, W) float32."""
        return np.ascontiguousarray((self.pixels(start, end) / np.float32(255)).transpose(0, 3, 1, 2), np.float32)

    def inputs(self, start: int, end: int) -> np.ndarray:
        """Test images normalised, (n, C, H, W) float32."""
        return np.ascontiguousarray(self._tensor(start, end).numpy())

    def _tensor(self, start: int, end: int) -> torch.Tensor:
        images = torch.from_numpy(np.array(self.dataset.test.images[start:end]))
        return normalize(images, self.card.mean, self.card.std)

    def checked(self, model: onnx.ModelProto, file: str, inputs: Any, expected: np.ndarray) -> gate.Agreement:
        """What a float graph agrees on with PyTorch, on all test images.

        Args:
            model: the graph.
            file: its name, for messages.
            inputs: what it takes for images from one place up to another.
            expected: (N, classes) that PyTorch gives.

        Raises:
            FlyweightError: it is no valid ONNX, or onnxruntime cannot run it.
            GateError: it says something else.
        """
        valid_or_raise(model, file)
        said = Session(model.SerializeToString(), file)(len(self.labels), inputs)
        return gate.equal_or_raise(file, said, expected, self.labels)


def valid_or_raise(model: onnx.ModelProto, file: str) -> None:
    """Go on only with what ONNX's own checker passes.

    Raises:
        FlyweightError: it does not.
    """
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise FlyweightError(f"{file} would be no valid ONNX: {one_line(error)}") from error


def saved(folder: Path, file: str, content: bytes, **about: Any) -> Artefact:
    """Write one file of an export; folders on its way are made."""
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content)
    return Artefact(file, len(content), hashlib.sha256(content).hexdigest(), **about)
