"""`flyweight export`: a trained network as files that other programs open."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flyweight.cli import job
from flyweight.cli.console import answer, answer_json, say
from flyweight.cli.options import AllowOption, JsonOption, command
from flyweight.errors import FlyweightError
from flyweight.export.formats import FORMATS, Format, chosen

if TYPE_CHECKING:
    from flyweight.export.subject import Subject
    from flyweight.export.write import Export

HUB = "huggingface"

app = command(
    "export",
    "export dilated --to dilated-onnx",
    "export runs/mine --to mine --format onnx onnx-uint8 ultralytics",
    "export runs/mine --to mine --data cifar10  # checked on the test set",
    "export runs/mine --to mine --format huggingface --push me/mine  # private",
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
    force: Annotated[
        bool, Parameter(negative="", help="Replace an export that is there already; of --push, add a commit.")
    ] = False,
    push: Annotated[
        str | None,
        Parameter(
            show_default=False,
            help="OWNER/NAME: put format huggingface onto the hub, in a repository that you alone see.",
        ),
    ] = None,
    public: Annotated[bool, Parameter(negative="", help="Let everybody see a new repository of --push.")] = False,
    allow_code: AllowOption = False,
    as_json: JsonOption = False,
) -> int:
    """Write a trained network as files that other programs open, each checked against PyTorch on all test images.

    Exit code 1 when a format does not say what the network says: it is not written, the others are.

    Args:
        network: A network that ships with its weights, or a run folder.
    """
    formats = chosen(format)
    _fit_or_raise(formats, licence, push, public)
    from flyweight.export import write as writing

    subject, done = _written(network, to, formats, data, licence, force, push, allow_code)
    for name, error in done.refused.items():
        say(f"flyweight: {name}: {error}")
    address = None if push is None else _pushed(push, done, public)
    if as_json:
        refused = {name: str(error) for name, error in done.refused.items()}
        found = {"folder": str(done.folder), "refused": refused, "pushed": address}
        answer_json(writing.record(subject, done.artefacts) | found)
    else:
        answer(f"{done.folder}\n{address}" if address else str(done.folder))
    return next((error.exit_code for error in done.refused.values()), 0)


def _fit_or_raise(formats: Sequence[Format], licence: str | None, push: str | None, public: bool) -> None:
    if licence is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", licence):
        raise FlyweightError(f"--licence {licence}: write it as the Hugging Face hub does, such as mit or cc-by-4.0")
    if push is not None and HUB not in {one.name for one in formats}:
        raise FlyweightError(f"--push {push} puts the format {HUB} onto the hub: add --format {HUB}")
    if public and push is None:
        raise FlyweightError("--public goes with --push OWNER/NAME")


def _written(
    network: str,
    to: Path,
    formats: Sequence[Format],
    data: str | None,
    licence: str | None,
    force: bool,
    push: str | None,
    allow_code: bool,
) -> tuple[Subject, Export]:
    from flyweight.export import push as pushing
    from flyweight.export import write as writing
    from flyweight.export.session import require
    from flyweight.export.subject import Subject
    from flyweight.machine.allocator import keep_freed_memory
    from flyweight.runs.card import find_trained, ships

    require()
    keep_freed_memory()
    folder = writing.place_or_raise(to, force)
    source = find_trained(network)
    if push is not None:
        pushing.ready_or_raise(push, force)
    with redirect_stdout(sys.stderr):  # a network of the user's may print
        trained = job.load_network(source, allow_code)
        dataset = job.load_tested(trained, data)
        subject = Subject(trained, dataset, licence or ("mit" if ships(source) else "unknown"))
        done = writing.write(subject, folder, formats, say)
    return subject, done


def _pushed(push: str, done: Export, public: bool) -> str | None:
    from flyweight.export.push import push as pushed

    if HUB in done.refused:
        say(f"flyweight: --push {push}: nothing was pushed, for the format {HUB} was not written")
        return None
    say(f"pushing to {push} ...")
    return pushed(push, done.folder, public)
