"""R6, and the traps of albumentations 2.0.8 that were found before this was written."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from flyweight.errors import FlyweightError
from flyweight.images import augment
from flyweight.images.augment import Augmenter
from flyweight.machine.together import Share
from flyweight.recipes.sections import AugmentConfig
from flyweight.training.batches import Batches

MEAN = (0.4914, 0.4822, 0.4465)


@pytest.fixture(scope="module")
def images():
    """Smooth images with noise, no two pixels alike by rule, so that any change shows."""
    generator = np.random.default_rng(0)
    ramp = np.linspace(0, 200, 32)[None, :, None, None] + np.linspace(0, 40, 32)[None, None, :, None]
    return np.clip(ramp + generator.integers(0, 40, (1500, 32, 32, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "config",
    [
        AugmentConfig(),
        AugmentConfig(flip=1, shift_scale_rotate=1, cutout=1),
        AugmentConfig(flip=0, shift_scale_rotate=0.9, cutout=0, shift=0.3, scale=0.5, rotate=180),
        AugmentConfig(flip=0.2, shift_scale_rotate=0, cutout=0.5, cutout_size=9),
        AugmentConfig(flip=0, shift_scale_rotate=0, cutout=0),
        AugmentConfig(shift_scale_rotate=1, shift=0, scale=0, rotate=0, cutout=0.3, cutout_size=32),
    ],
)
def test_the_batched_way_equals_albumentations_to_the_grey_level(images, config):
    augmenter = Augmenter(config, MEAN, seed=3)
    indices = range(7, 7 + len(images))
    for epoch in (0, 5):
        batched = augmenter(images, indices, epoch)
        assert np.array_equal(batched, augmenter.by_albumentations(images, indices, epoch))


@pytest.mark.parametrize(
    "shape",
    [(28, 28, 1), (64, 48, 3), (24, 40, 3), (20, 30, 7), (1, 1, 1)],
    ids=lambda shape: "x".join(map(str, shape)),
)
def test_images_of_any_shape_equal_albumentations_too(shape):
    images = np.random.default_rng(0).integers(0, 256, (300, *shape), dtype=np.uint8)
    config = AugmentConfig(flip=0.5, shift_scale_rotate=0.8, cutout=0.8)
    augmenter = Augmenter(config, tuple(np.linspace(0.2, 0.9, shape[2])))
    batched = augmenter(images, range(300), 0)
    assert batched.shape == images.shape
    assert np.array_equal(batched, augmenter.by_albumentations(images, range(300), 0))


def test_an_image_depends_on_seed_epoch_and_index_alone(images):
    augmenter = Augmenter(AugmentConfig(), MEAN, seed=1)
    whole = augmenter(images[:64], range(64), 2)
    shuffled = np.random.default_rng(0).permutation(64)
    assert np.array_equal(Augmenter(AugmentConfig(), MEAN, seed=1)(images[shuffled], shuffled, 2), whole[shuffled])
    assert not np.array_equal(augmenter(images[:64], range(64), 3), whole)
    assert not np.array_equal(augmenter(images[:64], range(64, 128), 2), whole)
    assert not np.array_equal(Augmenter(AugmentConfig(), MEAN, seed=2)(images[:64], range(64), 2), whole)


def test_the_input_is_left_alone(images):
    before = images.copy()
    Augmenter(AugmentConfig(flip=1, shift_scale_rotate=1, cutout=1), MEAN)(images, range(len(images)), 0)
    assert np.array_equal(images, before)


def test_coin_flips_are_independent():
    """Trap 1: Compose(seed=N) makes all transforms fire together or not at all."""
    count = 4000
    # one image, so that each transform leaves a mark of its own; its left half is dark
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, 16:] = 200
    batch = np.repeat(image[None], count, axis=0)
    config = AugmentConfig(flip=0.5, shift_scale_rotate=0.5, cutout=0.5, shift=0, scale=0, rotate=0)
    augmenter = Augmenter(config, (0.1, 0.2, 0.3))
    augmenter(batch[:1], [0], 0)
    draws = []
    for index in range(count):
        augmenter._reseed(0, index)
        draw = augmenter._draw(32, 32)
        draws.append((draw.flip, draw.warp is not None, draw.hole is not None))
    table = np.array(draws)
    # each of the eight combinations has probability 1/8: 500 of 4,000, standard deviation 21
    counts = np.bincount(table @ [4, 2, 1], minlength=8)
    assert counts.min() > 500 - 5 * 21
    assert counts.max() < 500 + 5 * 21


@pytest.mark.parametrize("workers", [1, 2])
def test_the_same_batches_for_any_number_of_workers(striped, workers):
    """Trap 2: workers emit the same stream, and every epoch repeats the first."""

    def batches(count):
        dataset = Batches(striped, Augmenter(AugmentConfig(), striped.mean, 0), Share(32), 0)
        positions = [(epoch, step) for epoch in range(2) for step in range(6)]
        loader = torch.utils.data.DataLoader(dataset, batch_size=None, sampler=positions, num_workers=count)
        return [[part.clone() for part in batch] for batch in loader]

    alone, shared = batches(0), batches(workers)
    for one, other in zip(alone, shared, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    firsts = (
        torch.stack([images for images, *_ in alone[:6]]).sum(),
        torch.stack([images for images, *_ in alone[6:]]).sum(),
    )
    assert firsts[0] != firsts[1]


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_an_epoch_shows_each_image_once_and_processes_share_it(striped, world):
    def batches(share):
        return Batches(striped, Augmenter(AugmentConfig(), striped.mean, 0), share, 0)

    whole = batches(Share(32))
    images, labels, indices = whole[0, 3]
    assert torch.equal(labels, torch.from_numpy(striped.train.labels[indices]))
    assert sorted(whole._drawn.indices) == list(range(192))
    shares = [Share(32, rank, world) for rank in range(world)]
    assert sum(share.weight for share in shares) == pytest.approx(1)
    for share in shares:
        for part, of_all in zip(batches(share)[0, 3], (images, labels, indices), strict=True):
            assert torch.equal(part, of_all[share.places])


@pytest.mark.parametrize("size", [1, 2, 7, 8, 33])
def test_a_share_of_a_batch_holds_the_images_that_are_mixed_with_its_own(size):
    world = min(4, (size + 1) // 2)
    shares = [Share(size, rank, world).places for rank in range(world)]
    assert sorted(np.concatenate(shares)) == list(range(size))
    for places in shares:
        assert len(places)
        assert np.array_equal(size - 1 - places[::-1], places)
    assert max(map(len, shares)) - min(map(len, shares)) <= 2


def test_an_image_that_comes_again_in_an_epoch_looks_otherwise_and_the_first_time_as_ever():
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)[[0, 1, 0, 0, 1]]
    augmenter = Augmenter(AugmentConfig(flip=0.5, shift_scale_rotate=1, cutout=1), MEAN, seed=2**32 - 1)
    indices, before = [7, 8, 7, 7, 8], [0, 0, 1, 2, 1]
    result = augmenter(images, indices, 3, before)
    assert np.array_equal(result, augmenter.by_albumentations(images, indices, 3, before))
    assert np.array_equal(result[:2], augmenter(images[:2], indices[:2], 3))
    # place by place another one: the hole and the map are drawn from two generators
    assert len({image.tobytes() for image in result}) == 5
    holes = Augmenter(AugmentConfig(flip=0, shift_scale_rotate=0, cutout=1), MEAN)
    assert len({image.tobytes() for image in holes(images[[0] * 9], [7] * 9, 0, range(9))}) > 5
    assert np.array_equal(augmenter(images[2:4], [7, 7], 3, [1, 2]), result[2:4])


def test_the_hole_is_one_square_of_the_data_sets_mean():
    """Trap 3: a fill in 0 to 1 on uint8 images is a black hole; max_holes and its like are dropped with a warning."""
    batch = np.full((200, 32, 32, 3), 255, np.uint8)
    result = Augmenter(AugmentConfig(flip=0, shift_scale_rotate=0, cutout=1), MEAN)(batch, range(200), 0)
    for image in result:
        hole = (image != 255).any(2)
        rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        assert hole.sum() == 16 * 16
        assert (np.ptp(rows), np.ptp(columns)) == (15, 15)
        assert image[hole].tolist() == [[125, 122, 113]] * 256  # 255 * mean, cut to a grey level
    # every place occurs: the hole lies wholly inside, so 17 rows are open to its upper edge
    tops = {int(np.flatnonzero((image != 255).any((1, 2)))[0]) for image in result}
    assert tops == set(range(17))


@pytest.mark.parametrize(
    ("shape", "side"), [((28, 28, 1), 14), ((64, 48, 3), 24), ((7, 9, 2), 3), ((1, 1, 3), 1), ((32, 32, 3), 16)]
)
def test_the_hole_is_half_of_the_smaller_side_unless_the_recipe_says_otherwise(shape, side):
    batch = np.full((4, *shape), 255, np.uint8)
    mean = (0.25,) * shape[2]
    result = Augmenter(AugmentConfig(flip=0, shift_scale_rotate=0, cutout=1), mean)(batch, range(4), 0)
    for image in result:
        assert (image != 255).all(2).sum() == side * side
        assert set(image[image != 255].tolist()) == {63}  # 255 * mean, cut to a grey level
    own = Augmenter(AugmentConfig(flip=0, shift_scale_rotate=0, cutout=1, cutout_size=1), mean)(batch, range(4), 0)
    assert [(image != 255).all(2).sum() for image in own] == [1] * 4


def test_one_augmenter_takes_images_of_any_size_in_turn():
    config = AugmentConfig(flip=0, shift_scale_rotate=0, cutout=1)
    augmenter = Augmenter(config, (0.0,))
    for side in (32, 8, 32):
        batch = np.full((2, side, side, 1), 255, np.uint8)
        assert ((augmenter(batch, range(2), 0) == 0).sum((1, 2, 3)) == (side // 2) ** 2).all()


def test_arguments_of_version_1_are_refused():
    A = augment.import_albumentations()  # noqa: N806
    with pytest.raises(ValueError, match="max_holes"):
        A.Compose([A.CoarseDropout(max_holes=1, strict=True)], strict=True)


def test_no_call_home_no_threads_and_no_import_before_it_is_needed():
    """Trap 4, in a process of its own."""
    code = (
        "import sys, os, socket\n"
        # the library would catch what it raises
        "def refuse(*a, **k): os._exit(9)\n"
        "socket.socket.connect = refuse; socket.getaddrinfo = refuse\n"
        "os.environ.pop('NO_ALBUMENTATIONS_UPDATE', None)\n"
        "from flyweight.images import augment\n"
        "assert 'albumentations' not in sys.modules\n"
        "augment.import_albumentations()\n"
        "import cv2; print(cv2.getNumThreads(), 'albumentations' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["1", "True"]), done.stderr


def test_albumentationsx_is_refused(monkeypatch):
    monkeypatch.setattr(augment, "version", lambda name: "2.0.9")
    with pytest.raises(FlyweightError, match="AGPL.*pip uninstall"):
        augment.import_albumentations()


def test_an_augmenter_travels_to_a_worker_without_its_pipeline(images):
    import pickle

    augmenter = Augmenter(AugmentConfig(), MEAN, seed=1)
    here = augmenter(images[:8], range(8), 0)
    assert np.array_equal(pickle.loads(pickle.dumps(augmenter))(images[:8], range(8), 0), here)


def test_a_hole_larger_than_the_image_is_refused():
    batch = np.zeros((4, 8, 8, 3), np.uint8)
    with pytest.raises(FlyweightError, match="cutout_size: 16 is more than .* 8x8 pixels; lower it"):
        Augmenter(AugmentConfig(cutout_size=16), MEAN)(batch, range(4), 0)
