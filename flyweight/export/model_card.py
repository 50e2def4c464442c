"""The hub's model card: what is known of a network, in words and as metadata that its pages read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flyweight.data import registry
from flyweight.evaluation.scores import confusions
from flyweight.export import preprocessor
from flyweight.export.around import last
from flyweight.export.subject import Artefact, Subject
from flyweight.images.sizing import GREY
from flyweight.runs.card import Card
from flyweight.text import printable, short

UNKNOWN = "unknown"
"""The hub's word for a licence that nobody stated."""


def metrics(subject: Subject, artefacts: Sequence[Artefact]) -> dict[str, Any]:
    """How good the network is, and how well the exported files agree with it: ``metrics.json``."""
    scores = subject.scores
    found = {
        "accuracy": round(scores.accuracy, 2),
        "interval": [round(end, 2) for end in scores.interval],
        "balanced_accuracy": round(scores.balanced_accuracy, 2),
        "top5_accuracy": None if scores.top5_accuracy is None else round(scores.top5_accuracy, 2),
        "n": scores.n,
        "loss": round(scores.loss, 4),
        "calibration_error": round(scores.calibration.error, 2),
        "data": scores.data,
        "split": subject.dataset.tested,
        "fingerprint": scores.fingerprint,
        "files": {one.file: one.agreement.as_json() for one in artefacts if one.agreement is not None},
    }
    return {key: value for key, value in found.items() if value is not None}


def text(subject: Subject, artefacts: Sequence[Artefact]) -> str:
    """The whole card: metadata between lines of dashes, then Markdown."""
    return f"---\n{metadata(subject)}\n---\n\n{_body(subject, artefacts)}"


def metadata(subject: Subject) -> str:
    """The metadata, YAML by the hub's own library."""
    from huggingface_hub import EvalResult, ModelCardData

    label, address = data_set(subject.scores.data)
    _, trained_on = data_set(subject.card.data)
    result = EvalResult(
        task_type="image-classification",
        task_name="Image classification",
        dataset_type=address or label,
        dataset_name=label,
        # on held-out images an accuracy is none of the test split
        dataset_split="train" if subject.dataset.held_out else "test",
        metric_type="accuracy",
        metric_name="Accuracy",
        # the hub's own metrics are shares
        metric_value=round(subject.scores.accuracy / 100, 4),
    )
    card = ModelCardData(
        library_name="flyweight",
        license=subject.licence,
        pipeline_tag="image-classification",
        datasets=[trained_on] if trained_on else None,
        metrics=["accuracy"],
        tags=["flyweight", "onnx", "transformers.js"],
        model_name=title(subject),
        eval_results=[result],
    )
    return card.to_yaml()


def title(subject: Subject) -> str:
    """What the network is called: as it ships, or the name of its run folder."""
    folder: Path | None = subject.trained.folder
    return subject.name if folder is None else short(folder.resolve().name, 80)


def data_set(name: str) -> tuple[str, str | None]:
    """What people call a data set, and its address on the hub: none where it has no such.

    Args:
        name: on a network's card.
    """
    if name.startswith("hub:"):
        address = name.removeprefix("hub:").partition("@")[0]
        return address, address
    for reader in registry.READERS:
        if reader.name == name:
            return reader.label if reader.spec is not None else name, reader.hub
    return name, None


