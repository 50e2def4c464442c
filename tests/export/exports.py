"""An export of a network that ships, made once: the fixture `sprint_export`."""

from dataclasses import replace

import pytest


@pytest.fixture(scope="session")
def sprint_export(tmp_path_factory):
    """A folder with the ONNX flavours of sprint; it is read and never written."""
    from conftest import synthetic

    from flyweight import export
    from flyweight.runs.card import ZOO, load_weights

    card, _ = load_weights(ZOO / "sprint")
    dataset = replace(synthetic(10, *card.input_shape, train=20, test=20), classes=card.classes)
    folder = tmp_path_factory.mktemp("exports") / "sprint"
    done = export.to(folder, "sprint", dataset, ["onnx", "onnx-uint8", "ultralytics"])
    assert done.refused == {}
    return folder
