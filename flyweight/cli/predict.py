"""`flyweight predict`: what is in images."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from cyclopts import Parameter

from flyweight.cli.console import say
from flyweight.cli.options import AllowOption, JsonOption, command
from flyweight.errors import DataError, FlyweightError
from flyweight.inference.predict import Prediction, predicted

if TYPE_CHECKING:
    from flyweight.cli import predictions
    from flyweight.cli.explaining import Maps
    from flyweight.inference.predict import Predictor

app = command(
    "predict",
    "predict sprint2 cat.png",
    "predict runs/mine photos/ --top 1 --csv photos.csv",
    "predict dilated cat.png --explain maps/  # where it looked",
    "predict exported/model_int8.onnx - < cat.png  # an export needs no PyTorch",
)

STDIN = Path("-")
MOST_STDIN = 256 * 1024**2
"""Bytes of an image that comes by standard input."""


@app.default
def predict(
    network: str,
    /,
    *files: Annotated[Path, Parameter(required=True, allow_leading_hyphen=True)],
    top: Annotated[int, Parameter(help="How many classes to name for each image.")] = 3,
    csv: Annotated[
        str | None,
        Parameter(
            allow_leading_hyphen=True,
            help="Write a table, a row an image, into this file; - for standard output. By default none. What cannot"
            " be read has a row too, with the reason; of --json an object.",
        ),
    ] = None,
    explain: Annotated[
        Path | None,
        Parameter(
            help="Write into this folder, of each image, a PNG with the map of what spoke for its class over it."
        ),
    ] = None,
    force: Annotated[
        bool,
        Parameter(negative="", help="With --explain: into a folder that holds files, replacing what has its names."),
    ] = False,
    fast: Annotated[
        bool, Parameter(negative="", help="Twice the speed for many images: bfloat16, less exact.")
    ] = False,
    allow_code: AllowOption = False,
    as_json: JsonOption = False,
) -> int:
    """Say what is in images, or in all images of folders: the likeliest classes with their probabilities.

    Exit code 3 when an image cannot be read; the others are told all the same.

    Args:
        network: A network that ships with its weights, a run folder, or an exported folder or .onnx file of one.
        files: Images, or folders of them; - for one image from standard input.
    """
    from flyweight.cli import predictions
    from flyweight.inference.opening import opened

    if top < 1:
        raise FlyweightError("--top must be at least 1")
    if force and explain is None:
        raise FlyweightError("--force goes with --explain FOLDER")
    predictions.table_or_raise(csv, as_json)
    asked = _gathered(files)
    if csv is None and not as_json and all(one.error is not None for one in asked):
        return 3  # all is told
    with redirect_stdout(sys.stderr):  # a network of the user's may print
        predictor = opened(network, fast, allow_code, say)
    with nullcontext() if explain is None else _maps(predictor, explain, asked, force) as maps:
        told = predictions.teller(csv, as_json, predictor, [one.path for one in asked], top)
        return _tell(_answers(predictor, asked, top), told, maps)


class _Asked(NamedTuple):
    """An image or a place that was asked for; of one that cannot be looked at why, which has been told."""

    path: Path
    error: str | None = None


def _answers(predictor: Predictor, asked: Sequence[_Asked], top: int) -> Iterator[tuple[Prediction, Path | bytes]]:
    """What is said of each, and the image."""
    paths = [one.path for one in asked if one.error is None]
    images = [_standard_input() if path == STDIN else path for path in paths]
    there = zip(predicted(predictor, images, top, paths=paths), images, strict=True)
    for one in asked:
        if one.error is not None:
            yield Prediction(one.path, error=one.error), b""
            continue
        prediction, image = next(there)
        if prediction.error is not None:
            say(f"flyweight: {prediction.error}")
        yield prediction, image


def _tell(answers: Iterable[tuple[Prediction, Path | bytes]], told: predictions.Told, maps: Maps | None) -> int:
    """Tell each prediction as it comes, and draw its map; the exit code."""
    failed = False
    for prediction, image in answers:
        failed = failed or prediction.error is not None
        told.add(prediction if maps is None else maps.add(prediction, image))
    if maps is not None:
        maps.end()
        say(maps.line)
    told.end()
    return 3 if failed else 0


@contextmanager
def _maps(predictor: Predictor, folder: Path, asked: Sequence[_Asked], force: bool) -> Iterator[Maps]:
    """Who draws what --explain asks for.

    Raises:
        FlyweightError: the network is an export, has no map, or the folder is taken.
    """
    from flyweight.cli import explaining
    from flyweight.inference.loaded import Loaded

    if not isinstance(predictor, Loaded):
        raise FlyweightError("--explain needs the network itself: name a run folder or a network that ships, no export")
    maps = explaining.Maps(predictor.trained, folder, [one.path for one in asked])
    with explaining.into(folder, force):
        yield maps


def _gathered(places: Sequence[Path]) -> list[_Asked]:
    """All images in their order, and what cannot be looked at, which is told; so is what folders hold beside images."""
    from flyweight.images import finding
    from flyweight.text import some

    asked: list[_Asked] = []
    others: list[Path] = []
    for place in places:
        # a lone hyphen is allowed, so that cyclopts takes any word with one for a file
        if str(place).startswith("-") and place != STDIN:
            raise FlyweightError(f"there is no option {place} (see flyweight predict --help); a file: ./{place}")
    for place in places:
        if place == STDIN:
            if _Asked(STDIN) in asked:
                raise DataError("-: standard input holds one image, so name it once")
            asked.append(_Asked(STDIN))
            continue
        try:
            found = finding.find([place])
        except DataError as error:
            asked.append(_Asked(place, str(error)))
            continue
        asked += [_Asked(image) for image in found.images]
        asked += [_Asked(shut, why) for shut, why in found.closed]
        others += found.others
    for one in asked:
        if one.error is not None:
            say(f"flyweight: {one.error}")
    if others:
        files = "1 file" if len(others) == 1 else f"{len(others):,} files"
        say(f"left out, by their names no images: {files} ({some([str(path) for path in others], 3)})")
    return asked


def _standard_input() -> bytes:
    """The image that somebody pipes in."""
    if sys.stdin is None or sys.stdin.isatty():
        raise DataError("-: nothing comes by standard input: flyweight predict NETWORK - < image.png")
    content = sys.stdin.buffer.read(MOST_STDIN + 1)
    if len(content) > MOST_STDIN:
        raise DataError(f"-: standard input has more than {MOST_STDIN:,} bytes: name the file")
    return content