def _body(subject: Subject, artefacts: Sequence[Artefact]) -> str:
    card, scores, facts = subject.card, subject.scores, subject.facts
    channels, height, width = card.input_shape
    label, _ = data_set(card.data)
    size = [] if facts is None else [f"{facts.parameters:,} parameters"]
    if facts is not None and facts.macs is not None:
        size.append(f"{facts.macs / 1e6:.1f} M multiply-accumulates an image")
    if facts is not None and facts.receptive_field.value is not None:
        size.append(f"receptive field {facts.receptive_field.value}")
    if facts is not None and facts.peak is not None:
        size.append(f"{facts.peak.numbers / 1024:.1f} KiB of maps at once in 8 bits")
    low, high = scores.interval
    names = [_plain(name) for name in card.classes]
    mixed = ", ".join(f"{names[true]} taken for {names[said]}" for true, said, _ in confusions(scores, 2))
    other = preprocessor.inexact(card)
    kind = {1: "grey", 3: "RGB"}.get(channels, f"{channels}-channel")
    origins = "" if card.title == card.network else f" It was {_origins(card)}."
    lines = [
        f"# {_plain(title(subject))}",
        "",
        f"Image classifier of {len(card.classes)} classes, made with flyweight: {', '.join(size) or 'a network'}, on"
        f" {kind} images of {width}x{height} pixels.",
        "",
        f"- **Data**: {_plain(label)}, {card.epochs} epochs.{origins}",
        f"- **Accuracy**: {scores.accuracy:.2f} % of {scores.n:,} {subject.dataset.tested} images (95 % interval"
        f" {low:.2f} to {high:.2f}), without test-time augmentation.",
        f"- **How sure it is**: off by {scores.calibration.error:.1f} points on average (expected calibration error)"
        + (
            f", by {scores.scaled.error:.1f} with its logits divided by {card.temperature:g}."
            if card.temperature != 1
            else "."
        ),
        f"- **Limits**: it always names one of its classes, whatever the image shows: {_classes(card)}."
        + (f" What it mixes up most: {mixed}." if mixed else "")
        + (f" With the hub's libraries {other}." if other else ""),
        f"- **Licence**: {'not stated' if subject.licence == UNKNOWN else subject.licence}.",
        "",
        *_use(subject),
        "",
        "## Files",
        "",
        "| file | bytes | against PyTorch, on all test images |",
        "| --- | ---: | --- |",
        *(f"| `{one.file}` | {one.bytes:,} | {_told(one)} |" for one in artefacts),
        "",
    ]
    return "\n".join(lines)


def _told(artefact: Artefact) -> str:
    parts = [artefact.agreement.line() if artefact.agreement else "", artefact.note or ""]
    return _plain("; ".join(part for part in parts if part))


def _origins(card: Card) -> str:
    told = [("begun with", card.start), ("distilled from", card.teacher)]
    return " and ".join(f"{how} {_plain(last(which))}" for how, which in told if which is not None)


def _classes(card: Card) -> str:
    shown = ", ".join(_plain(name) for name in card.classes[:20])
    return shown if len(card.classes) <= 20 else f"{shown} and {len(card.classes) - 20} more"


def _plain(name: str) -> str:
    """Text that is nothing but text in Markdown and HTML."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#$&~" else letter for letter in printable(name))


def _use(subject: Subject) -> list[str]:
    """Programs that ask the files."""
    card = subject.card
    channels, height, width = card.input_shape
    size = f"({width}, {height})"
    fit = {
        "crop": f"ImageOps.fit(image, {size}, Image.Resampling.BICUBIC)",
        "pad": f"ImageOps.pad(image, {size}, Image.Resampling.BICUBIC, color={GREY if channels == 1 else (GREY,) * 3})",
        "squash": f"image.resize({size}, Image.Resampling.BICUBIC)",
    }[card.resize]
    # the browser's graph normalises grey images itself, for it is given colours
    steps = (
        ["x = np.repeat(np.asarray(image, np.float32)[None, None] / 255, 3, axis=1)"]
        if channels == 1
        else [
            "x = np.asarray(image, np.float32) / 255",
            f"x = ((x - {list(card.mean)}) / {list(card.std)}).astype(np.float32).transpose(2, 0, 1)[None]",
        ]
    )
    return [
        "## Use",
        "",
        "With onnxruntime alone:",
        "",
        "```python",
        "import json",
        "from pathlib import Path",
        "",
        "import numpy as np",
        "import onnxruntime",
        "from PIL import Image, ImageOps",
        "",
        f'image = ImageOps.exif_transpose(Image.open("image.png")).convert("{"L" if channels == 1 else "RGB"}")',
        f"image = {fit}",
        *steps,
        'session = onnxruntime.InferenceSession("web/onnx/model.onnx")',
        '(logits,) = session.run(["logits"], {"pixel_values": x})',
        'classes = json.loads(Path("config.json").read_text(encoding="utf-8"))["id2label"]',
        "print(classes[str(logits[0].argmax())])",
        "```",
        "",
        f"The weights are of a class of its author's own, {_plain(subject.name)}, which is not here: without it only"
        " the ONNX files run. In a browser, by transformers.js:"
        if subject.own_class
        else "With flyweight: `flyweight predict FOLDER image.png`. In a browser, by transformers.js:",
        "`pipeline('image-classification', ...)` on the folder `web/`.",
    ]
