import numpy as np
from test_evaluate import by_hand

from flyweight.evaluation import evaluate, robustness
from flyweight.images.damage import damaged, damages


def test_all_damages_are_measured_and_told(tmp_path, monkeypatch):
    trained, dataset = by_hand(tmp_path)
    clean = evaluate.evaluate(trained, dataset)
    # this network reads an image's number off its first pixel: swapped images are swapped answers
    monkeypatch.setattr(robustness, "damaged", lambda images, damage, go_on: images[::-1])
    results = list(robustness.measure(trained, dataset))
    assert [result.damage for result in results] == list(damages(*dataset.spec.shape[1:]))
    assert {result.accuracy for result in results} == {40}  # it says 0 3 2 1 0, true are 0 1 2 0 5
    text = robustness.render(results, clean.accuracy)
    assert "JPEG, quality 75" in text
    assert "-20.00" in text
    assert results[0].as_json()["kind"] == "jpeg"
    assert results[0].as_json()["accuracy"] == 40


def test_images_are_damaged_part_by_part_as_they_are_all_at_once():
    images = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3), dtype=np.uint8)
    for damage in damages(16, 16):
        worse = robustness._Worse(images, damage)
        parts = np.concatenate([worse[slice(at, at + 3)] for at in range(0, 7, 3)])
        assert (parts == damaged(images, damage)).all(), damage
