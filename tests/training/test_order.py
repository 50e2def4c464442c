"""Which images an epoch leaves out because they are learnt already."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Silent, change, fit, fresh
from torch import nn

from flyweight import schema
from flyweight.errors import FlyweightError, RunError
from flyweight.images.preprocess import normalize
from flyweight.recipes.sections import TrainConfig
from flyweight.runs.folder import Run
from flyweight.training import checks
from flyweight.training.objective import Objective, distillation
from flyweight.training.order import NEVER_SHOWN, Order

COUNT = 100
LABELS = np.zeros(COUNT, np.int64)
CPU = torch.device("cpu")


def order(**settings):
    return Order(LABELS, 8, TrainConfig(**{"epochs": 16, "skip_easy": 0.3, **settings}))


def losses(values):
    return torch.stack((torch.as_tensor(values, dtype=torch.float32), torch.zeros(COUNT)))


def test_the_first_epoch_and_the_last_eighth_show_all():
    made = order()
    # 100 and 70 images in batches of 8
    assert [made.steps(epoch) for epoch in range(16)] == [12, *[8] * 13, 12, 12]
    assert [made.steps_before(epoch) for epoch in (0, 1, 2, 16)] == [0, 12, 20, 140]
    known = losses(np.arange(COUNT))
    for epoch in (0, 14, 15):
        drawn = made.draw(epoch, known)
        assert sorted(drawn.indices) == list(range(COUNT))
        assert drawn.weights is None


@pytest.mark.parametrize(("epochs", "short"), [(1, 0), (2, 0), (3, 1), (8, 6), (9, 6), (100, 86)])
def test_any_number_of_epochs_ends_with_one_that_shows_all(epochs, short):
    made = order(epochs=epochs)
    assert sum(map(made.skips, range(epochs))) == short
    assert not made.skips(epochs - 1)


def test_half_of_the_easy_images_are_left_out_and_the_other_half_counts_twice_as_much():
    values = np.random.default_rng(0).permutation(COUNT)
    drawn = order().draw(3, losses(values))
    gone = sorted(set(range(COUNT)) - set(drawn.indices))
    assert len(gone) == 30
    assert len(drawn.indices) == len(set(drawn.indices)) == 70
    assert max(values[gone]) < 60
    assert drawn.weights == pytest.approx([1.4 if value < 60 else 0.7 for value in values])
    # 30 of 1.4 and 40 of 0.7
    assert drawn.weights[drawn.indices].mean() == pytest.approx(1)


def test_in_the_long_run_each_easy_image_is_shown_every_other_time():
    made, known = order(epochs=1000), losses(np.arange(COUNT))
    epochs = range(1, 801)
    times = sum(np.bincount(made.draw(epoch, known).indices, minlength=COUNT) for epoch in epochs)
    assert times[60:].tolist() == [800] * 40
    # a standard deviation of 14
    assert abs(times[:60] - 400).max() < 60


def test_an_image_that_was_never_shown_is_none_of_the_easy_ones():
    known = order().unknown_losses(CPU)
    known[0, 50:] = 5.0
    for epoch in range(1, 14):
        assert set(range(50)) - set(order(skip_easy=0.25).draw(epoch, known).indices) == set()
    assert order(skip_easy=0).unknown_losses(CPU) is None


def test_the_draw_follows_from_seed_epoch_and_losses_alone_and_keeps_the_order():
    made, known = order(), losses(np.arange(COUNT))
    drawn = made.draw(3, known)
    assert np.array_equal(order().draw(3, known).indices, drawn.indices)
    others = (order(seed=1).draw(3, known), made.draw(4, known), made.draw(3, losses(np.arange(COUNT)[::-1].copy())))
    for other in others:
        assert set(other.indices) != set(drawn.indices)
    whole = made.draw(3, None).indices
    assert drawn.indices.tolist() == [index for index in whole if index in set(drawn.indices)]


def test_what_an_epoch_has_not_shown_keeps_its_last_loss():
    made, known = order(), losses(np.full(COUNT, 3.0))
    drawn = made.draw(3, known)
    known[1, drawn.indices] = 2.0
    made.end(3, drawn, known)
    shown = drawn.indices[:64]
    assert known[0, shown].tolist() == [2.0] * 64
    assert known[0].sum() == 2 * 64 + 3 * 36
    assert not known[1].any()


def test_a_training_leaves_out_what_it_has_learnt_best(striped, recipe, tmp_path, monkeypatch):
    seen, plain = [], Order.draw

    def spied(self, epoch, known):
        drawn = plain(self, epoch, known)
        seen.append((known[0].clone(), drawn))
        return drawn

    monkeypatch.setattr(Order, "draw", spied)
    observer = Silent()
    result = fit(change(recipe, epochs=4, batch_size=32, skip_easy=0.25), striped, tmp_path / "run", observer)
    lengths = [6, 4, 4, 6]
    assert observer.steps == [(epoch, step + 1) for epoch, steps in enumerate(lengths) for step in range(steps)]
    assert bool((seen[0][0] == NEVER_SHOWN).all())
    for (known, drawn), (later, _) in itertools.pairwise(seen[1:]):
        assert float(known.max()) < NEVER_SHOWN
        gone = sorted(set(range(192)) - set(drawn.indices))
        assert len(gone) == 48
        assert known[gone].max() <= known.sort().values[95]
        assert torch.equal(later[gone], known[gone])
        assert not torch.equal(later[drawn.indices], known[drawn.indices])
    assert [row.epoch for row in result.history] == [1, 2, 3, 4]
    # of the images that were shown
    assert all(0 <= row.train_accuracy <= 100 for row in result.history)


def test_the_losses_are_those_of_the_labels_alone(striped, recipe, tmp_path):
    """With a learning rate that changes next to nothing they are what the network says of the images as they are."""
    still = change(
        recipe, epochs=1, batch_size=96, skip_easy=0.25, optimizer="sgd", learning_rate=1e-12, label_smoothing=0.3
    )
    plain = recipe.augment.model_copy(update=dict.fromkeys(("flip", "shift_scale_rotate", "cutout"), 0))
    still = change(still.model_copy(update={"augment": plain}), precision="float32")
    fit(still, striped, tmp_path / "run")
    content = Run.open(tmp_path / "run").load_checkpoint()[0]
    network = fresh(still, striped).train()
    for indices in np.split(Order(striped.train.labels, 96, still.train).draw(0, None).indices, 2):
        inputs = normalize(torch.from_numpy(np.array(striped.train.images[indices])), striped.mean, striped.std)
        with torch.no_grad():
            expected = F.cross_entropy(
                network(inputs), torch.from_numpy(striped.train.labels[indices]), reduction="none"
            )
        torch.testing.assert_close(content["losses"][0, torch.from_numpy(indices)], expected, rtol=1e-4, atol=1e-5)


def test_an_image_that_counts_double_counts_as_two(striped):
    objective = Objective(TrainConfig(), striped, CPU)
    outputs, answers = torch.randn(4, 10), torch.randn(4, 10)
    labels, weights = torch.tensor([3, 1, 4, 1]), torch.tensor([2.0, 1, 1, 2])
    twice = torch.tensor([0, 0, 1, 2, 3, 3])
    weighted = objective.loss(outputs, labels, 0, 0, answers, weights)
    assert weighted * 4 == pytest.approx(objective.loss(outputs[twice], labels[twice], 0, 0, answers[twice]) * 6)
    plain = distillation(outputs, answers, 2.0)
    assert distillation(outputs, answers, 2.0, torch.ones(4)) == pytest.approx(float(plain))


def test_what_cannot_be_is_refused(striped, recipe):
    for other, why in (({"mixup": 0.2}, "leave it out, or train.mixup"), ({"sampling": "balanced"}, "choose one")):
        with pytest.raises(FlyweightError, match=f"tests: skip_easy: .*{why}"):
            schema.parse(TrainConfig, {"skip_easy": 0.3, **other}, "the tests")
    with pytest.raises(FlyweightError, match="skip_easy"):
        schema.parse(TrainConfig, {"skip_easy": 0.6}, "the tests")
    too_much = change(recipe, batch_size=150, skip_easy=0.25)
    with pytest.raises(
        FlyweightError, match=r"train.skip_easy: 0.25 leaves 144 of 192 images, fewer than a batch of 150"
    ):
        checks.check_trainable(nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)), striped, too_much)


@pytest.mark.parametrize("wrong", [None, torch.zeros(2, 7)])
def test_a_checkpoint_whose_losses_are_of_another_training_is_told(striped, recipe, tmp_path, wrong):
    recipe = change(recipe, epochs=4, skip_easy=0.25)
    fit(recipe, striped, tmp_path / "run")
    run = Run.open(tmp_path / "run")
    content = run.load_checkpoint()[0] | {"losses": wrong}
    run.save_checkpoint(content, 4, 0, 2)
    with pytest.raises(RunError, match="does not fit: losses says what this training does not write"):
        fit(recipe, striped, run.folder)
