"""Fill the templates of pages, so that no value of a user can be markup."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from pathlib import Path
from typing import Any, Literal

import jinja2
from markupsafe import Markup
from PIL import Image

from flyweight.text import lines, printable, share

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, facts: dict[str, Any], folder: Path | None = None) -> str:
    """Fill a template of this room, or of another folder.

    In a page (``*.html.jinja``) every value is escaped; a Markdown template must use the filters `md` and `fenced`. A
    name that the facts lack is an error. What a terminal or a browser would obey, such as an escape in a log or a call,
    becomes U+FFFD wherever it comes from.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder or TEMPLATES),
        autoescape=lambda name: name is not None and name.endswith(".html.jinja"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # markup is our own
        finalize=lambda value: lines(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    environment.filters |= {"md": markdown, "fenced": fenced, "count": count, "share": share, "time": duration}
    return environment.get_template(template).render(facts)


def image_uri(image: Image.Image, kind: Literal["PNG", "JPEG"] = "PNG") -> str:
    """An image in a page."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 85} if kind == "JPEG" else {"optimize": True}))
    return data_uri(buffer.getvalue(), kind)


def data_uri(content: bytes, kind: Literal["PNG", "JPEG"] = "PNG") -> str:
    """The bytes of an image's file in a page."""
    return f"data:image/{kind.lower()};base64,{base64.b64encode(content).decode()}"


def script_hash(script: str) -> str:
    """What a page's Content-Security-Policy says of a script of its own, so that no other one runs."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def markdown(text: object) -> str:
    """Text that means nothing to Markdown, in a table or outside: what could start markup becomes an entity."""
    return re.sub(r"[^\w\s.,:;%/()+-]", lambda found: f"&#{ord(found[0])};", printable(str(text))).replace("_", "&#95;")


def fenced(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any run of backticks in it."""
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{ticks}{language}\n{text.rstrip()}\n{ticks}"


def count(value: object) -> str:
    """A whole number with separators; what is not known is said to be so."""
    if isinstance(value, list | tuple):
        return " x ".join(count(part) for part in value)
    return f"{value:,}" if isinstance(value, int) else "unknown"


def duration(seconds: float) -> str:
    """Seconds for a person, such as ``1 h 2 min 3 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (rest, "s")]
    return " ".join(f"{value} {unit}" for value, unit in parts if value) or "0 s"
