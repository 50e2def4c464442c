import numpy as np
import pytest

from flyweight.images.damage import Damage, damaged, damages

DAMAGES = damages(32, 32)


@pytest.fixture(scope="module")
def images():
    """Smooth images, as photographs are, 32x32."""
    y, x = np.mgrid[:32, :32] / 31
    channels = [128 + 100 * np.sin(5 * x + phase) * np.cos(4 * y + 2 * phase) for phase in range(24)]
    return np.stack(channels, -1).reshape(32, 32, 8, 3).transpose(2, 0, 1, 3).round().astype(np.uint8)


def distance(one, other):
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.label)
def test_a_damage_changes_each_image_in_the_same_way_each_time(images, damage):
    before = images.copy()
    result = damaged(images, damage)
    assert (result.shape, result.dtype) == (images.shape, np.uint8)
    assert all((a != b).any() for a, b in zip(result, images, strict=True))
    assert (damaged(images, damage) == result).all()
    assert (images == before).all()


@pytest.mark.parametrize("kind", ["jpeg", "blur", "noise", "shift"])
def test_a_stronger_damage_is_stronger(images, kind):
    distances = [distance(damaged(images, damage), images) for damage in DAMAGES if damage.kind == kind]
    assert distances == sorted(distances)
    assert distances[0] < distances[-1]


def test_noise_has_its_sigma():
    grey = np.full((20, 32, 32, 3), 128, np.uint8)
    noise = damaged(grey, Damage("noise", 10)).astype(float) - 128
    assert noise.std() == pytest.approx(10, rel=0.05)
    assert noise.mean() == pytest.approx(0, abs=0.5)


def test_a_shift_goes_all_four_ways_by_whole_pixels():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    ways = {"right": (0, 4), "left": (0, -4), "down": (4, 0), "up": (-4, 0)}
    found = set()
    for result in damaged(np.stack([image] * 40), Damage("shift", 4)):
        for name, (y, x) in ways.items():
            if (result[8:24, 8:24] == image[8 - y : 24 - y, 8 - x : 24 - x]).all():
                found.add(name)
    assert found == set(ways)


def test_pixels_are_those_of_a_side_of_32_and_greys_are_greys():
    def labels(height, width):
        return [damage.label for damage in damages(height, width)]

    greys = ["noise, sigma 5 of 255", "noise, sigma 10 of 255", "noise, sigma 20 of 255"]
    blurs = ["blur, sigma 0.5 pixels", "blur, sigma 1.0 pixels", "blur, sigma 1.5 pixels"]
    jpegs = ["JPEG, quality 75", "JPEG, quality 50"]
    assert labels(32, 40) == [*jpegs, *blurs, *greys, "shift by 2 pixels", "shift by 4 pixels", "shift by 8 pixels"]
    double = ["blur, sigma 1.0 pixels", "blur, sigma 2.0 pixels", "blur, sigma 3.0 pixels"]
    assert labels(80, 64) == [*jpegs, *double, *greys, "shift by 4 pixels", "shift by 8 pixels", "shift by 16 pixels"]
    assert labels(8, 8)[-3:] == ["shift by 1 pixel", "shift by 1 pixel", "shift by 2 pixels"]
