"""A trained network as files that other programs open.

`formats` is the table: each format is a module here with one function, `write(subject, folder)`. `subject` is what all
of them share: the network, its test images, what PyTorch says of those, and the network as an ONNX graph, made once.
`graph` makes that graph, `around` puts normalisation before it and probabilities behind it, `session` runs it.
`choices` is what formats in 8 bits choose by. Nothing is written that `gate` has not held against PyTorch on all test
images; `write` lets the folder appear whole, with `alone` in it, a program that needs neither PyTorch nor flyweight.
What is read again of an export, and how, stands in `flyweight.inference.exported`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flyweight.data.dataset import Dataset
    from flyweight.export.write import Export


def to(
    folder: str | Path,
    network: str,
    dataset: Dataset,
    formats: Sequence[str] = (),
    licence: str = "unknown",
    force: bool = False,
) -> Export:
    """Export a trained network: ``flyweight export`` for Python.

    Args:
        folder: to write, a new one.
        network: one that ships with its weights, or a run folder.
        dataset: on whose test images each file is checked, and on whose training images those of 8 bits are calibrated.
        formats: names of the table; none: its first.
        licence: of the weights, as the Hugging Face hub writes it.
        force: replace an export that is there already.

    Returns:
        what was written, and which formats were refused, and why.

    Raises:
        FlyweightError: no format could be written, a library is missing, or the folder is not ours to replace.
        RunError: there is no such network, or its weights are damaged.
    """
    from flyweight.export import formats as table
    from flyweight.export import session, write
    from flyweight.export.subject import Subject
    from flyweight.runs.card import find_trained, load_trained

    session.require()
    chosen, place = table.chosen(formats), write.place_or_raise(Path(folder), force)
    subject = Subject(load_trained(find_trained(network)), dataset, licence)
    return write.write(subject, place, chosen, lambda line: None)
