"""Which images an epoch has."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import Silent, change, fit, same, synthetic

from flyweight import schema
from flyweight.data import Split
from flyweight.errors import FlyweightError
from flyweight.images.augment import Augmenter
from flyweight.machine.together import Share
from flyweight.recipes.sections import AugmentConfig, TrainConfig
from flyweight.runs.folder import Run
from flyweight.training.batches import Batches, balanced, repetitions

COUNTS = (40, 2, 0, 7)
"""Images of each class, one of which has none."""
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(4), COUNTS))


@pytest.fixture(scope="module")
def rare():
    dataset = synthetic(4, 3, 32, 32, train=160, test=16)
    chosen = np.concatenate([np.flatnonzero(dataset.train.labels == label)[:n] for label, n in enumerate(COUNTS)])
    return replace(dataset, train=Split(dataset.train.images[chosen], dataset.train.labels[chosen]))


def test_each_class_is_drawn_equally_often_and_in_each_all_images_are():
    epochs = [balanced(LABELS, 40, 3, epoch) for epoch in range(30)]
    for epoch in epochs:
        assert sorted(np.bincount(LABELS[epoch], minlength=4)) == [0, 13, 13, 14]
    drawn = np.concatenate(epochs)
    # over the training no class and, within a class, no image is ahead by more than one
    assert np.bincount(LABELS[drawn]).tolist() == [400, 400, 0, 400]
    times = np.bincount(drawn, minlength=len(LABELS))
    for label in (0, 1, 3):
        assert np.ptp(times[label == LABELS]) <= 1


def test_the_draw_depends_on_seed_and_epoch_alone_and_its_order_is_random():
    first, second = balanced(LABELS, 40, 3, 0), balanced(LABELS, 40, 3, 1)
    assert np.array_equal(balanced(LABELS, 40, 3, 1), second)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, balanced(LABELS, 40, 4, 0))
    # not the classes' turns one after the other
    assert len({tuple(LABELS[first[at : at + 3]]) for at in range(0, 36, 3)}) > 4


def test_fewer_images_than_classes_take_turns_over_the_epochs():
    drawn = np.concatenate([balanced(np.arange(5), 2, 0, epoch) for epoch in range(5)])
    assert sorted(drawn.tolist()) == sorted(list(range(5)) * 2)


def test_repetitions_are_counted_in_their_order():
    assert repetitions(np.array([5, 2, 5, 5, 9, 2])).tolist() == [0, 0, 1, 2, 0, 1]
    assert repetitions(np.random.default_rng(0).permutation(50)).tolist() == [0] * 50


def test_shuffled_batches_are_what_they_always_were(rare):
    augmenter = Augmenter(AugmentConfig(), rare.mean, 5)
    images, labels, given = Batches(rare, augmenter, Share(8), 5)[2, 3]
    indices = np.random.default_rng((5, 2)).permutation(49)[24:32]
    assert np.array_equal(images.numpy(), augmenter(rare.train.images[indices], indices.tolist(), 2))
    assert np.array_equal(labels.numpy(), rare.train.labels[indices])
    assert np.array_equal(given.numpy(), indices)


def test_the_same_image_is_augmented_otherwise_each_time_it_comes(rare):
    def epoch(rank, world):
        config = AugmentConfig(shift_scale_rotate=1)
        batches = Batches(rare, Augmenter(config, rare.mean, 0), Share(8, rank, world), 0, "balanced")
        parts = [batches[1, step] for step in range(6)]
        return [torch.cat(part) for part in zip(*parts, strict=True)]

    images, labels, _ = epoch(0, 1)
    assert np.bincount(labels.numpy(), minlength=4).tolist() == [16, 16, 0, 16]
    two = images[labels == 1]
    assert len({image.numpy().tobytes() for image in two}) == 16
    for rank in (0, 1):
        places = np.concatenate([8 * step + Share(8, rank, 2).places for step in range(6)])
        assert torch.equal(epoch(rank, 2)[0], images[places])


def test_a_balanced_training_has_as_many_steps_and_goes_on_to_the_same_weights(rare, recipe, tmp_path):
    recipe = change(recipe, sampling="balanced", batch_size=16, epochs=2)
    observer = Silent()
    whole = fit(recipe, rare, tmp_path / "run", observer)
    assert observer.steps == [(epoch, step) for epoch in range(2) for step in (1, 2, 3)]
    run = Run(tmp_path / "run")
    sorted(run.checkpoints.iterdir())[-1].unlink()
    run.weights.unlink()
    assert same(fit(run.recipe(), rare, run.folder).model, whole.model)


def test_rare_classes_are_not_to_count_twice():
    with pytest.raises(FlyweightError, match=r"tests: sampling: .* rare classes would count twice: choose one"):
        schema.parse(TrainConfig, {"class_weights": "balanced", "sampling": "balanced"}, "the tests")
