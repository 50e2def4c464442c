import copy

import numpy as np
import pytest
import torch
from PIL import Image

import flyweight
from flyweight.cli.app import run_command
from flyweight.errors import RunError
from flyweight.inference.classifier import logits
from flyweight.inference.loaded import Loaded
from flyweight.inference.predict import predicted
from flyweight.runs.card import find_trained, load_trained, save_model


@pytest.fixture(scope="module")
def sprint():
    return load_trained(find_trained("sprint"))


@pytest.fixture
def files(tmp_path):
    generator = np.random.default_rng(0)
    paths = []
    for number in range(5):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(paths[-1])
    return paths


def test_predictions_are_the_networks_softmax_best_first(sprint, files):
    images = np.stack([np.array(Image.open(path)) for path in files])
    shares = logits(sprint.model, images, sprint.card.mean, sprint.card.std)
    shares = (shares / sprint.card.temperature).softmax(1)
    for answer, expected in zip(predicted(Loaded(sprint), files, top=10, batch_size=2), shares, strict=True):
        assert answer.error is None
        assert list(answer.probabilities) == pytest.approx(sorted(expected.tolist(), reverse=True), abs=1e-5)
        assert answer.classes[0] == sprint.card.classes[int(expected.argmax())]
        assert len(set(answer.classes)) == 10


def test_a_picture_that_cannot_be_read_stops_nobody(sprint, files):
    files[1].write_bytes(b"no image")
    answers = Loaded(sprint).predict(files, top=2)
    assert [answer.path for answer in answers] == files
    assert [answer.error is None for answer in answers] == [True, False, True, True, True]
    assert answers[1].as_json().keys() == {"path", "error"}
    assert [len(answer.classes) for answer in answers] == [2, 0, 2, 2, 2]


def test_more_classes_than_there_are_are_all(sprint, files):
    assert {len(answer.classes) for answer in Loaded(sprint).predict(files, top=99)} == {10}


def test_fast_is_nearly_the_same(sprint, files):
    exact, fast = (Loaded(sprint, kind).predict(files * 4, top=10) for kind in ("float32", "auto"))
    for one, other in zip(exact, fast, strict=True):
        shares = dict(zip(other.classes, other.probabilities, strict=True))
        assert [shares[name] for name in one.classes] == pytest.approx(list(one.probabilities), abs=0.05)


def test_a_shipped_network_loads_by_its_name(sprint):
    network = flyweight.load("sprint")
    assert not network.training
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(network(x), sprint.model(x))
    with pytest.raises(RunError, match="neither a run folder nor a shipped network"):
        flyweight.load("sprinkle")


@pytest.mark.parametrize("as_json", [True, False])
def test_what_is_not_finite_is_no_prediction(sprint, files, tmp_path, capsys, as_json):
    network = copy.deepcopy(sprint.model)
    with torch.no_grad():
        network.classifier.weight[3] = 3e38  # finite, as what it gives is not
    save_model(tmp_path, network, sprint.card)
    assert run_command(["predict", str(tmp_path), *map(str, files), *(["--json"] if as_json else [])]) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert "gives numbers that are not finite" in " ".join(err.split())
