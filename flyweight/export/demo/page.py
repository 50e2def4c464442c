"""The page: one file that holds the network, the engine and what shows them, and asks for nothing else."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image

from flyweight import __version__
from flyweight.export import model_card
from flyweight.export.demo.facts import facts, verdicts
from flyweight.export.demo.looking import Heat
from flyweight.export.demo.packed import Packed
from flyweight.export.demo.running import ENGINE
from flyweight.export.demo.steps import Floats
from flyweight.export.gate import Agreement
from flyweight.export.subject import Subject
from flyweight.report.pages import render
from flyweight.text import printable, some

PARTS = Path(__file__).parent
SCRIPTS = ("resize.js", "engine.js", "demo.js")
SAMPLES, EACH = 20, 2
"""Test images on the page, and those of a class at most."""
TALL = int(PIL.__version__.partition(".")[0]) >= 13
"""Whether Pillow computes the rows of tall images first: of noise it makes up to 15 grey levels."""
SAMPLE_BYTES = 120_000
"""That they may take together as PNG files, so that large ones leave the page small."""


@dataclass(frozen=True)
class Sample:
    """A test image on the page.

    Attributes:
        place: among the test images.
        label: its class.
        image: its PNG file as an address.
    """

    place: int
    label: int
    image: str


def assembled(subject: Subject, network: Floats, memory: Packed, heat: Heat | None, agreed: Agreement) -> str:
    """Put the page together.

    Args:
        subject: what is shown.
        network: for the engine.
        memory: the same as the engine's memory holds it.
        heat: how its map lies on an image; None: none is drawn.
        agreed: of the engine's probabilities with PyTorch's.
    """
    card = subject.card
    chosen, judged = samples(subject), verdicts(subject)
    content = json.dumps(_network(subject, network, memory, heat, chosen), ensure_ascii=True, allow_nan=False)
    script = "\n".join((PARTS / name).read_text(encoding="utf-8") for name in SCRIPTS)
    style = (PARTS / "style.css").read_text(encoding="utf-8")
    _, height, width = card.input_shape
    return render(
        "page.html.jinja",
        {
            "policy": _policy(script, style),
            "title": model_card.title(subject),
            "lede": f"A small network that tells {len(card.classes)} kinds of images apart: {some(card.classes, 12)}.",
            "size": f"{width} \N{MULTIPLICATION SIGN} {height} pixels",
            "samples": [{"image": one.image, "label": printable(card.classes[one.label])} for one in chosen],
            "tested": subject.dataset.tested.capitalize(),
            "facts": facts(subject),
            "rules": judged,
            "met": f"{sum(one['mark'] == 'pass' for one in judged)} of {len(judged)} rules met",
            "agreement": agreed.line(),
            "version": __version__,
            "digest": card.sha256[:12],
            "style": style,
            "script": script,
            # what people named could end the element that holds it
            "network": content.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"),
        },
        PARTS,
    )


def _network(
    subject: Subject, network: Floats, memory: Packed, heat: Heat | None, chosen: list[Sample]
) -> dict[str, Any]:
    """What the page's scripts read."""
    card, looked = subject.card, network.looked
    channels, height, width = card.input_shape
    found: dict[str, Any] = {
        "classes": [printable(name) for name in card.classes],
        "size": {"channels": channels, "height": height, "width": width},
        "resize": card.resize,
        "tall": TALL,
        "temperature": card.temperature,
        "threshold": card.threshold,
        "samples": [{"image": one.image, "label": one.label} for one in chosen],
        "engine": _base64(ENGINE.read_bytes()),
        "weights": _base64(memory.packed.tobytes()),
        "parts": memory.parts,
        "steps": memory.steps.tolist(),
        "layout": memory.layout,
        "logits": memory.logits,
        "map": None,
    }
    if heat is not None and looked is not None:
        found["map"] = {
            "channels": looked.channels, "height": looked.height, "width": looked.width, "room": looked.room,
            "place": memory.looked, "weights": memory.classes,
            "rows": [round(float(one), 5) for one in heat.rows],
            "columns": [round(float(one), 5) for one in heat.columns],
        }  # fmt: skip
    return found


def samples(subject: Subject) -> list[Sample]:
    """Test images for the page: the first ones of each class, and no more than it can carry."""
    labels, left = subject.labels, SAMPLE_BYTES
    found: list[Sample] = []
    for turn in range(EACH):
        for label in range(len(subject.card.classes)):
            places = np.flatnonzero(labels == label)
            if len(places) <= turn or len(found) == SAMPLES:
                continue
            content = _png(subject.pixels(places[turn], places[turn] + 1)[0])
            if len(content) > left:
                continue
            left -= len(content)
            found.append(Sample(int(places[turn]), label, f"data:image/png;base64,{_base64(content)}"))
    return sorted(found, key=lambda one: one.label)


def _png(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(content, "PNG", optimize=True)
    return content.getvalue()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _policy(script: str, style: str) -> str:
    """What the page may do: run its own script, show its own images, and ask nobody for anything."""

    def only(text: str) -> str:
        return f"'sha256-{_base64(hashlib.sha256(text.encode()).digest())}'"

    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {only(script)} 'wasm-unsafe-eval'",
            # bars have a width of their own
            f"style-src {only(style)}",
            "img-src data: blob:",
            "connect-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
