from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import fresh, synthetic
from torch.nn import functional as F

from flyweight.data import Split
from flyweight.recipes.sections import TrainConfig
from flyweight.training.objective import Objective, balanced, distillation

CPU = torch.device("cpu")


def objective(dataset, **settings):
    return Objective(TrainConfig(precision="float32", **settings), dataset, CPU)


def test_smoothing_stays_or_moves_in_a_straight_line(striped):
    assert objective(striped, label_smoothing=0.2).smoothing(0.9) == 0.2
    falling = objective(striped, label_smoothing=0.2, label_smoothing_end=0.1)
    assert [falling.smoothing(progress) for progress in (0, 0.5, 1)] == pytest.approx([0.2, 0.15, 0.1])


def test_a_mixed_batch_is_learnt_with_both_labels(striped):
    inputs, outputs, labels = torch.randn(4, 3, 8, 8), torch.randn(4, 2), torch.tensor([0, 0, 1, 1])
    plain = objective(striped, label_smoothing=0.0)
    mixed = plain.mixed(inputs, 0.25)
    torch.testing.assert_close(mixed[0], 0.75 * inputs[0] + 0.25 * inputs[3])
    torch.testing.assert_close(mixed[2], 0.75 * inputs[2] + 0.25 * inputs[1])
    assert plain.mixed(inputs, 0.0) is inputs
    log_shares, rows = outputs.log_softmax(1), torch.arange(4)
    own, other = log_shares[rows, labels], log_shares[rows, labels.flip(0)]
    torch.testing.assert_close(plain.loss(outputs, labels, 0.25, 0), -(0.75 * own + 0.25 * other).mean())
    torch.testing.assert_close(plain.loss(outputs, labels, 0.0, 0), -own.mean())


def test_fewer_and_fewer_batches_are_mixed_and_none_by_more_than_half(striped):
    torch.manual_seed(0)
    mixing, rates = objective(striped, mixup=0.5), []
    for progress in (0, 1 / 3, 2 / 3, 1):
        shares = [mixing.share_of_another(progress) for _ in range(300)]
        assert max(shares) <= 0.5
        rates.append(sum(share > 0 for share in shares) / 300)
    assert rates == pytest.approx([1, 2 / 3, 1 / 3, 0], abs=0.1)
    assert objective(striped).share_of_another(0) == 0


def test_distillation_is_zero_at_the_teacher_and_has_its_gradient_at_any_temperature():
    answers = torch.randn(5, 10)
    assert distillation(answers + 3, answers).item() == pytest.approx(0, abs=1e-6)
    # Hinton et al., equation 4: at a high temperature, for logits of mean zero, (outputs - answers) / classes
    answers = answers - answers.mean(1, keepdim=True)
    outputs = torch.randn(5, 10)
    outputs = (outputs - outputs.mean(1, keepdim=True)).requires_grad_()
    distillation(outputs, answers, temperature=1e3).backward()
    torch.testing.assert_close(5 * outputs.grad, (outputs.detach() - answers) / 10, rtol=0.02, atol=1e-3)


def test_a_teacher_speaks_for_its_share_of_the_loss(striped):
    taught = objective(striped, teacher_share=0.25, label_smoothing=0.0)
    outputs, answers, labels = torch.randn(4, 2), torch.randn(4, 2), torch.tensor([0, 1, 1, 0])
    expected = 0.75 * F.cross_entropy(outputs, labels) + 0.25 * distillation(outputs, answers)
    torch.testing.assert_close(taught.loss(outputs, labels, 0.0, 0, answers), expected)


def uneven(counts):
    """Images of so many of each class."""
    dataset = synthetic(len(counts), 3, 32, 32, train=8, test=8)
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.zeros((len(labels), 32, 32, 3), np.uint8)
    return replace(dataset, train=Split(images, labels))


def test_balanced_weights_let_all_classes_count_as_much_and_a_mean_image_1():
    labels = np.repeat([0, 1, 3], [20, 1, 9])
    weights = balanced(labels, 5)
    assert weights == pytest.approx([30 / 3 / 20, 30 / 3 / 1, 0, 30 / 3 / 9, 0])
    assert [weights[labels][labels == label].sum() for label in (0, 1, 3)] == pytest.approx([10, 10, 10])
    assert weights[labels].mean() == pytest.approx(1)
    assert (balanced(np.arange(12) % 4, 4) == 1).all()


@pytest.mark.parametrize("share", [0.0, 0.25], ids=["whole", "mixed"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1], ids=["hard", "smooth"])
def test_an_image_pulls_by_the_weight_of_its_class_whatever_else_is_in_the_batch(share, smoothing):
    dataset = uneven([20, 1, 0])
    weighted = objective(dataset, class_weights="balanced", label_smoothing=smoothing)
    plain = objective(dataset, label_smoothing=smoothing)
    for labels in ([0, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]):
        labels = torch.tensor(labels)
        outputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
        weighted.loss(outputs, labels, share, 0).backward()
        got, outputs.grad = outputs.grad, None
        expected = torch.zeros(4, 3)
        # what each image's own label and the other one's pull, each by its own class
        for part, own in ((1 - share, labels), (share, labels.flip(0))):
            outputs.grad = None
            plain.loss(outputs, own, 0.0, 0).backward()
            expected += part * weighted.weights[own][:, None] * outputs.grad
        torch.testing.assert_close(got, expected)


def test_balanced_weights_make_the_gradients_of_an_uneven_set_those_of_an_even_one(recipe):
    # 20 images of one class and 1 of the other: weighted, they pull as one of each would
    dataset = synthetic(2, 3, 32, 32, train=40, test=8)
    first, second = (dataset.train.images[dataset.train.labels == label] for label in (0, 1))
    images = np.concatenate([first, second[:1]])
    uneven_set = replace(dataset, train=Split(images, np.repeat([0, 1], [20, 1])))
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - 0.5
    network = fresh(recipe, dataset).eval()
    labels = torch.from_numpy(uneven_set.train.labels)

    def gradients(loss):
        network.zero_grad()
        loss.backward()
        return torch.cat([parameter.grad.flatten() for parameter in network.parameters()])

    of_class = [
        gradients(F.cross_entropy(network(inputs[labels == label]), labels[labels == label], label_smoothing=0.1))
        for label in (0, 1)
    ]
    weighted = objective(uneven_set, class_weights="balanced", label_smoothing=0.1)
    got = gradients(weighted.loss(network(inputs), labels, 0.0, 0))
    torch.testing.assert_close(got, (of_class[0] + of_class[1]) / 2, rtol=1e-3, atol=1e-5)
    plain = gradients(objective(uneven_set, label_smoothing=0.1).loss(network(inputs), labels, 0.0, 0))
    torch.testing.assert_close(plain, (20 * of_class[0] + of_class[1]) / 21, rtol=1e-3, atol=1e-5)
    assert (got - plain).norm() > 0.2 * plain.norm()
