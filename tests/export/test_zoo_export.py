"""The networks that ship, in every format, on all of CIFAR-10's test images: minutes each."""

import shutil

import numpy as np
import pytest
from c_programs import compiled

from flyweight import data
from flyweight.export import c, formats, gate, write
from flyweight.export.c.source import identifier
from flyweight.export.subject import Subject
from flyweight.runs.card import ZOO, load_trained

FOLDERS = sorted(path.parent for path in ZOO.glob("*/config.json"))
FLOAT = {"model.onnx", "model_pixels.onnx", "model_ultralytics.onnx", "web/onnx/model.onnx", "index.html"}
SMALL = {"model_int8.onnx", "web/onnx/model_quantized.onnx"}


@pytest.mark.long
@pytest.mark.cifar10
@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in ZOO.glob("*/config.json")), ids=lambda path: path.name
)
def test_every_format_says_what_the_network_says(folder, tmp_path):
    try:
        dataset = data.load(download=False)
    except data.NoDataError as error:
        pytest.skip(str(error))
    lines = []
    subject = Subject(load_trained(folder), dataset, "mit")
    done = write.write(subject, tmp_path / "export", formats.FORMATS, lines.append)
    assert done.refused == {}
    found = {one.file: one.agreement for one in done.artefacts if one.agreement is not None}
    prefix = identifier(subject.name)
    assert set(found) == FLOAT | SMALL | {f"{prefix}.c"}
    for file, agreement in found.items():
        assert agreement.n == 10_000
        assert np.isfinite(agreement.difference)
        assert agreement.lost <= (0 if file in FLOAT else gate.MOST_LOST), file
    assert all(found[file].same == 10_000 for file in FLOAT)
    assert len(lines) == len(done.artefacts)
    if shutil.which("gcc"):
        # NumPy's integers of all test images are those that the gate saw; the program repeats each of them
        expected = c.brought(subject).levels
        classes, logits = compiled(done.folder, prefix, "-O3", "-march=native")(subject.pixels(0, 10_000), 10)
        assert logits.tobytes() == expected.tobytes()
        assert (classes == expected.argmax(1)).all()
