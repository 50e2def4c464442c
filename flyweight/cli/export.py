"""`flyweight export`: a trained network as files that other programs open."""

from __future__ import annotations

import re
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flyweight.cli import job
from flyweight.cli.console import answer, answer_json, say
from flyweight.cli.options import JsonOption, command
from flyweight.errors import FlyweightError
from flyweight.export.formats import FORMATS, chosen

app = command(
    "export",
    "export dilated --to dilated-onnx",
    "export runs/mine --to mine --format onnx onnx-uint8 ultralytics",
    "export runs/mine --to mine --data cifar10    (checked on the test set, of a run with held-out images)",
)


@app.default
def export(
    network: str,
    /,
    *,
    to: Annotated[Path, Parameter(help="The folder to write, a new one.")],
    format: Annotated[
        tuple[str, ...],
        Parameter(
            consume_multiple=True,
            negative="",
            show_default=False,
            help=f"One or more of {'; '.join(f'{one.name}: {one.help}' for one in FORMATS)}. By default"
            f" {FORMATS[0].name}.",
        ),
    ] = (),
    data: job.DataOption = None,
    licence: Annotated[
        str | None,
        Parameter(help="Of the weights, for a model card: mit, cc-by-4.0. By default mit of what ships, else unknown."),
    ] = None,
    force: Annotated[bool, Parameter(negative="", help="Replace an export that is there already.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Write a trained network as files that other programs open, each checked against PyTorch on all test images.

    Exit code 1 when a format does not say what the network says: it is not written, the others are.

    Args:
        network: A network that ships with its weights, or a run folder.
    """
    formats = chosen(format)
    if licence is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", licence):
        raise FlyweightError(f"--licence {licence}: write it as the Hugging Face hub does, such as mit or cc-by-4.0")
    from flyweight.export import write as writing
    from flyweight.export.session import require
    from flyweight.export.subject import Subject
    from flyweight.machine.allocator import keep_freed_memory
    from flyweight.runs.card import find_trained, load_trained, ships

    require()
    keep_freed_memory()
    folder = writing.place_or_raise(to, force)
    source = find_trained(network)
    with redirect_stdout(sys.stderr):  # a network of the user's may print
        trained = load_trained(source)
        dataset = job.load_tested(trained, data)
        subject = Subject(trained, dataset, licence or ("mit" if ships(source) else "unknown"))
        done = writing.write(subject, folder, formats, say)
    for name, error in done.refused.items():
        say(f"flyweight: {name}: {error}")
    if as_json:
        refused = {name: str(error) for name, error in done.refused.items()}
        answer_json(writing.record(subject, done.artefacts) | {"folder": str(folder), "refused": refused})
    else:
        answer(str(folder))
    return next((error.exit_code for error in done.refused.values()), 0)
