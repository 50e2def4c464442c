"""What `flyweight predict --explain` writes: of each image a PNG with the map of what spoke for its likeliest class."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from math import isqrt
from pathlib import Path

import numpy as np
from PIL import Image

from flyweight.errors import DataError, FlyweightError
from flyweight.evaluation import overlay
from flyweight.evaluation.explain import Explainer
from flyweight.files import made_folder, reason, sweep, write_bytes
from flyweight.images import decode
from flyweight.inference.predict import Prediction
from flyweight.runs.card import Trained
from flyweight.text import printable, share, short

AT_ONCE = 16
"""Maps that are computed together."""


def _names(paths: Sequence[Path]) -> list[str]:
    """A file name for each image: its number among them, so that no two are the same, and what is safe of its own."""
    digits = max(4, len(str(len(paths))))
    safe = [re.sub(r"[^\w.-]+", "_", path.stem, flags=re.ASCII).strip("._-")[:60] for path in paths]
    return [f"{number:0{digits}d}{'-' if name else ''}{name}.png" for number, name in enumerate(safe, start=1)]


@contextmanager
def into(folder: Path, force: bool) -> Iterator[None]:
    """Make the folder where the maps go: a new or empty one, or with `force` any. Where none comes, none stays.

    Raises:
        FlyweightError: it holds something already, or cannot be made.
    """
    shown = printable(str(folder))
    with ExitStack() as stack:
        try:
            stack.enter_context(made_folder(folder))
            sweep(folder, r"\d{4,}(-[\w.-]+)?\.png", age=600)
            held = any(folder.iterdir())
        except OSError as error:
            raise FlyweightError(f"--explain {shown}: {reason(error)}; name a folder") from None
        if held and not force:
            raise FlyweightError(
                f"--explain {shown} holds files already: name a new folder, or let --force replace those of the same"
                " names"
            )
        yield


class Maps:
    """Writes a map for each image that could be read.

    Args:
        trained: the network.
        folder: where they go: see :func:`into`.
        paths: of all images.

    Raises:
        FlyweightError: the network has no map.
    """

    def __init__(self, trained: Trained, folder: Path, paths: Sequence[Path]) -> None:
        self._card, self._folder, self._names = trained.card, folder, iter(_names(paths))
        self.count = 0
        self._explain = Explainer(trained)
        if self._explain.layer is None:
            raise FlyweightError(
                f"--explain: {printable(trained.card.network)} has no map of more than one place to look at"
            )
        self._waiting: list[tuple[Prediction, Path | bytes, str]] = []

    def add(self, prediction: Prediction, image: Path | bytes) -> Prediction:
        """Draw one, now or with the next ones.

        Args:
            prediction: of the image.
            image: itself; they come in the order of their paths.

        Returns:
            the prediction, which tells of the file.
        """
        name = next(self._names)
        if prediction.error is not None:
            return prediction
        self.count += 1
        self._waiting.append((prediction, image, name))
        if len(self._waiting) == AT_ONCE:
            self.end()
        return replace(prediction, explanation=self._folder / name)

    @property
    def line(self) -> str:
        """What was written, for people."""
        if not self.count:
            return "no maps, for no image could be read"
        images = "1 image" if self.count == 1 else f"{self.count:,} images"
        return f"maps of {images} in {printable(str(self._folder))}"

    def end(self) -> None:
        """Draw those that wait.

        Raises:
            RunError: a file cannot be written.
            DataError: an image has changed since it was read.
        """
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        card = self._card
        taken = np.stack([decode.read(image, card.input_shape, card.resize) for _, image, _ in waiting])
        targets = [card.classes.index(prediction.classes[0]) for prediction, _, _ in waiting]
        for (prediction, image, name), heat in zip(waiting, self._explain(taken, targets), strict=True):
            write_bytes(self._folder / name, self._drawn(prediction, image, heat))

    def _drawn(self, prediction: Prediction, image: Path | bytes, heat: np.ndarray) -> bytes:
        """A PNG file."""
        whole = _whole(image, prediction.path)
        said = f"{short(prediction.classes[0], 40)} {share(100 * prediction.probabilities[0])}"
        title = f"none of my classes (the likeliest: {said})" if prediction.known is False else said
        cropped = self._card.resize == "crop" and _cut(whole.size, heat.shape)
        spoke = "what spoke for it, little to much" if heat.any() else "nothing spoke for it"
        about = f"dark: cropped away; {spoke}" if cropped else spoke
        buffer = io.BytesIO()
        overlay.captioned(overlay.laid_over(whole, heat, self._card.resize), title, about).save(buffer, "PNG")
        return buffer.getvalue()


def _whole(image: Path | bytes, path: Path | None) -> Image.Image:
    """An image at its own size; a JPEG that is too large for that at a fraction of it.

    Raises:
        DataError: it cannot be read any more.
    """
    try:
        try:
            return decode.upright(image)
        except ValueError:
            return decode.upright(image, enough=isqrt(decode.MOST_PIXELS) // 2)
    except ValueError as error:
        raise DataError(f"--explain: {printable(str(path))}: {error}") from None


def _cut(size: tuple[int, int], taken: Sequence[int]) -> bool:
    """Whether an image has other proportions than what a network takes of it."""
    return size[0] * taken[0] != size[1] * taken[1]
