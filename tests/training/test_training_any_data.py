"""Nothing from the training to the prediction assumes a number of classes, channels or pixels."""

import json

import numpy as np
import pytest
from conftest import Silent, fit, same
from PIL import Image

from flyweight import schema
from flyweight.data import Dataset, Split
from flyweight.evaluation import evaluate, explain
from flyweight.inference.loaded import Loaded
from flyweight.recipes import sections
from flyweight.runs.card import load_trained
from flyweight.runs.folder import Run


def noise(count, classes, channels, height, width, seed):
    """Noise whose mean is the class's own."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    level = 60 + 140 * labels / classes
    images = generator.normal(level[:, None, None, None], 20, (count, height, width, channels))
    return Split(np.clip(images, 0, 255).astype(np.uint8), labels.astype(np.int64))


def made(classes, channels, height, width, train, test):
    """A data set of noise."""
    splits = [noise(count, classes, channels, height, width, seed) for seed, count in enumerate((train, test))]
    names = tuple(f"class {number}" for number in range(classes))
    return Dataset("made", *splits, names, (0.5,) * channels, (0.25,) * channels, "2" * 64, "noise of the tests")


def recipe_for(network, augment, **settings):
    content = {
        "name": "any",
        "model": {"network": network},
        "augment": {"cutout_size": 8, **augment},
        "train": {"epochs": 2, "learning_rate": 0.05, "precision": "float32", "workers": 0, **settings},
    }
    return schema.parse(sections.Recipe, content, "the tests")


@pytest.mark.early
@pytest.mark.parametrize(
    ("network", "classes", "shape", "train", "batch_size"),
    [
        ("nano", 3, (1, 28, 28), 96, 32),
        ("nano", 300, (3, 64, 48), 300, 150),
        ("sprint", 2, (3, 32, 32), 96, 32),
    ],
    ids=["3 grey", "300 tall", "2 of CIFAR-10's size"],
)
def test_a_training_of_any_data_goes_on_and_is_evaluated_asked_and_explained(
    tmp_path, network, classes, shape, train, batch_size
):
    dataset = made(classes, *shape, train, classes)
    recipe = recipe_for(network, {}, batch_size=batch_size)
    whole = fit(recipe, dataset, tmp_path / "run")
    assert whole.card.spec == dataset.spec
    run = Run(tmp_path / "run")
    # the checkpoint of the last epoch is lost: the run goes on from the first, on its own recipe
    sorted(run.checkpoints.iterdir())[-1].unlink()
    run.weights.unlink()
    observer = Silent()
    assert same(fit(run.recipe(), dataset, run.folder, observer).model, whole.model)
    assert len(observer.lines) == 1

    trained = load_trained(run.folder)
    result = evaluate.evaluate(trained, dataset)
    assert result.correct == whole.history[-1].test_correct
    assert (result.top5_accuracy is None) == (classes < 20)
    evaluate.write(result, run)
    assert json.loads(run.evaluation.read_text())["n"] == classes

    _, height, width = shape
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8))
    grey.save(tmp_path / "grey.png")
    grey.convert("RGB").resize((100, 70)).save(tmp_path / "colour.png")
    answers = Loaded(trained).predict([tmp_path / "grey.png", tmp_path / "colour.png"], top=2)
    assert [(answer.error, len(answer.classes)) for answer in answers] == [(None, 2), (None, 2)]
    maps = explain.gradcam(trained, dataset.test.images[:2], [0, classes - 1])
    assert maps.shape == (2, height, width)
