"""The mistakes of a network on a page: each image beside its maps, and a matrix whose cells lead to their images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from flyweight.evaluation import explain, overlay
from flyweight.evaluation.scores import Evaluation, Mistake
from flyweight.report.figures.charts import WHOLE, most_confused
from flyweight.report.pages import image_uri
from flyweight.report.subject import Subject
from flyweight.text import ending, printable, short

MOST = 500
"""Mistakes on a page."""

_WORDS = 1000
"""Characters on the page about a mistake, at most."""

SIDE = 128
"""Pixels of the longer side to which an image is shrunk; a smaller one is shown as it is."""

_EXACT = 64
_AT_ONCE = 64
Pair = tuple[int, int]


@dataclass(frozen=True)
class Shown:
    """A mistake on a page.

    Attributes:
        mistake: itself.
        called: the end of its file's name, or its number.
        image: as a data URI.
        maps: (predicted, true) as data URIs: what spoke for either class; None where the network has no map.
        first: whether it is the first one of its true and its predicted class, to which their cell leads.
    """

    mistake: Mistake
    called: str
    image: str
    maps: tuple[str, str] | None
    first: bool


@dataclass(frozen=True)
class Cell:
    """Of the matrix.

    Attributes:
        count: images.
        strength: 0 to 1, of its colour.
        pair: (true, predicted).
        shown: whether an image of it is on the page.
    """

    count: int
    strength: float
    pair: Pair
    shown: bool

    @property
    def right(self) -> bool:
        """Whether its images were recognised."""
        return self.pair[0] == self.pair[1]


@dataclass(frozen=True)
class Gallery:
    """What a page shows of mistakes.

    Attributes:
        shown: mistakes, those of the most frequent confusion first, of each the most confident first.
        total: how many mistakes there are.
        exact: whether the images are shown pixel by pixel.
        true: the classes of those that are shown, as indices.
        said: what they were taken for, as indices.
        labels: of the matrix: (index, name).
        matrix: its rows, one a true class.
    """

    shown: tuple[Shown, ...]
    total: int
    exact: bool
    true: tuple[int, ...]
    said: tuple[int, ...]
    labels: tuple[tuple[int, str], ...]
    matrix: tuple[tuple[Cell, ...], ...]

    @property
    def pairs(self) -> set[Pair]:
        """Those of which an image is shown."""
        return {(one.mistake.true, one.mistake.predicted) for one in self.shown}


def gallery(subject: Subject, room: int) -> Gallery:
    """The mistakes of a run's network, as many as there is room for.

    Args:
        subject: the run.
        room: characters.
    """
    scores = subject.scores
    images, kept, size = subject.dataset.test.images, [], 0
    ordered = chosen(scores.mistakes, MOST)
    seer = explain.Explainer(subject.trained)
    for start in range(0, len(ordered), _AT_ONCE):
        part = ordered[start : start + _AT_ONCE]
        pixels = np.stack([images[mistake.index] for mistake in part])
        maps = [None] * len(part) if seer.layer is None else _maps(seer, pixels, part)
        for mistake, image, both in zip(part, pixels, maps, strict=True):
            content = _uris(image, both)
            size += sum(map(len, content)) + _WORDS
            if size <= room:
                kept.append((mistake, content))
        if size > room:
            break
    kept.sort(key=lambda one: _rank(scores, one[0]))
    seen: set[Pair] = set()
    shown = []
    for mistake, content in kept:
        pair = mistake.true, mistake.predicted
        name = scores.name(mistake)
        called = f"no. {mistake.index}" if name is None else ending(name, 60)
        maps_ = (content[1], content[2]) if len(content) == 3 else None
        shown.append(Shown(mistake, called, content[0], maps_, pair not in seen))
        seen.add(pair)
    labels, matrix = _matrix(scores, seen)
    return Gallery(
        shown=tuple(shown),
        total=len(scores.mistakes),
        exact=max(images.shape[1:3]) <= _EXACT,
        true=tuple(sorted({pair[0] for pair in seen})),
        said=tuple(sorted({pair[1] for pair in seen})),
        labels=labels,
        matrix=matrix,
    )


def chosen(mistakes: Sequence[Mistake], most: int) -> list[Mistake]:
    """At most so many: of each true and predicted class the most confident one, then of each the next, and so on.

    Args:
        mistakes: the most confident first.
        most: how many.
    """
    times: dict[Pair, int] = defaultdict(int)
    turns = []
    for mistake in mistakes:
        pair = mistake.true, mistake.predicted
        turns.append(times[pair])
        times[pair] += 1
    order = sorted(
        range(len(mistakes)), key=lambda place: (turns[place], -times[mistakes[place].true, mistakes[place].predicted])
    )
    return [mistakes[place] for place in order[:most]]


def _maps(seer: explain.Explainer, images: np.ndarray, mistakes: Sequence[Mistake]) -> list[tuple[np.ndarray, ...]]:
    said = seer(images, [mistake.predicted for mistake in mistakes])
    true = seer(images, [mistake.true for mistake in mistakes])
    return list(zip(said, true, strict=True))


def _uris(pixels: np.ndarray, maps: tuple[np.ndarray, ...] | None) -> list[str]:
    """The image, and the image under each of its maps."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("RGB")
    image.thumbnail((SIDE, SIDE))
    exact = max(pixels.shape[:2]) <= _EXACT
    covered = [overlay.laid_over(image, heat, "squash") for heat in maps or ()]
    return [image_uri(image, "PNG" if exact else "JPEG"), *(image_uri(one, "JPEG") for one in covered)]


def _rank(scores: Evaluation, mistake: Mistake) -> tuple[int, Pair, float]:
    return (
        -int(scores.confusion[mistake.true, mistake.predicted]),
        (mistake.true, mistake.predicted),
        -mistake.confidence,
    )


def _matrix(
    scores: Evaluation, shown: set[Pair], most: int = 20
) -> tuple[tuple[tuple[int, str], ...], tuple[tuple[Cell, ...], ...]]:
    """The matrix of all classes, or of those that are confused most: its labels and its rows."""
    counts = np.asarray(scores.confusion)
    classes = list(range(len(counts))) if len(counts) <= WHOLE else most_confused(scores, most)
    part = counts[np.ix_(classes, classes)] / np.maximum(counts.sum(1, keepdims=True)[classes], 1)
    worst = max(float(part[~np.eye(len(classes), dtype=bool)].max(initial=0)), 1e-9)
    rows = tuple(
        tuple(
            Cell(
                int(counts[true, said]),
                float(part[row, column]) if true == said else min(float(part[row, column]) / worst, 1.0),
                (true, said),
                (true, said) in shown,
            )
            for column, said in enumerate(classes)
        )
        for row, true in enumerate(classes)
    )
    return tuple((index, short(printable(scores.classes[index]), 24)) for index in classes), rows
