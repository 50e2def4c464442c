"""The page of `flyweight data`: an image of each class, both of each pair that shows the same, what is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from flyweight.data import findings
from flyweight.data.copies import WORDS, Copies, Member, splits_of
from flyweight.data.dataset import Dataset
from flyweight.data.scan import Scan
from flyweight.files import write_text
from flyweight.report.pages import image_uri, render
from flyweight.text import ending, printable, short

CLASSES_SHOWN, PAIRS_SHOWN, FILES_SHOWN = 60, 60, 500
"""The most of each on a page; --json has all."""


def write(scan: Scan, dataset: Dataset, path: Path) -> None:
    """Write the page.

    Args:
        scan: of the data set.
        dataset: for its images.
        path: of the page; a page that is there is replaced.

    Raises:
        RunError: it cannot be written.
    """
    labels = findings.shown_classes(scan, CLASSES_SHOWN)
    content = {
        "title": printable(scan.name),
        "source": printable(scan.source),
        "scan": scan,
        "notes": [printable(note) for note in scan.notes],
        "leaks": findings.leaks(scan),
        "facts": findings.facts(scan),
        "splits": [WORDS[split] for split in scan.counts],
        "classes": [
            {
                "name": short(scan.classes[label], 60),
                "counts": [counts[label] for counts in scan.counts.values()],
                "image": _first(dataset, label),
            }
            for label in labels
        ],
        "copies": [
            (title, about, [_shown(dataset, one) for one in findings.ordered(found)[:PAIRS_SHOWN]], len(found))
            for title, about, found in (
                ("Equal images", "Their pixels are the same, as a network sees them.", scan.equal),
                (
                    "Nearly equal images",
                    "They show the same, but for brightness, compression or sharpness. Look at them: two different"
                    " images that are very much alike may be among them.",
                    scan.near,
                ),
            )
        ],
        "left_out": [(ending(one.name, 120), short(one.reason, 200)) for one in scan.left_out[:FILES_SHOWN]],
        "misnamed": [(ending(name, 120), kind) for name, kind in scan.misnamed[:FILES_SHOWN]],
    }
    write_text(path, render("scan.html.jinja", content))


def _first(dataset: Dataset, label: int) -> str | None:
    """The first image of a class, in the first split that has one; None: no split has."""
    for split in splits_of(dataset).values():
        found = np.flatnonzero(split.labels == label)
        if len(found):
            return _uri(split.images[int(found[0])])
    return None


def _shown(dataset: Dataset, copies: Copies) -> dict[str, object]:
    return {
        "members": [_card(dataset, member) for member in copies.pair],
        "more": len(copies.members) - 2,
        "mark": findings.where(copies),
        "leak": copies.across_splits,
        "odd": copies.across_splits or copies.across_classes,
    }


def _card(dataset: Dataset, member: Member) -> dict[str, str]:
    image = splits_of(dataset)[member.split].images[member.number]
    return {
        "name": ending(member.called, 80),
        "split": WORDS[member.split],
        "label": short(member.label, 40),
        "image": _uri(image),
    }


def _uri(image: np.ndarray) -> str:
    """An (H, W, C) uint8 image as a PNG in a page."""
    return image_uri(Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image))
