"""What a trained network says about image files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from flyweight.errors import DataError, RunError
from flyweight.images import decode
from flyweight.inference.classifier import Classifier
from flyweight.networks.custom import blamed
from flyweight.runs.card import Trained
from flyweight.text import printable, some


@dataclass(frozen=True)
class Prediction:
    """What was said about one file.

    Attributes:
        path: the file.
        classes: the likeliest, best first.
        probabilities: theirs, in 0 to 1.
        error: why nothing was said; the other two are empty then.
    """

    path: Path
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Everything in it."""
        if self.error is not None:
            return {"path": str(self.path), "error": self.error}
        ranking = [
            {"class": name, "probability": round(probability, 6)}
            for name, probability in zip(self.classes, self.probabilities, strict=True)
        ]
        return {"path": str(self.path), "predictions": ranking}

    def line(self, width: int) -> str:
        """One line of text, the path padded to a width."""
        ranking = [
            f"{printable(name)} {100 * probability:.1f} %"
            for name, probability in zip(self.classes, self.probabilities, strict=True)
        ]
        return f"{printable(str(self.path)):{width}}  {', '.join(ranking)}"


def predict(
    trained: Trained, paths: Sequence[Path], top: int = 3, fast: bool = False, batch_size: int = 256
) -> Iterator[Prediction]:
    """Say what is in each file; one that cannot be read gets an error and stops nobody.

    Args:
        trained: the network with its card.
        paths: image files.
        top: how many classes to name, at most all.
        fast: bfloat16 for large batches; then an image's probabilities depend a little on how many others there are.
        batch_size: images at once.

    Yields:
        a prediction for each file, in their order.

    Raises:
        RunError: what the network says is not finite.
    """
    card = trained.card
    precision: Literal["auto", "float32"] = "auto" if fast else "float32"
    with blamed(card.model, "when it was tried", "mend it"):
        classify = Classifier(trained.model, card.input_shape, card.mean, card.std, precision)
    for start in range(0, len(paths), batch_size):
        batch = paths[start : start + batch_size]
        read: dict[Path, np.ndarray] = {}
        errors: dict[Path, str] = {}
        for path in batch:
            try:
                read[path] = decode.read(path, card.input_shape, card.resize)
            except DataError as error:
                errors[path] = str(error)
        said = {}
        if read:
            with blamed(card.model, f"on {some([str(path) for path in read], 1)}", "mend it"):
                logits = classify(np.stack(list(read.values())))
            _refuse_infinite(trained, list(read), logits)
            shares = torch.softmax(logits, dim=1)
            best, places = shares.topk(min(top, len(card.classes)))
            said = dict(zip(read, zip(best.tolist(), places.tolist(), strict=True), strict=True))
        for path in batch:
            if path in errors:
                yield Prediction(path, error=errors[path])
            else:
                probabilities, order = said[path]
                yield Prediction(path, tuple(card.classes[place] for place in order), tuple(probabilities))


def _refuse_infinite(trained: Trained, paths: Sequence[Path], logits: torch.Tensor) -> None:
    broken = [str(path) for path, whole in zip(paths, logits.isfinite().all(1).tolist(), strict=True) if not whole]
    if broken:
        raise RunError(
            f"{trained.folder}: the network's output is not finite for {some(broken, 1)}: its weights are of a training"
            " that failed; train again with a lower train.learning_rate"
        )
