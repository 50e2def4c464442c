import warnings
from math import isclose, sqrt

import numpy as np
import pytest
import torch
from sklearn import metrics

from flyweight.evaluation import calibration, scores, shares

ABOUT = {"network": "net", "data": "data", "split": "test", "fingerprint": "f", "weights": "w"}


def test_the_wilson_interval_is_the_one_on_paper():
    # 85 of 100 with z = 1.96: z^2/n = 0.038416, centre (0.85 + 0.019208) / 1.038416 = 0.83705,
    # half sqrt(0.85 * 0.15 * 0.038416 + 0.038416^2 / 4) / 1.038416 = 0.06989
    assert shares.wilson(85, 100) == pytest.approx((76.72, 90.69), abs=0.01)
    # at the ends the formula becomes z^2 / (n + z^2) = 3.8415 / 13.8415
    assert shares.wilson(0, 10) == pytest.approx((0, 27.753), abs=0.001)
    assert shares.wilson(10, 10) == pytest.approx((72.247, 100), abs=0.001)
    assert 0 <= shares.wilson(0, 1)[0] < shares.wilson(1, 1)[1] <= 100


@pytest.mark.parametrize(("correct", "n"), [(1, 7), (8551, 10000), (36, 37)])
def test_both_ends_of_the_interval_are_where_the_score_test_turns(correct, n):
    for end in shares.wilson(correct, n):
        share = end / 100
        assert isclose(abs(correct / n - share), shares.Z95 * sqrt(share * (1 - share) / n), rel_tol=1e-9)


def test_calibration_error_by_hand():
    confidence = np.array([0.95, 0.95, 0.55, 0.55, 0.55, 0.25])
    correct = np.array([True, False, True, True, False, False])
    result = calibration.calibrate(confidence, correct, bins=10)
    # (0.9, 1]: 2 images, |1/2 - 0.95| = 0.45; (0.5, 0.6]: 3 images, |2/3 - 0.55| = 0.11667; (0.2, 0.3]: 1 image, 0.25
    assert result.error == pytest.approx(100 * (2 * 0.45 + 3 * (2 / 3 - 0.55) + 0.25) / 6)
    assert [bin.n for bin in result.bins] == [0, 0, 1, 0, 0, 3, 0, 0, 0, 2]
    assert result.bins[9].accuracy == 50
    assert result.bins[9].confidence == pytest.approx(95)
    assert result.bins[0].accuracy is None
    assert result.confidence == pytest.approx(100 * 3.8 / 6)


def test_a_bin_owns_its_upper_edge():
    result = calibration.calibrate(np.array([0.5, 0.50001, 1.0]), np.array([True, True, True]), bins=2)
    assert [bin.n for bin in result.bins] == [1, 2]


def test_scikit_learn_agrees():
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(0, 2, (400, 7)).astype(np.float32), generator.integers(0, 7, 400)
    result = scores.score(logits, labels, [str(i) for i in range(7)], **ABOUT)
    said = logits.argmax(1)
    assert result.accuracy == pytest.approx(100 * metrics.accuracy_score(labels, said))
    assert (result.confusion == metrics.confusion_matrix(labels, said)).all()
    precision, recall, _, support = metrics.precision_recall_fscore_support(labels, said)
    assert [score.precision for score in result.per_class] == pytest.approx(list(100 * precision))
    assert [score.accuracy for score in result.per_class] == pytest.approx(list(100 * recall))
    assert [score.n for score in result.per_class] == list(support)
    probabilities = torch.softmax(torch.from_numpy(logits).double(), 1).numpy()
    assert result.loss == pytest.approx(metrics.log_loss(labels, probabilities))
    top2 = metrics.top_k_accuracy_score(labels, logits, k=2, normalize=False)
    assert result.correct + result.near_misses == top2


def test_the_balanced_accuracy_is_scikit_learns_and_leaves_out_classes_without_images():
    generator = np.random.default_rng(0)
    labels = generator.choice(6, 500, p=[0.7, 0.2, 0.05, 0.04, 0.01, 0])
    logits = generator.normal(0, 1, (500, 6)).astype(np.float32)
    logits[:, 0] += 1
    result = scores.score(logits, labels, [str(i) for i in range(6)], **ABOUT)
    assert result.uneven
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="y_pred contains classes not in y_true")
        expected = metrics.balanced_accuracy_score(labels, logits.argmax(1))
    assert result.balanced_accuracy == pytest.approx(100 * expected)
    assert result.balanced_accuracy < result.accuracy - 5
    assert result.as_json()["balanced_accuracy"] == result.balanced_accuracy
    even = scores.score(logits[:50], np.arange(50) % 5, [str(i) for i in range(6)], **ABOUT)
    assert not even.uneven
    assert even.balanced_accuracy == pytest.approx(even.accuracy)


@pytest.mark.parametrize("classes", [20, 300])
def test_the_top_five_of_many_classes_are_scikit_learns(classes):
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(0, 2, (3000, classes)).astype(np.float32), generator.integers(0, classes, 3000)
    logits[np.arange(3000), labels] += 3
    result = scores.score(logits, labels, [str(i) for i in range(classes)], **ABOUT)
    expected = metrics.top_k_accuracy_score(labels, logits, k=5, labels=np.arange(classes))
    assert result.top5_accuracy == pytest.approx(100 * expected)
    assert 100 > result.top5_accuracy > result.accuracy > 0


def test_the_top_five_of_a_network_that_says_nothing_hold_five_classes():
    result = scores.score(np.zeros((40, 40), np.float32), np.arange(40), [str(i) for i in range(40)], **ABOUT)
    assert (result.accuracy, result.top5_accuracy) == (100 / 40, 100 * 5 / 40)
    assert sorted(mistake.true_rank for mistake in result.mistakes) == list(range(2, 41))
    few = scores.score(np.zeros((19, 19), np.float32), np.arange(19), [str(i) for i in range(19)], **ABOUT)
    assert few.top5_accuracy is None


def test_a_matrix_of_many_classes_is_written_as_its_pairs():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 101, 500)
    logits = generator.normal(0, 1, (500, 101)).astype(np.float32)
    result = scores.score(logits, labels, [str(i) for i in range(101)], **ABOUT)
    content = result.as_json()
    assert "confusion" not in content
    again = np.zeros((101, 101), int)
    for true, predicted, count in content["confusion_pairs"]:
        assert count > 0
        again[true, predicted] = count
    assert (again == result.confusion).all()
    hundred = scores.score(logits[:, :100], labels % 100, [str(i) for i in range(100)], **ABOUT)
    assert np.array(hundred.as_json()["confusion"]).shape == (100, 100)
    assert scores.confusions(result, 10_000) == sorted(
        ((t, p, n) for t, p, n in content["confusion_pairs"] if t != p), key=lambda pair: -pair[2]
    )


def test_two_thousand_classes_do_not_hurt():
    labels = np.arange(4000) % 2000
    logits = np.random.default_rng(0).normal(0, 1, (4000, 2000)).astype(np.float32)
    result = scores.score(logits, labels, [str(i) for i in range(2000)], **ABOUT)
    assert len(result.as_json()["confusion_pairs"]) <= 4000
    assert len(scores.confusions(result, 10)) == 10
