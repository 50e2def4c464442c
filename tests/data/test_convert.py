"""Images become an array once: right, whole, remembered, and made again where it is damaged."""

import errno
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cifar10_sets import refused, silent
from image_sets import image_folder, picture, save
from PIL import Image

from flyweight import data
from flyweight.data import convert, folder, workers
from flyweight.data.decoding import perceptual_hashes
from flyweight.data.stored import Stored
from flyweight.recipes.sections import DataConfig

SIZE = DataConfig(size=32)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two classes of ten images, a grey one and a broken one among them."""
    image_folder(tmp_path / "set")
    save(tmp_path / "set" / "dog" / "grey.png", picture(7, grey=True))
    (tmp_path / "set" / "cat" / "4.png").write_text("no image")
    return tmp_path / "set"


def converted(path: Path, config: DataConfig = SIZE, verify: bool = False) -> convert.Converted:
    listing = folder.listing(path, config, silent)
    return convert.open_listing(listing, config, path.parent / "cache", silent, None, verify)


def arrays(path: Path) -> list[Path]:
    return sorted((path.parent / "cache").glob("image-folder-*/images.npy"))


class Calls:
    """Counts images that are looked at and decoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.looked = self.decoded = 0
        look, decode_rows = convert.look, convert.decode_rows

        def counted_look(contents: list) -> list:
            self.looked += len(contents)
            return look(contents)

        def counted_decode(contents: list, *rest: object) -> list:
            self.decoded += len(contents)
            return decode_rows(contents, *rest)

        monkeypatch.setattr(convert, "look", counted_look)
        monkeypatch.setattr(convert, "decode_rows", counted_decode)

    def since(self) -> tuple[int, int]:
        found = self.looked, self.decoded
        self.looked = self.decoded = 0
        return found


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


def test_each_row_is_its_image(images: Path) -> None:
    found = converted(images)
    assert found.images.shape == (21, 32, 32, 3)
    known = found.catalogue
    assert known.names[:5] == ["cat/0.png", "cat/1.png", "cat/2.png", "cat/3.png", "cat/4.png"]
    assert known.labels == ["cat"] * 10 + ["dog"] * 11
    assert [error for error in known.errors if error] == [known.errors[4]] == ["it is no image"]
    assert (known.formats[0], known.widths[0], known.heights[0]) == ("PNG", 24, 20)
    assert not found.images[4].any()
    for row in known.usable:
        with Image.open(images / known.names[row]) as image:
            wanted = np.array(image.convert("RGB").resize((32, 32), Image.Resampling.BICUBIC))
        assert (found.images[row] == wanted).all()
        wide = wanted.reshape(-1, 3).astype(np.int64)
        assert (known.sums[row] == wide.sum(0)).all()
        assert (known.squares[row] == (wide**2).sum(0)).all()
    assert len({digest.tobytes() for digest in known.digests[known.usable]}) == 20


