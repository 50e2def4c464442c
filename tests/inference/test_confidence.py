import numpy as np
import pytest
from scipy.special import softmax

from flyweight.inference import confidence


def drawn(temperature, n=4000, classes=10, seed=0):
    """Logits, and labels drawn from what they mean with a temperature."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (n, classes)).astype(np.float32)
    shares = softmax(logits.astype(np.float64) / temperature, axis=1)
    labels = (shares.cumsum(1) < random.random((n, 1))).sum(1)
    return logits, np.minimum(labels, classes - 1)


def test_probabilities_are_softmax_and_no_order_changes():
    logits, _ = drawn(1)
    for temperature in (0.5, 1, 3):
        shares = confidence.probabilities(logits, temperature)
        assert shares == pytest.approx(softmax(logits.astype(np.float64) / temperature, axis=1), rel=1e-9)
        assert (shares.argmax(1) == logits.argmax(1)).all()
    # where the exponential alone would overflow
    assert confidence.probabilities(np.array([[1e4, 0.0]], np.float32)).tolist() == [[1, 0]]


@pytest.mark.parametrize("temperature", [0.5, 1, 2.5])
def test_the_temperature_that_labels_were_drawn_with_is_found(temperature):
    assert confidence.find_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.04)


def test_a_few_images_that_are_all_recognised_do_not_make_every_probability_one():
    logits, _ = drawn(1, n=10)
    found = confidence.find_temperature(logits, logits.argmax(1))
    assert 0.3 < found < 0.7
    # of many images the prior is not seen: the likeliest temperature of these is nearly zero
    many, _ = drawn(1, n=4000)
    assert confidence.find_temperature(many, many.argmax(1)) < 0.15


def test_the_threshold_is_what_nine_images_in_ten_reach():
    logits, _ = drawn(1)
    threshold = confidence.find_threshold(logits, 0.7)
    assert (confidence.probabilities(logits, 0.7).max(1) >= threshold).mean() == pytest.approx(0.9, abs=1e-3)
