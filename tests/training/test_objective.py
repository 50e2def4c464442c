from dataclasses import replace

import pytest
import torch
from conftest import fit
from torch.nn import functional as F

from flyweight.errors import FlyweightError
from flyweight.recipes.sections import TrainConfig
from flyweight.training.objective import Objective, distillation, load_teacher

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
    torch.testing.assert_close(plain.loss(outputs, mixed, labels, 0.25, 0), -(0.75 * own + 0.25 * other).mean())
    torch.testing.assert_close(plain.loss(outputs, inputs, labels, 0.0, 0), -own.mean())


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


def test_a_teacher_speaks_for_its_share_of_the_loss(striped, recipe, tmp_path):
    fit(recipe.model_copy(update={"train": recipe.train.model_copy(update={"epochs": 1})}), striped, tmp_path / "run")
    taught = objective(striped, teacher=str(tmp_path / "run"), teacher_share=0.25, label_smoothing=0.0)
    inputs, outputs, labels = torch.randn(4, 3, 32, 32), torch.randn(4, 2), torch.tensor([0, 1, 1, 0])
    trained = load_teacher(str(tmp_path / "run"), striped)
    with torch.no_grad():
        teacher = distillation(outputs, trained.model(inputs))
    expected = 0.75 * F.cross_entropy(outputs, labels) + 0.25 * teacher
    torch.testing.assert_close(taught.loss(outputs, inputs, labels, 0.0, 0), expected, rtol=1e-3, atol=1e-4)


def test_a_teacher_that_may_know_the_held_out_pictures_is_refused(striped, recipe, tmp_path):
    fit(recipe.model_copy(update={"train": recipe.train.model_copy(update={"epochs": 1})}), striped, tmp_path / "run")
    with pytest.raises(FlyweightError, match="train.teacher: .* was trained on other data"):
        objective(replace(striped, fingerprint="1" * 64), teacher=str(tmp_path / "run"))
