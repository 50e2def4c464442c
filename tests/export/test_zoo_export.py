"""The networks that ship, in every format, on all of CIFAR-10's test images: minutes each."""

import numpy as np
import pytest

from flyweight import data
from flyweight.export import formats, gate, write
from flyweight.export.subject import Subject
from flyweight.runs.card import ZOO, load_trained

FOLDERS = sorted(path.parent for path in ZOO.glob("*/config.json"))
FLOAT = {"model.onnx", "model_pixels.onnx", "model_ultralytics.onnx", "web/onnx/model.onnx"}
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
    assert set(found) == FLOAT | SMALL
    for file, agreement in found.items():
        assert agreement.n == 10_000
        assert np.isfinite(agreement.difference)
        assert agreement.lost <= (0 if file in FLOAT else gate.MOST_LOST), file
    assert all(found[file].same == 10_000 for file in FLOAT)
    assert len(lines) == len(done.artefacts)
