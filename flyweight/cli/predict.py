"""`flyweight predict`: what is in images."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flyweight.cli.console import say
from flyweight.cli.options import AllowOption, JsonOption, command
from flyweight.errors import DataError, FlyweightError

if TYPE_CHECKING:
    from flyweight.cli import predictions
    from flyweight.cli.explaining import Maps
    from flyweight.inference.predict import Prediction, Predictor

app = command(
    "predict",
    "predict sprint cat.png",
    "predict runs/mine photos/ --top 1 --csv photos.csv",
    "predict dilated cat.png --explain maps/    (where it looked)",
    "predict exported/model_int8.onnx - < cat.png    (an export needs no PyTorch)",
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
            help="Write a table, a row an image, into this file; - for standard output. By default none.",
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
    from flyweight.inference.predict import predicted

    if top < 1:
        raise FlyweightError("--top must be at least 1")
    if force and explain is None:
        raise FlyweightError("--force goes with --explain FOLDER")
    predictions.table_or_raise(csv, as_json)
    paths, complete = _gathered(files)
    with redirect_stdout(sys.stderr):  # a network of the user's may print
        predictor = opened(network, fast, allow_code, say)
    maps = None if explain is None else _maps(predictor, explain, paths, force)
    told = predictions.teller(csv, as_json, predictor, paths, top)
    images = [_standard_input() if path == STDIN else path for path in paths]
    code = _tell(zip(predicted(predictor, images, top, paths=paths), images, strict=True), told, maps)
    return code if complete else 3


def _tell(answers: Iterable[tuple[Prediction, Path | bytes]], told: predictions.Told, maps: Maps | None) -> int:
    """Tell each prediction as it comes, and draw its map; the exit code."""
    failed = False
    for prediction, image in answers:
        if prediction.error is not None:
            failed = True
            say(f"flyweight: {prediction.error}")
        told.add(prediction if maps is None else maps.add(prediction, image))
    if maps is not None:
        maps.end()
        say(maps.line)
    told.end()
    return 3 if failed else 0


def _maps(predictor: Predictor, folder: Path, paths: Sequence[Path], force: bool) -> Maps:
    """Who draws what --explain asks for.

    Raises:
        FlyweightError: the network is an export, has no map, or the folder is taken.
    """
    from flyweight.cli.explaining import Maps
    from flyweight.inference.loaded import Loaded

    if not isinstance(predictor, Loaded):
        raise FlyweightError("--explain needs the network itself: name a run folder or a network that ships, no export")
    return Maps(predictor.trained, folder, paths, force)


def _gathered(places: Sequence[Path]) -> tuple[list[Path], bool]:
    """All images in their order, and whether each place could be looked into; what folders hold beside them is told.

    Raises:
        DataError: there is nothing to look at in any of them.
    """
    from flyweight.images import finding
    from flyweight.text import some

    paths: list[Path] = []
    others: list[Path] = []
    wrong: list[str] = []
    for place in places:
        # a lone hyphen is allowed, so that cyclopts takes any word with one for a file
        if str(place).startswith("-") and place != STDIN:
            raise FlyweightError(f"there is no option {place} (see flyweight predict --help); a file: ./{place}")
    for place in places:
        if place == STDIN:
            if STDIN in paths:
                raise DataError("-: standard input holds one image, so name it once")
            paths.append(place)
            continue
        try:
            found = finding.find([place])
        except DataError as error:
            wrong.append(str(error))
            continue
        paths += found.images
        others += found.others
        wrong += found.closed
    if not paths and wrong:
        raise DataError(wrong[0])
    for line in wrong:
        say(f"flyweight: {line}")
    if others:
        files = "1 file" if len(others) == 1 else f"{len(others):,} files"
        say(f"left out, by their names no images: {files} ({some([str(path) for path in others], 3)})")
    return paths, not wrong


def _standard_input() -> bytes:
    """The image that somebody pipes in."""
    if sys.stdin is None or sys.stdin.isatty():
        raise DataError("-: nothing comes by standard input: flyweight predict NETWORK - < image.png")
    content = sys.stdin.buffer.read(MOST_STDIN + 1)
    if len(content) > MOST_STDIN:
        raise DataError(f"-: standard input has more than {MOST_STDIN:,} bytes: name the file")
    return content
