"""The networks that ship are as good as their cards say."""

import json
import math

import pytest

from flyweight import analysis, data, rules
from flyweight.evaluation import evaluate
from flyweight.runs.card import ZOO, load_trained

SLOW = {"dilated", "nano-dilated"}
FOLDERS = sorted(path.parent for path in ZOO.glob("*/config.json"))


def test_there_is_one():
    assert "sprint" in [folder.name for folder in FOLDERS]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_network_obeys_the_brief(folder):
    trained = load_trained(folder)
    facts = analysis.analyze(trained.model, trained.card.input_shape)
    report = rules.check(facts, rules.load_ruleset("brief"), cures=False)
    assert [verdict for verdict in report.verdicts if not verdict.passed] == []


def cases():
    """Of a network that takes a minute and more for all test images, `make test` asks about a tenth of them."""
    for folder in FOLDERS:
        slow = folder.name in SLOW
        yield pytest.param(folder, None, id=folder.name, marks=[pytest.mark.long] if slow else [])
        if slow:
            yield pytest.param(folder, 1000, id=f"{folder.name}, 1,000 images")


@pytest.mark.early
@pytest.mark.cifar10
@pytest.mark.parametrize(("folder", "some"), list(cases()))
def test_the_accuracy_is_the_one_that_is_told(folder, some):
    try:
        dataset = data.load(download=False)
    except data.NoDataError as error:
        pytest.skip(str(error))
    trained = load_trained(folder)
    assert (dataset.name, dataset.fingerprint) == ("cifar10", trained.card.fingerprint)
    told = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    scores = evaluate.evaluate(trained, dataset if some is None else data.subset(dataset, some, some))
    assert told["n"] == 10_000
    assert scores.n == (some or told["n"])
    # another processor rounds differently and may turn two images that lie on a border
    tolerance = 0.02 if some is None else 3 * 100 * math.sqrt(0.08 * 0.92 / some)
    assert abs(scores.accuracy - told["accuracy"]) <= tolerance
    assert told["accuracy"] >= 85
    # its temperature and threshold come from training images alone, and do what they are for
    assert scores.scaled.error < 3.5
    assert 5 < scores.unknown < 16
