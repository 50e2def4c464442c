"""The table of formats. A new one is one module with `write` and one entry here."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flyweight.errors import FlyweightError
from flyweight.schema import suggestion

if TYPE_CHECKING:
    from flyweight.export.subject import Artefact, Subject


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: what --format calls it.
        module: of this room, imported when it is written.
        help: what it is, in a few words.
    """

    name: str
    module: str
    help: str

    def write(self, subject: Subject, folder: Path) -> list[Artefact]:
        """Write its files into a folder, each checked against PyTorch before.

        Raises:
            FlyweightError: it cannot hold this network, or does not say what the network says.
        """
        return importlib.import_module(f"flyweight.export.{self.module}").write(subject, folder)


FORMATS = (
    Format("onnx", "onnx_float", "normalised floats in, logits out"),
    Format("onnx-uint8", "onnx_uint8", "pixels in, probabilities out"),
    Format("ultralytics", "ultralytics", "ONNX that `yolo predict task=classify` opens"),
    Format("onnx-int8", "onnx_int8", "in 8 bits, where that costs at most half a point of accuracy"),
    Format("c", "c", "C99 for microcontrollers, in integers alone, under the same condition"),
    Format("demo", "demo", "one page that opens from disk and answers in the browser"),
    Format("huggingface", "huggingface", "a folder for the hub, with a model card, and web/ for transformers.js"),
)
"""In the order in which they are written. The first one is the default."""


def chosen(names: Sequence[str]) -> list[Format]:
    """The formats of these names, in the table's order; of no names the default.

    Raises:
        FlyweightError: there is no such format.
    """
    known = [format.name for format in FORMATS]
    for name in names:
        if name not in known:
            raise FlyweightError(f"there is no format {name!r}{suggestion(name, known)}: choose {', '.join(known)}")
    return [format for format in FORMATS if format.name in names] if names else [FORMATS[0]]
