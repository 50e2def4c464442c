import numpy as np
import pytest
from test_evaluate import by_hand

from flyweight.evaluation import evaluate, robustness
from flyweight.images import damage
from flyweight.images.damage import DAMAGES, Damage, damaged


@pytest.fixture(scope="module")
def pictures():
    """Smooth images, as photographs are, 32x32."""
    y, x = np.mgrid[:32, :32] / 31
    channels = [128 + 100 * np.sin(5 * x + phase) * np.cos(4 * y + 2 * phase) for phase in range(24)]
    return np.stack(channels, -1).reshape(32, 32, 8, 3).transpose(2, 0, 1, 3).round().astype(np.uint8)


def distance(one, other):
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.label)
def test_a_damage_changes_each_picture_in_the_same_way_each_time(pictures, damage):
    before = pictures.copy()
    result = damaged(pictures, damage)
    assert (result.shape, result.dtype) == (pictures.shape, np.uint8)
    assert all((a != b).any() for a, b in zip(result, pictures, strict=True))
    assert (damaged(pictures, damage) == result).all()
    assert (pictures == before).all()


@pytest.mark.parametrize("kind", ["jpeg", "blur", "noise", "shift"])
def test_a_stronger_damage_is_stronger(pictures, kind):
    distances = [distance(damaged(pictures, damage), pictures) for damage in DAMAGES if damage.kind == kind]
    assert distances == sorted(distances)
    assert distances[0] < distances[-1]


def test_noise_has_its_sigma():
    grey = np.full((20, 32, 32, 3), 128, np.uint8)
    noise = damaged(grey, Damage("noise", 10)).astype(float) - 128
    assert noise.std() == pytest.approx(10, rel=0.05)
    assert noise.mean() == pytest.approx(0, abs=0.5)


def test_a_shift_goes_all_four_ways_by_whole_pixels():
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    ways = {"right": (0, 4), "left": (0, -4), "down": (4, 0), "up": (-4, 0)}
    found = set()
    for result in damaged(np.stack([picture] * 40), Damage("shift", 4)):
        for name, (y, x) in ways.items():
            if (result[8:24, 8:24] == picture[8 - y : 24 - y, 8 - x : 24 - x]).all():
                found.add(name)
    assert found == set(ways)


def test_all_damages_are_measured_and_told(tmp_path, monkeypatch):
    trained, dataset = by_hand(tmp_path)
    clean = evaluate.evaluate(trained, dataset)
    # this network reads an image's number off its first pixel: swapped images are swapped answers
    monkeypatch.setattr(damage, "damaged", lambda images, damage: images[::-1])
    results = list(robustness.measure(trained, dataset))
    assert [result.damage for result in results] == list(DAMAGES)
    assert {result.accuracy for result in results} == {40}  # it says 0 3 2 1 0, true are 0 1 2 0 5
    text = robustness.render(results, clean.accuracy)
    assert "JPEG, quality 75" in text
    assert "-20.00" in text
    assert results[0].as_json()["kind"] == "jpeg"
    assert results[0].as_json()["accuracy"] == 40
