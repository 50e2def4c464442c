"""``huggingface``: a folder as the hub's pages and libraries look for it.

The root holds weights, card and metrics. What transformers.js opens lies apart in ``web/``: it knows architectures by
name alone, so that a stand-in is named there that only picks a class which runs an ONNX file; in the root that name
would have Python's AutoModel build another network around our weights, silently.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flyweight.errors import FlyweightError, RunError
from flyweight.export import around, for_timm, gate, model_card, onnx_float, onnx_int8, preprocessor
from flyweight.export.session import Session
from flyweight.export.subject import Artefact, Made, Subject, saved, valid_or_raise
from flyweight.runs.card import Card, save_model
from flyweight.runs.names import CARD, WEIGHTS

if TYPE_CHECKING:
    import onnx

STAND_IN = {"model_type": "resnet", "architectures": ["ResNetForImageClassification"]}
"""Of transformers.js' list for image classification: any one does, for all that it picks is a class."""


def write(subject: Subject, folder: Path) -> list[Artefact]:
    """Write the folder: ``flyweight evaluate FOLDER`` reads it, and so does transformers.js its ``web/``.

    Raises:
        FlyweightError: ONNX cannot hold the network, or does not say what it says.
    """
    web = _web(subject, folder)
    root = [*weights(subject, folder), _json(folder, "preprocessor_config.json", preprocessor.config(subject.card))]
    root.append(_json(folder, "metrics.json", model_card.metrics(subject, web)))
    text = model_card.text(subject, [*root, *web])
    return [*root, saved(folder, "README.md", text.encode()), *web]


def _json(folder: Path, file: str, content: object) -> Artefact:
    return saved(folder, file, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def weights(subject: Subject, folder: Path) -> list[Artefact]:
    """``model.safetensors``, and a ``config.json`` that is our card and says what the hub looks for as well."""
    card = subject.card
    # paths of this machine are nobody's business
    teacher, start = (None if path is None else around.last(path) for path in (card.teacher, card.start))
    bare = replace(card, network=subject.name, teacher=teacher, start=start)
    save_model(folder, subject.trained.model, bare)
    ours = json.loads((folder / CARD).read_text(encoding="utf-8"))
    hub = {"model_type": "flyweight", "library_name": "flyweight", **_labels(card)}
    hub |= {"num_channels": card.input_shape[0], "image_size": list(card.input_shape[1:])}
    hub |= for_timm.config(card, subject.trained.model)
    # nobody's code is published unasked
    note = f"without the class {subject.name}, which reads them: add its file yourself" if subject.own_class else None
    return [saved(folder, WEIGHTS, (folder / WEIGHTS).read_bytes(), note=note), _json(folder, CARD, hub | ours)]


def _labels(card: Card) -> dict[str, Any]:
    return {
        "id2label": {str(number): name for number, name in enumerate(card.classes)},
        "label2id": {name: number for number, name in enumerate(card.classes)},
    }


def _web(subject: Subject, folder: Path) -> list[Artefact]:
    """What transformers.js opens."""
    artefacts = [_float(subject, folder)]
    config: dict[str, Any] = {**STAND_IN, **_labels(subject.card)}
    try:
        artefacts.append(_int8(subject, folder))
    except RunError:  # the disk refuses: no format is whole then
        raise
    except FlyweightError as error:
        # its default in a browser is 8 bits: without that file a plain call would fail
        config["transformers.js_config"] = {"dtype": "fp32"}
        artefacts[0] = replace(artefacts[0], note=f"no model_quantized.onnx: {error}")
    looks = preprocessor.config(subject.card)
    if subject.card.input_shape[0] == 1:
        looks |= {"do_convert_rgb": True, "do_normalize": False}
    written = (_json(folder, "web/config.json", config), _json(folder, "web/preprocessor_config.json", looks))
    return [*written, *artefacts]


def _float(subject: Subject, folder: Path) -> Artefact:
    file, found = "web/onnx/model.onnx", onnx_float.made(subject)
    if subject.card.input_shape[0] == 1:
        model = _coloured(subject, found)
        agreement = subject.checked(model, file, _colours(subject), subject.logits)
        found = Made(around.sealed(model), agreement)
    return _saved(subject, folder, file, found)


def _int8(subject: Subject, folder: Path) -> Artefact:
    file, found = "web/onnx/model_quantized.onnx", onnx_int8.quantised(subject)
    if subject.card.input_shape[0] == 1:
        model = _coloured(subject, found)
        valid_or_raise(model, file)
        content = around.sealed(model)
        said = Session(content, file)(len(subject.labels), _colours(subject))
        agreement = gate.agreement(said, subject.logits, subject.labels)
        if agreement.lost > gate.MOST_LOST:
            raise gate.GateError(f"{file} loses {agreement.lost:.2f} points of accuracy: it was not written")
        found = Made(content, agreement, found.note)
    return _saved(subject, folder, file, found)


def _saved(subject: Subject, folder: Path, file: str, made: Made) -> Artefact:
    channels, height, width = subject.card.input_shape
    takes = f"pixel_values, Nx{3 if channels == 1 else channels}x{height}x{width} float32"
    return saved(folder, file, made.content, takes=takes, gives="logits", agreement=made.agreement, note=made.note)


def _coloured(subject: Subject, made: Made) -> onnx.ModelProto:
    """A graph of grey images that takes colours in 0 to 1, for a browser has no others."""
    import onnx

    model = onnx.load_from_string(made.content)
    around.normalised(model, subject.card, "colours", "pixel_values")
    return model


def _colours(subject: Subject) -> Callable[[int, int], np.ndarray]:
    """Grey test images as a browser has them."""
    return lambda start, end: np.repeat(subject.shares(start, end), 3, axis=1)