def test_sums_of_white_images_are_exact(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        save(tmp_path / "set" / name / "0.png", np.full((8, 8, 3), 255, np.uint8))
    found = converted(tmp_path / "set", DataConfig(size=512)).catalogue
    assert (found.sums == 512 * 512 * 255).all()
    assert (found.squares == 512 * 512 * 255**2).all()


def test_processes_give_the_same_to_the_byte(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = converted(images)
    kept = arrays(images)[0].read_bytes()
    shutil.rmtree(images.parent / "cache")
    monkeypatch.setattr(convert, "ALONE", 0)
    monkeypatch.setattr(convert, "CHUNK", 4)
    monkeypatch.setattr(workers, "available", lambda: 2)
    shared = converted(images)
    assert arrays(images)[0].read_bytes() == kept
    for name, value in vars(alone.catalogue).items():
        assert np.array_equal(value, getattr(shared.catalogue, name)), name


def test_a_second_start_reads_no_image(images: Path, calls: Calls) -> None:
    first = converted(images)
    assert calls.since() == (21, 20)
    second = converted(images)
    assert calls.since() == (0, 0)
    assert (second.images == first.images).all()
    assert second.notes == first.notes


def test_new_times_cost_a_look_and_new_contents_a_conversion(images: Path, calls: Calls) -> None:
    converted(images)
    calls.since()
    os.utime(images / "cat" / "0.png", ns=(1, 1))
    converted(images)
    assert calls.since() == (21, 0)
    shutil.copytree(images, images.parent / "copy")
    os.utime(images.parent / "copy" / "dog" / "0.png", ns=(1, 1))
    converted(images.parent / "copy")
    assert calls.since() == (21, 0)
    save(images / "cat" / "4.png", picture(99))  # it was broken
    assert converted(images).catalogue.errors == [None] * 21
    assert calls.since() == (21, 21)
    assert len(arrays(images)) == 2


def test_sizes_stand_beside_each_other(images: Path, calls: Calls) -> None:
    for size in (32, 40, 32, 40):
        assert converted(images, DataConfig(size=size)).images.shape[1] == size
    assert calls.since() == (42, 40)


def test_a_network_asks_for_what_was_chosen_for_it(images: Path, calls: Calls) -> None:
    cache = images.parent / "cache"
    trained = data.load(path=images, cache=cache)
    calls.since()
    asked = data.load(path=images, cache=cache, like=trained.spec)
    assert calls.since() == (0, 0)
    assert (asked.spec, asked.fingerprint) == (trained.spec, trained.fingerprint)
    assert any("data.size" in note for note in trained.remarks)
    assert not any("data.size" in note for note in asked.remarks)
    # and the other way round
    shutil.rmtree(cache)
    data.load(path=images, cache=cache, like=trained.spec)
    assert data.load(path=images, cache=cache).remarks == trained.remarks


def flipped(path: Path, place: int = -1) -> None:
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)


DAMAGES: dict[str, Callable[[Path, Path], object]] = {
    "a flipped bit of an image": lambda made, pointer: flipped(made / "images.npy"),
    "a flipped bit of the catalogue": lambda made, pointer: flipped(made / "catalogue.parquet", 100),
    "a flipped bit of the manifest": lambda made, pointer: flipped(made / "manifest.json", 30),
    "an array that was cut off": lambda made, pointer: os.truncate(made / "images.npy", 1000),
    "no catalogue": lambda made, pointer: (made / "catalogue.parquet").unlink(),
    "no manifest": lambda made, pointer: (made / "manifest.json").unlink(),
    "an empty manifest": lambda made, pointer: (made / "manifest.json").write_text(""),
    "nothing": lambda made, pointer: shutil.rmtree(made),
    "half a pointer": lambda made, pointer: pointer.write_text(pointer.read_text()[:9]),
    "another pointer": lambda made, pointer: pointer.write_text(json.dumps({"folder": "gone"})),
    "a pointer to nothing": lambda made, pointer: pointer.write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_made_again(images: Path, damage: str) -> None:
    whole = converted(images)
    kept = np.array(whole.images)
    for pointer in (images.parent / "cache" / "sets").glob("*.json"):
        DAMAGES[damage](arrays(images)[0].parent if arrays(images) else images.parent, pointer)
        break
    again = converted(images)
    assert (again.images == kept).all()
    assert again.catalogue.names == whole.catalogue.names
    assert converted(images).notes == whole.notes


def test_a_large_array_is_trusted_by_its_time_unless_asked(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = np.array(converted(images).images)
    monkeypatch.setattr(convert, "ALWAYS_HASHED", 0)
    array = arrays(images)[0]
    when = array.stat().st_mtime_ns
    flipped(array)
    os.utime(array, ns=(when, when))
    assert (converted(images).images != kept).any()
    assert (converted(images, verify=True).images == kept).all()
    flipped(array)
    assert (converted(images).images == kept).all()


def test_a_file_that_goes_while_it_is_read_leaves_nothing_wrong(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode_rows = convert.decode_rows
    kept = (images / "cat" / "0.png").read_bytes()

    def gone(*arguments: object) -> list:
        (images / "cat" / "0.png").unlink()
        return decode_rows(*arguments)

    monkeypatch.setattr(convert, "decode_rows", gone)
    assert "0.png changed while it was read (No such file or directory): start again" in refused(
        lambda: converted(images)
    )
    monkeypatch.setattr(convert, "decode_rows", decode_rows)
    (images / "cat" / "0.png").write_bytes(kept)
    assert converted(images).catalogue.errors[0] is None


@pytest.mark.parametrize(("error", "told"), [(errno.ENOSPC, "free 400 MB there"), (errno.EROFS, "make it writable")])
def test_a_cache_that_cannot_be_written_is_one_line(
    images: Path, monkeypatch: pytest.MonkeyPatch, error: int, told: str
) -> None:
    def full(*arguments: object) -> list:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(convert, "decode_rows", full)
    line = refused(lambda: converted(images))
    assert line.startswith("cannot write the cache")
    assert told in line
    assert not list((images.parent / "cache").glob(".*"))


def test_what_killed_conversions_left_goes_and_what_is_under_way_stays(images: Path) -> None:
    from flyweight import files
    from flyweight.data import registry

    converted(images)
    cache = images.parent / "cache"
    stale, busy = (cache / f".image-folder-{16 * letter}-{8 * letter}.unfinished" for letter in "ab")
    for folder_ in (stale, busy):
        folder_.mkdir()
        (folder_ / "images.npy").write_bytes(b"x")
        (cache / f"image-folder-{folder_.name[14:30]}.lock").touch()
    with files.locked(cache / f"image-folder-{16 * 'b'}.lock", lambda: None):
        registry.load("digits", cache=cache)  # any set sweeps
        assert (stale.exists(), busy.exists()) == (False, True)
    registry.load(path=images, cache=cache)  # one that was converted before, too
    assert not list(cache.glob(".*"))
    assert not list((cache / "sets").glob(".*"))


def test_jobs_are_small_whatever_the_images_are() -> None:
    assert [len(chunk) for chunk in convert._chunks(iter([Path("a")] * 130))] == [64, 64, 2]
    assert [len(chunk) for chunk in convert._chunks(iter([Path("a")] * 5), 2)] == [2, 2, 1]
    large = bytes(convert.CHUNK_BYTES // 3)
    assert max(len(chunk) for chunk in convert._chunks(iter([large] * 9))) <= 4


def test_contents_in_memory_are_converted_too(tmp_path: Path) -> None:
    """Readers of parquet and npz give bytes and arrays."""
    from flyweight.data.listing import Entry, Listing

    file = io.BytesIO()
    Image.fromarray(picture(0)).save(file, "PNG")
    contents = [file.getvalue(), picture(1), picture(2, grey=True), picture(2, grey=True)[..., None], b"no image"]
    entries = [Entry(str(place), "", "ab"[place % 2]) for place in range(5)]
    listing = Listing("parquet set", tmp_path, entries, lambda: iter(contents), "stamp")
    found = convert.open_listing(listing, SIZE, tmp_path / "cache", silent, None, False)
    assert found.catalogue.errors == [None] * 4 + ["it is no image"]
    assert (found.images[2] == found.images[3]).all()
    assert found.images[:4].reshape(4, -1).std(1).min() > 10


def test_one_array_serves_a_set_whose_parts_are_asked_for(images: Path) -> None:
    dataset = data.load(path=images, cache=images.parent / "cache")
    assert isinstance(dataset.train.images, Stored)
    assert isinstance(dataset.test.images, Stored)
    assert dataset.train.images.array is dataset.test.images.array
    assert isinstance(dataset.train.images.array, np.memmap)


def test_near_duplicates_nearly_share_their_hash() -> None:
    originals = np.stack([picture(seed, 64, 64) for seed in range(40)])
    near = []
    for pixels in originals:
        small = Image.fromarray(pixels).resize((48, 48), Image.Resampling.BICUBIC)
        file = io.BytesIO()
        small.save(file, "JPEG", quality=60)
        near.append(np.asarray(Image.open(file).resize((64, 64), Image.Resampling.BICUBIC)))
    brighter = np.clip(np.stack(near).astype(int) + 8, 0, 255).astype(np.uint8)
    ours, theirs = perceptual_hashes(originals), perceptual_hashes(brighter)
    differ = np.ascontiguousarray(ours[:, None] ^ theirs[None])
    apart = np.unpackbits(differ.view(np.uint8).reshape(40, 40, 8), axis=2).sum(2)
    assert apart.diagonal().max() <= 10
    assert apart[~np.eye(40, dtype=bool)].min() > 10


def test_another_set_with_the_names_sizes_and_times_of_the_first_is_another_set(tmp_path: Path) -> None:
    for place, seed in (("one", 0), ("two", 100)):
        for label in ("cat", "dog"):
            for number in range(3):
                file = save(tmp_path / place / label / f"{number}.bmp", picture(seed + number + 10 * len(label)))
                os.utime(file, (1, 1))
    first, second = (folder.listing(tmp_path / place, SIZE, silent) for place in ("one", "two"))
    assert first.stamp != second.stamp
    one = convert.open_listing(first, SIZE, tmp_path / "cache", silent, None, False)
    two = convert.open_listing(second, SIZE, tmp_path / "cache", silent, None, False)
    assert not (one.images == two.images).all()


def test_what_the_file_system_refuses_is_asked_for_again(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flyweight.data import decoding

    read = decoding._bytes

    def refusing(path: Path) -> bytes:
        if path.name == "3.png":
            raise PermissionError(errno.EACCES, "Permission denied")
        return read(path)

    monkeypatch.setattr(decoding, "_bytes", refusing)
    assert converted(images).catalogue.errors.count("Permission denied") == 2
    monkeypatch.setattr(decoding, "_bytes", read)
    assert converted(images).catalogue.errors.count("Permission denied") == 0


def test_too_little_memory_is_no_fault_of_the_image(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hungry(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "resize", hungry)
    assert "too little memory" in refused(lambda: converted(images))
    monkeypatch.undo()
    monkeypatch.setenv("FLYWEIGHT_CACHE", str(images.parent))
    assert len(converted(images).catalogue.usable) == 20


def test_a_disk_that_is_too_small_is_told_before_the_work(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 99, 1))
    assert "0.00 GB are free" in refused(lambda: converted(images))
