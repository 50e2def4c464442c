"""Close hashes are found as by comparing all with all; pixels decide which of them are copies."""

import io

import numpy as np
import pytest
from image_sets import picture
from PIL import Image

from flyweight.data import duplicates, hashes
from flyweight.data.dataset import silent
from flyweight.data.decoding import perceptual_hashes


def flip(values, bits, random):
    """The values with so many bits changed in each."""
    places = np.stack([random.choice(64, bits, replace=False) for _ in values]).astype(np.uint64)
    return values ^ (np.uint64(1) << places).sum(1, dtype=np.uint64)


def by_force(values, distance):
    bits = np.unpackbits((values[:, None] ^ values[None]).view(np.uint8), axis=1).reshape(len(values), -1, 64).sum(2)
    return {(i, j) for i, j in zip(*np.nonzero(bits <= distance), strict=True) if i < j}


@pytest.mark.parametrize("distance", [0, 3, 7, 10])
def test_close_hashes_are_those_of_comparing_all_with_all(distance, monkeypatch):
    random = np.random.default_rng(distance)
    base = random.integers(0, 2**64, 300, dtype=np.uint64)
    values = np.unique(np.concatenate([base, *(flip(base[:60], bits, random) for bits in (1, 3, 7, 10, 11))]))
    expected = by_force(values, distance)
    for bands in (False, True):
        monkeypatch.setattr(hashes, "_cost", lambda *_, bands=bands: 0 if bands else 1e12)
        found = hashes.close(values, distance, silent)
        assert set(map(tuple, found.pairs.tolist())) == expected
        assert (len(found.pairs), found.distance) == (len(expected), distance)


def test_it_comes_down_to_fewer_bits_where_there_is_too_much_and_says_so(monkeypatch):
    values = np.arange(600, dtype=np.uint64)  # none of them differs from another in more than 10 bits
    monkeypatch.setattr(hashes, "MOST_FOUND", 10_000)
    found = hashes.close(values, 10, silent)
    assert found.distance < 10
    assert set(map(tuple, found.pairs.tolist())) == by_force(values, found.distance)
    monkeypatch.setattr(hashes, "MOST_COMPARED", 10)
    assert hashes.close(values, 10, silent).distance == -1


def jpeg(pixels, quality):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def brighter(pixels, by=15):
    return np.clip(pixels.astype(int) + by, 0, 255).astype(np.uint8)


def search(images):
    images = np.stack(images)
    hashed = perceptual_hashes(images)
    return duplicates.near(images.__getitem__, hashed, images.mean((1, 2, 3)), silent)


def test_a_compressed_copy_and_a_brighter_one_are_found_and_different_images_are_not():
    different = [picture(seed, 48, 48) for seed in range(40)]
    found = search([*different, jpeg(different[3], 80), brighter(different[7])])
    assert found.pairs.tolist() == [[3, 40], [7, 41]] or found.pairs.tolist() == [[7, 41], [3, 40]]
    assert found.notes == ()


def test_neither_noise_nor_flat_colours_are_copies_of_each_other():
    random = np.random.default_rng(0)
    noise = [random.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(2)]
    flat = [np.full((32, 32, 3), level, np.uint8) for level in (10, 200)]
    assert not duplicates.similar(*noise)
    assert not duplicates.similar(*flat)


def test_padding_that_two_images_share_does_not_make_them_alike():
    random = np.random.default_rng(0)
    padded = np.full((2, 32, 32, 3), 128, np.uint8)
    for image in padded:
        image[8:24] = 255 - random.integers(0, 60, (16, 32, 3))
    assert not duplicates.similar(*padded)
    assert duplicates.similar(padded[0], np.where(padded[0] == 128, 128, padded[0] - 5))


def test_images_of_one_pattern_must_be_very_close_copies():
    """Strokes on black, as handwritten digits are: thousands of pairs are much alike, and only the copy is one."""
    random = np.random.default_rng(0)
    images = []
    for _ in range(60):
        strokes = Image.new("L", (32, 32))
        left = 12 + 2 * random.random(40)
        pixels = np.zeros((128, 128), np.uint8)
        for row in range(16, 112):
            start = int(4 * left[row // 4]) + random.integers(-1, 2)
            pixels[row, start : start + 20] = 255
        strokes = Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC)
        images.append(np.asarray(strokes)[..., None])
    copy = np.clip(images[0] * 0.9, 0, 255).astype(np.uint8)
    found = search([*images, copy])
    assert [0, 60] in found.pairs.tolist()
    assert len(found.pairs) < 10
    assert any("so much alike" in note for note in found.notes)


def test_many_images_of_one_hash_are_compared_with_their_neighbours_alone(monkeypatch):
    images = [picture(0, 32, 32)] * 1
    images += [brighter(images[0] // 2, by) for by in range(1, 60)]
    monkeypatch.setattr(duplicates, "NEIGHBOURS", 3)
    found = search(images)
    assert any("share a hash" in note for note in found.notes)
    assert len(np.unique(found.pairs)) == 60
    assert len(found.pairs) < 60 * 20
