"""`flyweight predict`: what is in images."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flyweight.cli.console import answer, answer_json, say
from flyweight.cli.options import JsonOption, command
from flyweight.errors import FlyweightError

app = command("predict", "predict sprint cat.png", "predict runs/mine photos/ --top 1 --json")


@app.default
def predict(
    network: str,
    /,
    *files: Annotated[Path, Parameter(required=True)],
    top: Annotated[int, Parameter(help="How many classes to name for each image.")] = 3,
    fast: Annotated[
        bool, Parameter(negative="", help="Twice the speed for many images: bfloat16, less exact.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Say what is in images, or in all images of folders: the likeliest classes with their probabilities.

    Exit code 3 when an image cannot be read; the others are told all the same.

    Args:
        network: A network that ships with its weights, or a run folder.
        files: Images, or folders of them.
    """
    from flyweight.images import decode
    from flyweight.inference import predict as prediction
    from flyweight.runs.card import find_trained, load_trained

    if top < 1:
        raise FlyweightError("--top must be at least 1")
    paths = decode.find(files)
    with redirect_stdout(sys.stderr):  # a network of the user's may print
        trained = load_trained(find_trained(network))
    width = min(60, max(len(str(path)) for path in paths))
    predicted = []
    for image in prediction.predict(trained, paths, top, fast):
        predicted.append(image)
        if image.error is not None:
            say(f"flyweight: {image.error}")
        elif not as_json:
            answer(image.line(width))
    if as_json:
        answer_json([image.as_json() for image in predicted])
    return 3 if any(image.error for image in predicted) else 0
