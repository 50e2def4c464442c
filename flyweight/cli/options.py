"""What the options of several commands share; --data stands in `job`, since its help names the readers of data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from inspect import cleandoc, isfunction
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from flyweight.errors import FlyweightError, TooLargeError
from flyweight.text import short

JsonOption = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON object instead of text.")]

AllowOption = Annotated[
    bool,
    Parameter(
        name="--allow-code",
        negative="",
        help="Run the Python file that a run folder from elsewhere names, now and later: read it first.",
    ),
]


class _Command(App):
    """An app whose help is its function's docstring, see :func:`flowing`."""

    def default(self, obj: Any = None, **options: Any) -> Any:
        if isfunction(obj):
            obj.__doc__ = flowing(obj.__doc__ or "")
        return super().default(obj, **options)


def flowing(docstring: str) -> str:
    """A docstring with each paragraph and each argument in one line: where it is shown, it is broken to fit."""
    return re.sub(r"(?<=[^\n])\n(?: {8,}|(?=\S))", " ", cleandoc(docstring))


def command(name: str, *calls: str) -> App:
    """The app of one command, whose help ends with examples: what is typed after ``flyweight``."""
    return _Command(name=name, help_epilogue=examples(*calls))


def examples(*calls: str) -> str:
    """The end of a help, which can be copied into a shell: what stands behind a call is a comment."""
    return "\n".join(["Examples:", *(f"  flyweight {line}" for line in calls)])


def input_shape(text: str, where: str) -> tuple[int, ...]:
    """Sizes of an image, as :func:`image_shape` says, or (channels, length) of a signal, from text such as ``3,64``.

    Raises:
        FlyweightError: it is something else.
    """
    if text.count(",") == 1:
        try:
            channels, length = (int(part) for part in text.split(","))
        except ValueError:  # told as an image's
            return image_shape(text, where)
        if min(channels, length) > 0 and max(channels, length) < 2**63:
            return channels, length
    return image_shape(text, where)


def image_shape(text: str, where: str) -> tuple[int, int, int]:
    """(channels, height, width) of an image, from text such as ``1,28,28``.

    Args:
        text: what was written.
        where: the option or file that it was written in.

    Raises:
        FlyweightError: it is something else.
    """
    try:
        channels, height, width = (int(part) for part in text.split(","))
    except ValueError:
        raise FlyweightError(
            f"{where} {short(text, 80)}: write channels, height and width, for example 1,28,28"
        ) from None
    if min(channels, height, width) < 1:
        raise FlyweightError(f"{where} {short(text, 80)}: all three must be at least 1")
    if max(channels, height, width) >= 2**63:
        raise TooLargeError(f"{where} {short(text, 80)}: an image of that size does not fit into memory")
    return channels, height, width


@Parameter(name="*")
@dataclass(frozen=True)
class Marking:
    """How many networks are checked at once, and where their marks go."""

    claim: Annotated[
        tuple[str, ...],
        Parameter(negative="", help="What is said of it, told beside the proof: receptive_field=109. May be repeated."),
    ] = ()
    csv: Annotated[Path | None, Parameter(help="Also write a table with a row a network, such as marks.csv.")] = None
    html: Annotated[Path | None, Parameter(help="Also write a page with the same, such as marks.html.")] = None
    junit: Annotated[Path | None, Parameter(help="Also write the verdicts as JUnit XML, such as rules.xml.")] = None
    markdown: Annotated[bool, Parameter(negative="", help="Print Markdown instead of text.")] = False
    isolated: Annotated[
        bool | None,
        Parameter(
            help="Each network in a process of its own, without network access and with limits; by default where there"
            " are several."
        ),
    ] = None
    seconds: Annotated[int, Parameter(help="That each may take there.")] = 60
    memory: Annotated[float, Parameter(help="That each may take there, in GiB.")] = 4


PLAIN = Marking()
"""As nobody asked for anything."""
