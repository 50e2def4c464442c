"""What a trained network says about images, whatever runs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from flyweight.errors import DataError, FlyweightError, RunError
from flyweight.images import decode
from flyweight.images.spec import Spec
from flyweight.inference import confidence
from flyweight.text import printable, some

Picture = decode.Source | str
"""An image to ask about; text is the path of a file."""

BATCH = 256
"""Images at once."""


@dataclass(frozen=True)
class Prediction:
    """What was said about one image.

    Attributes:
        path: of the file; None where it was none.
        classes: the likeliest, best first.
        probabilities: theirs, in 0 to 1.
        known: whether it seems to be of one of the network's classes; None where the network has no threshold.
        error: why nothing was said; the others are empty then.
        explanation: a file that shows where on the image the network looked; None: nobody asked.
    """

    path: Path | None
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    known: bool | None = None
    error: str | None = None
    explanation: Path | None = None

    def as_json(self) -> dict[str, Any]:
        """Everything in it."""
        path = {"path": None if self.path is None else str(self.path)}
        if self.error is not None:
            return path | {"error": self.error}
        ranking = [
            {"class": name, "probability": round(probability, 6)}
            for name, probability in zip(self.classes, self.probabilities, strict=True)
        ]
        known = {} if self.known is None else {"none_of_my_classes": not self.known}
        shown = {} if self.explanation is None else {"explanation": str(self.explanation)}
        return path | {"predictions": ranking} | known | shown

    def line(self, width: int) -> str:
        """One line of text, the path padded to a width."""
        ranking = ", ".join(
            f"{printable(name)} {100 * probability:.1f} %"
            for name, probability in zip(self.classes, self.probabilities, strict=True)
        )
        told = f"none of my classes ({ranking})" if self.known is False else ranking
        return f"{printable(str(self.path or 'image')):{width}}  {told}"


class Predictor:
    """A trained network that can be asked about images. Who runs it is the matter of those that inherit.

    Attributes:
        name: of the network, for people.
        spec: its classes and its images.
        temperature: what logits are divided by before they become probabilities.
        threshold: the probability of the likeliest class below which an image is none of its classes; None: never.
    """

    name: str
    spec: Spec
    temperature: float = 1.0
    threshold: float | None = None

    def logits(self, images: np.ndarray) -> np.ndarray:
        """(N, H, W, C) uint8 in the network's size to (N, classes) float32, up to a summand of each image.

        Raises:
            RunError: the network does not run, or gives something else.
        """
        raise NotImplementedError

    def told(self, what: str) -> AbstractContextManager[None]:
        """Where the network runs on something: its own errors are told as its own."""
        return nullcontext()

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """(N, H, W, C) uint8 in the network's size to (N, classes) float64, of each image with the sum 1.

        Raises:
            RunError: the network does not run, or gives no numbers.
        """
        shares = confidence.probabilities(self.logits(images), self.temperature)
        if not np.isfinite(shares).all():
            raise RunError(f"{printable(self.name)} gives numbers that are not finite: its weights are no good")
        return shares

    def predict(self, images: Picture | Sequence[Picture] | np.ndarray, top: int = 3) -> list[Prediction]:
        """What is in images: for each the likeliest classes with their probabilities, or why it cannot be read.

        Args:
            images: one or more of: paths of files, their bytes, images of Pillow's, arrays of (H, W), (H, W, C) or
                (N, H, W, C) uint8 of any size.
            top: how many classes to name, at most all.

        Raises:
            RunError: the network does not run.
            FlyweightError: `top` is less than 1.
        """
        return list(predicted(self, listed(images), top))


def listed(images: Picture | Sequence[Picture] | np.ndarray) -> list[Picture]:
    """Images one by one, of one or more; see :meth:`Predictor.predict`."""
    if isinstance(images, (str, bytes, Path, Image.Image)):
        return [images]
    if isinstance(images, np.ndarray) and images.ndim < 4:
        return [images]
    return list(images)


def predicted(
    predictor: Predictor,
    images: Sequence[Picture],
    top: int = 3,
    batch_size: int = BATCH,
    paths: Sequence[Path] | None = None,
) -> Iterator[Prediction]:
    """Say what is in each image; one that cannot be read gets an error and stops nobody.

    Args:
        predictor: the network.
        images: files, their bytes, images of Pillow's, or (H, W) or (H, W, C) uint8.
        top: how many classes to name, at most all.
        batch_size: images at once.
        paths: under which names they are told; by default those of the files.

    Yields:
        a prediction for each image, in their order.

    Raises:
        RunError: the network does not run.
        FlyweightError: `top` is less than 1.
    """
    if top < 1:
        raise FlyweightError("top must be at least 1")
    spec = predictor.spec
    for start in range(0, len(images), batch_size):
        batch = [Path(image) if isinstance(image, str) else image for image in images[start : start + batch_size]]
        own = [image if isinstance(image, Path) else None for image in batch]
        names = own if paths is None else paths[start : start + batch_size]
        shown = [f"image {start + place}" if name is None else str(name) for place, name in enumerate(names)]
        read: list[np.ndarray | DataError] = []
        for name, image in zip(shown, batch, strict=True):
            try:
                read.append(decode.read(image, spec.shape, spec.preprocessing.resize, name))
            except DataError as error:
                read.append(error)
        readable = [image for image in read if isinstance(image, np.ndarray)]
        said: Iterator[np.ndarray] = iter(())
        if readable:
            files = [name for name, image in zip(shown, read, strict=True) if isinstance(image, np.ndarray)]
            with predictor.told(f"on {some(files, 1)}"):
                said = iter(predictor.probabilities(np.stack(readable)))
        for path, found in zip(names, read, strict=True):
            if isinstance(found, DataError):
                yield Prediction(path, error=str(found))
            else:
                yield _ranked(predictor, path, next(said), top)


def _ranked(predictor: Predictor, path: Path | None, shares: np.ndarray, top: int) -> Prediction:
    order = np.argsort(-shares, kind="stable")[:top]
    known = None if predictor.threshold is None else bool(shares.max() >= predictor.threshold)
    classes = tuple(predictor.spec.classes[place] for place in order)
    return Prediction(path, classes, tuple(shares[order].tolist()), known)
