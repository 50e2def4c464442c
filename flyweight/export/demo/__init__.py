"""``demo``: one page that opens from disk or from any static host, and computes what PyTorch computes.

`lowered` makes steps of the graph, `packed` lays them and the weights out in memory, `engine.c` runs them in a browser
as WebAssembly; `running` does so here, so that the gate asks the very engine and the very weights that the page holds.
`looking` says where the heat map lies, `facts` what the network is, `page` puts all of it together with `resize.js`
(Pillow's resizing), `engine.js` and `demo.js`.
"""

from __future__ import annotations

from pathlib import Path

from flyweight.errors import FlyweightError
from flyweight.export import gate, quantise
from flyweight.export.demo import looking, running
from flyweight.export.demo.lowered import lowered
from flyweight.export.demo.packed import packed
from flyweight.export.demo.page import assembled, samples
from flyweight.export.subject import Artefact, Made, Subject, saved
from flyweight.inference import confidence

FILE = "index.html"


def write(subject: Subject, folder: Path) -> list[Artefact]:
    """Write ``index.html``, checked on all test images.

    Raises:
        FlyweightError: an operator has no step, the images are neither grey nor RGB, or wasmtime is missing.
        GateError: it does not say what the network says.
    """
    page = made(subject, len(subject.labels))
    about = {"takes": "an image file", "gives": "probabilities, and where it looks", "note": page.note}
    return [saved(folder, FILE, page.content, agreement=page.agreement, **about)]


def made(subject: Subject, count: int) -> Made:
    """The page, checked on the first so many test images.

    Raises:
        FlyweightError: as :func:`write` says.
    """
    running.require()
    card = subject.card
    if card.input_shape[0] not in (1, 3):
        raise FlyweightError(f"demo takes grey or RGB images, and the network has {card.input_shape[0]} channels")
    network = lowered(quantise.prepared(subject.model()), card, subject.name)
    memory = packed(network)
    logits = running.answers(memory, count, len(card.classes), subject.pixels)
    said = confidence.probabilities(logits, card.temperature)
    agreed = gate.equal_or_raise(FILE, said, subject.probabilities[:count], subject.labels[:count])
    shown = [one.place for one in samples(subject)] or [0]
    heat = looking.heat(subject.trained, network, memory, subject.dataset.test.images[shown])
    content = assembled(subject, network, memory, heat, agreed).encode()
    note = "opens from disk" if heat is not None else "opens from disk; without a heat map, which this network has not"
    return Made(content, agreed, note)
