"""The test set chooses nothing: whatever its labels and images are, the weights are the same to the byte."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import change, fit, synthetic, with_network

from flyweight.data import hold_out
from flyweight.runs.folder import Run

# what could choose by them: averaged weights, the checkpoints that are kept, the temperature and the threshold
SETTINGS = {"ema": 0.9, "mixup": 0.2, "keep": 1, "epochs": 2}


@pytest.mark.parametrize("held_out", [0, 40])
def test_other_test_images_and_labels_give_the_same_weights(recipe, tmp_path, held_out):
    # one that learns in so few steps, else two sets of labels could give the same figures
    recipe = with_network(change(recipe, **SETTINGS), "sprint")
    plain = synthetic(4, 3, 32, 32, train=160, test=80)
    images, labels = np.asarray(plain.test.images), plain.test.labels
    permuted = np.random.default_rng(0).permutation(labels)
    assert 0 < np.mean(permuted == labels) < 0.5
    tests = {
        "as it is": plain.test,
        "labels": replace(plain.test, labels=permuted),
        "images": replace(plain.test, images=255 - images),
    }
    runs = {}
    for name, test in tests.items():
        dataset = replace(plain, test=test)
        fit(recipe, hold_out(dataset, held_out) if held_out else dataset, tmp_path / name)
        runs[name] = Run.open(tmp_path / name)
    weights, cards, told = (
        [read(run) for run in runs.values()]
        for read in (
            lambda run: run.weights.read_bytes(),
            lambda run: (run.folder / "config.json").read_bytes(),
            lambda run: [row["test_correct"] for row in run.history()],
        )
    )
    assert weights == weights[:1] * 3
    assert cards == cards[:1] * 3
    # it is looked at after each epoch, so that the figures differ; with images held out it is not even looked at
    assert (told[0] != told[1]) is (told[0] != told[2]) is (not held_out)
