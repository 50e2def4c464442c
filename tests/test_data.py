"""Data: every layout gives the same arrays, damage is named in one line, the cache and the downloads survive cuts."""

import gzip
import hashlib
import http.server
import io
import json
import os
import pickle
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from flyweight import data
from flyweight.data import cache, digits
from flyweight.data.cifar10 import download, find, formats, official
from flyweight.data.dataset import Split, fingerprint, in_canonical_order, pixel_statistics, stratified
from flyweight.errors import DataError, FlyweightError

ORIGINAL = download.CIFAR10
NOBODY = "http://127.0.0.1:9"  # the discard port: a connection is refused at once


@pytest.fixture(autouse=True)
def own_places(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds the real data, the user's cache or the network, but for those marked `cifar10`."""
    if request.node.get_closest_marker("cifar10"):
        return
    monkeypatch.setenv("FLYWEIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FLYWEIGHT_DATA", raising=False)
    monkeypatch.setattr(find, "checkout", lambda: None)
    monkeypatch.setattr(download, "CIFAR10", replace(download.CIFAR10, urls=(f"{NOBODY}/a", f"{NOBODY}/b")))
    monkeypatch.setattr(download, "hub_address", lambda: NOBODY)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


# --- small sets in each layout -------------------------------------------------------------------------------------


def pictures(seed: int = 0, train: int = 100, test: int = 20) -> tuple[Split, Split]:
    random = np.random.default_rng(seed)
    splits = [
        Split(random.integers(0, 256, (count, 32, 32, 3), np.uint8), np.arange(count) % 10) for count in (train, test)
    ]
    return splits[0], splits[1]


def in_batches(train: Split, test: Split) -> dict[str, Split]:
    size = len(train) // 5
    parts = {
        f"data_batch_{n + 1}": Split(train.images[n * size : (n + 1) * size], train.labels[n * size : (n + 1) * size])
        for n in range(5)
    }
    return parts | {"test_batch": test}


def planes(split: Split) -> np.ndarray:
    return np.ascontiguousarray(split.images.transpose(0, 3, 1, 2)).reshape(-1, 3072)


def python2_pickle(split: Split) -> bytes:
    """The opcodes that Python 2 wrote into the official batches: byte strings, and numpy's names of that time."""
    rows, raw = len(split), planes(split).tobytes()
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
        + (b"J" + struct.pack("<i", rows) + b"M" + struct.pack("<H", 3072) + b"\x86")
        + (dtype + b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb")
    )
    labels = b"](" + b"".join(b"K" + bytes([label]) for label in split.labels.tolist()) + b"e"
    return b"\x80\x02}(U\x04data" + array + b"U\x06labels" + labels + b"u."


def write_python(folder: Path, train: Split, test: Split, protocol: int | None = None) -> Path:
    folder.mkdir(parents=True)
    for name, split in in_batches(train, test).items():
        modern = {b"data": planes(split), b"labels": split.labels.tolist()}
        content = python2_pickle(split) if protocol is None else pickle.dumps(modern, protocol)
        (folder / name).write_bytes(content)
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(formats.CLASSES)}, 2))
    return folder


def write_binary(folder: Path, train: Split, test: Split) -> Path:
    folder.mkdir(parents=True)
    for name, split in in_batches(train, test).items():
        records = np.concatenate([split.labels.astype(np.uint8)[:, None], planes(split)], axis=1)
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(formats.CLASSES) + "\n\n")
    return folder


def pack(folder: Path, archive: Path) -> Path:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    return archive


def png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def write_parquet(folder: Path, train: Split, test: Split, shards: int = 2, names: tuple[str, ...] = ()) -> Path:
    """In another order than the batches, as on the hub."""
    folder.mkdir(parents=True, exist_ok=True)
    for side, split, count in (("train", train, shards), ("test", test, 1)):
        order = np.random.default_rng(1).permutation(len(split))
        for shard, rows in enumerate(np.array_split(order, count)):
            img = [{"bytes": png(split.images[row]), "path": f"{row}.png"} for row in rows]
            struct_of = pa.struct({"bytes": pa.binary(), "path": pa.string()})
            table = pa.table({"img": pa.array(img, struct_of), "label": pa.array(split.labels[rows], pa.int64())})
            if names:
                info = {"info": {"features": {"label": {"names": names}}}}
                table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
            pq.write_table(table, folder / f"{side}-{shard:05d}-of-{count:05d}.parquet")
    return folder


def rewrite(file: Path, change: Callable[[list[dict]], None]) -> None:
    rows = pq.read_table(file).to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows), file)


LAYOUTS: dict[str, Callable[[Path, Split, Split], Path]] = {
    "parquet": write_parquet,
    "parquet, named": lambda at, a, b: write_parquet(at, a, b, names=formats.CLASSES),
    "parquet in plain_text": lambda at, a, b: write_parquet(at / "plain_text", a, b, shards=1).parent,
    "parquet in data": lambda at, a, b: write_parquet(at / "data", a, b).parent,
    "python folder": write_python,
    "python folder, protocol 2": lambda at, a, b: write_python(at, a, b, 2),
    "python folder, protocol 5": lambda at, a, b: write_python(at, a, b, 5),
    "python folder in a folder": lambda at, a, b: write_python(at / "cifar-10-batches-py", a, b).parent,
    "python archive": lambda at, a, b: pack(write_python(at / "x", a, b), at / "cifar-10-python.tar.gz"),
    "folder with python archive": lambda at, a, b: (
        pack(write_python(at / "x", a, b), at / "y" / "cifar-10-python.tar.gz").parent
    ),
    "binary folder": write_binary,
    "binary folder in a folder": lambda at, a, b: write_binary(at / "cifar-10-batches-bin", a, b).parent,
    "binary archive, renamed": lambda at, a, b: pack(write_binary(at / "x", a, b), at / "mine.tgz"),
}


def take_for_cifar10(monkeypatch: pytest.MonkeyPatch, train: Split, test: Split) -> None:
    """From here on these few images are the real CIFAR-10."""
    monkeypatch.setattr(formats, "TRAIN_PER_CLASS", 10)
    monkeypatch.setattr(formats, "TEST_PER_CLASS", 2)
    ordered = [in_canonical_order(split) for split in (train, test)]
    monkeypatch.setattr(formats, "FINGERPRINT", fingerprint(*ordered, formats.CLASSES))


def as_counter(split: Split) -> Counter[tuple[int, bytes]]:
    return Counter(zip(split.labels.tolist(), (image.tobytes() for image in split.images), strict=True))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_arrays(layout: str, tmp_path: Path) -> None:
    train, test = pictures()
    reference = data.load(path=write_binary(tmp_path / "reference", train, test))
    dataset = data.load(path=LAYOUTS[layout](tmp_path / "set", train, test), cache=tmp_path / "other cache")
    assert as_counter(dataset.train) == as_counter(train)
    assert as_counter(dataset.test) == as_counter(test)
    assert np.array_equal(dataset.train.images, reference.train.images)
    assert dataset.fingerprint == reference.fingerprint
    assert dataset.classes == formats.CLASSES
    assert (dataset.shape, dataset.name) == ((3, 32, 32), "cifar10-modified")
    assert str(tmp_path / "set") in dataset.source


def test_arrays_are_mapped_read_only_and_typed(tmp_path: Path) -> None:
    dataset = data.load(path=write_binary(tmp_path / "set", *pictures()))
    for split, count in ((dataset.train, 100), (dataset.test, 20)):
        assert isinstance(split.images, np.memmap)
        assert split.images.flags.c_contiguous
        assert not split.images.flags.writeable
        assert (split.images.shape, split.images.dtype) == ((count, 32, 32, 3), np.uint8)
        assert (split.labels.shape, split.labels.dtype, len(split)) == ((count,), np.int64, count)


def test_statistics_are_those_of_numpy() -> None:
    images = pictures(seed=3)[0].images
    mean, std = pixel_statistics(images)
    assert mean == pytest.approx((images / 255).mean(axis=(0, 1, 2)), abs=1e-12)
    assert std == pytest.approx((images / 255).std(axis=(0, 1, 2)), abs=1e-12)


def test_fingerprint_depends_on_each_part(tmp_path: Path) -> None:
    train, test = pictures()
    changed = train.images.copy()
    changed[7, 5, 5, 1] ^= 1
    sets = [(train, test), (Split(changed, train.labels), test), (train, Split(test.images, (test.labels + 1) % 10))]
    found = {data.load(path=write_binary(tmp_path / str(n), *splits)).fingerprint for n, splits in enumerate(sets)}
    assert len(found) == 3


def test_name_says_whether_it_is_cifar10_to_the_last_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = pictures()
    take_for_cifar10(monkeypatch, train, test)
    changed, swapped = train.images.copy(), train.labels.copy()
    changed[7, 5, 5, 1] ^= 1
    swapped[[0, 1]] = swapped[[1, 0]]
    sets = {
        "full": (train, None),
        "part": (pictures(train=95)[0], "it has 95 training images, not 100"),
        "uneven": (Split(train.images, np.maximum(train.labels, 1)), "classes do not have 10 training images each"),
        "pixel": (Split(changed, train.labels), "some of its images or labels were changed"),
        "label": (Split(train.images, swapped), "some of its images or labels were changed"),
    }
    for name, (split, reason) in sets.items():
        dataset = data.load(path=write_binary(tmp_path / name, split, test))
        assert dataset.name == ("cifar10" if reason is None else "cifar10-modified")
        assert (formats.difference(dataset) or "").endswith(reason or "")


# --- places --------------------------------------------------------------------------------------------------------


def test_order_of_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take_for_cifar10(monkeypatch, *pictures(seed=2))
    checkout = tmp_path / "work" / "checkout"
    option, variable, beside = tmp_path / "option", tmp_path / "variable", tmp_path / "work" / "shared" / "cifar10"
    for seed, folder in enumerate((option, variable, beside)):
        write_binary(folder, *pictures(seed))
    monkeypatch.setattr(find, "checkout", lambda: checkout)
    monkeypatch.setenv("FLYWEIGHT_DATA", str(variable))
    assert data.load(path=option, cache=tmp_path / "a").source == f"binary batches {option}"
    assert data.load(cache=tmp_path / "b").source == f"binary batches {variable}"
    monkeypatch.delenv("FLYWEIGHT_DATA")
    found = data.load(cache=tmp_path / "c")
    assert found.source == f"binary batches {beside}"
    shutil.rmtree(beside)
    again = data.load(cache=tmp_path / "c")
    assert str(tmp_path / "c") in again.source
    assert again.fingerprint == found.fingerprint


def test_a_modified_set_in_the_cache_never_stands_for_cifar10(tmp_path: Path) -> None:
    data.load(path=write_binary(tmp_path / "set", *pictures()))
    with pytest.raises(data.NoDataError):
        data.load(download=False)


def test_checkout_is_the_folder_with_pyproject(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    assert find.checkout() == Path(__file__).resolve().parents[1]
    monkeypatch.setattr(
        find, "__file__", str(tmp_path / "site-packages" / "flyweight" / "data" / "cifar10" / "find.py")
    )
    assert find.checkout() is None


@pytest.mark.parametrize("place", ["--data", "FLYWEIGHT_DATA"])
@pytest.mark.parametrize("exists", [True, False])
def test_a_named_place_without_data_is_an_error(
    place: str, exists: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "empty"
    if exists:
        folder.mkdir()
        (folder / "notes.txt").write_text("nothing")
    monkeypatch.setenv("FLYWEIGHT_DATA", str(folder) if place != "--data" else "")
    line = refused(lambda: data.load(path=folder if place == "--data" else None))
    assert f"{place} {folder}" in line
    assert "cifar-10-python.tar.gz" in line


def test_nothing_anywhere_is_one_line_within_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "checkout", lambda: tmp_path / "checkout")
    start = time.monotonic()
    with pytest.raises(data.NoDataError) as caught:
        data.load()
    assert time.monotonic() - start < 5
    line = str(caught.value)
    assert "\n" not in line
    for place in ("--data PATH", "FLYWEIGHT_DATA (not set)", str(tmp_path / "shared" / "cifar10"), "--data digits"):
        assert place in line
    for place in (str(tmp_path / "cache"), "Hugging Face hub (Connection refused)", "127.0.0.1 (Connection refused)"):
        assert place in line
    assert caught.value.exit_code == 3


def test_hosts_that_never_answer_do_not_cost_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "SILENCE_SECONDS", 0.05)
    monkeypatch.setattr(download, "PATIENCE_SECONDS", 0.12)
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as deaf:  # never serves
        url = f"http://127.0.0.1:{deaf.server_port}/x"
        archive = replace(download.CIFAR10, urls=(url,) * 50)
        line = refused(lambda: download.from_mirrors(archive, tmp_path / "downloads", silent))
    assert line.count("timed out") < 10
    assert "no network" in line


@pytest.mark.parametrize("name", ["cifar100", "", "digits"])
def test_a_wrong_name_says_the_right_ones(name: str, tmp_path: Path) -> None:
    with pytest.raises(FlyweightError, match=r"choose cifar10, .*digits") as caught:
        data.load(name, tmp_path)
    assert caught.value.exit_code == 2


def test_import_does_no_work() -> None:
    heavy = {"pyarrow", "sklearn", "huggingface_hub", "torch", "PIL", "filelock", "tqdm"}
    code = f"import sys, flyweight.data; assert not {heavy!r} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.skipif(sys.platform != "linux", reason="each platform has its own folder")
def test_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.cache_folder(Path("mine")) == Path.cwd() / "mine"
    assert cache.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("FLYWEIGHT_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_folder() == tmp_path / "xdg" / "flyweight"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.cache_folder() == tmp_path / ".cache" / "flyweight"


# --- damaged and hostile sources -----------------------------------------------------------------------------------


def silent(what: str, done: int, total: int | None) -> None:
    pass


def refused(call: Callable[[], object]) -> str:
    """The one line that a call is refused with."""
    with pytest.raises(DataError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Evil:
    def __init__(self, *call: object) -> None:
        self.call = call

    def __reduce__(self) -> tuple:
        return self.call[0], tuple(self.call[1:])


HOSTILE: dict[str, object] = {
    "os.system": Evil(os.system, "touch PWNED"),
    "builtins.eval": Evil(eval, "open('PWNED', 'w')"),
    "subprocess.Popen": Evil(subprocess.Popen, ["touch", "PWNED"]),
    "builtins.getattr": Evil(getattr, "text", "upper"),
    "numpy.load": Evil(np.load, "PWNED"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_malicious_pickle_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_python(tmp_path / "set", *pictures())
    (folder / "data_batch_3").write_bytes(pickle.dumps({"data": HOSTILE[name], "labels": []}, 2))
    line = refused(lambda: data.load(path=folder))
    assert "data_batch_3" in line
    assert "it wants to call" in line
    assert not (tmp_path / "PWNED").exists()


def test_a_codec_is_not_an_open_door() -> None:
    with pytest.raises(ValueError, match="unexpected encoding"):
        official._unpickle(b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.", "batch")


def test_nothing_is_extracted_from_an_archive(tmp_path: Path) -> None:
    train, test = pictures()
    folder = write_binary(tmp_path / "x", train, test)
    archive = tmp_path / "sub" / "cifar-10-binary.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        for file in sorted(folder.iterdir()):
            tar.add(file, f"../../{file.name}")
        tar.add(folder / "test_batch.bin", "../escaped")
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    assert len(data.load(path=archive).train) == 100
    assert {path for path in tmp_path.rglob("*") if "cache" not in path.relative_to(tmp_path).parts} == before


def flip(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 16
    file.write_bytes(content)


def relabel(label: object) -> Callable[[Path], None]:
    return lambda at: rewrite(at / "train-00001-of-00002.parquet", lambda rows: rows[3].update(label=label))


def redraw(content: bytes | None) -> Callable[[Path], None]:
    return lambda at: rewrite(at / "test-00000-of-00001.parquet", lambda rows: rows[3]["img"].update(bytes=content))


def damaged_png() -> bytes:
    content = bytearray(png(pictures()[0].images[0]))
    content[1500] ^= 1
    return bytes(content)


PARQUET_DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a missing shard": (lambda at: (at / "train-00001-of-00002.parquet").unlink(), "train-00001-of-00002.parquet is m"),
    "no test side": (lambda at: (at / "test-00000-of-00001.parquet").unlink(), "there is no test-*.parquet"),
    "two sets mixed": (
        lambda at: shutil.copy(at / "train-00000-of-00002.parquet", at / "train-00000-of-00001.parquet"),
        "different sets",
    ),
    "a truncated file": (
        lambda at: os.truncate(at / "train-00000-of-00002.parquet", 9000),
        "train-00000-of-00002.parquet is damaged",
    ),
    "an empty file": (
        lambda at: (at / "test-00000-of-00001.parquet").write_bytes(b""),
        "test-00000-of-00001.parquet is",
    ),
    "other columns": (
        lambda at: pq.write_table(pa.table({"image": [1]}), at / "test-00000-of-00001.parquet"),
        "no columns img",
    ),
    "a label out of range": (relabel(10), "a training label is outside 0..9"),
    "a negative label": (relabel(-1), "a training label is outside 0..9"),
    "no label": (relabel(None), "not a whole number"),
    "a flipped bit in a PNG": (redraw(damaged_png()), "not a sound PNG"),
    "a truncated PNG": (redraw(png(pictures()[0].images[0])[:-900]), "not a sound PNG"),
    "no PNG": (redraw(None), "not a sound PNG"),
    "a grey image": (redraw(png(np.zeros((32, 32), np.uint8))), "32x32 L, not 32x32 RGB"),
    "a large image": (redraw(png(np.zeros((64, 32, 3), np.uint8))), "32x64 RGB, not 32x32 RGB"),
}


@pytest.mark.parametrize("damage", PARQUET_DAMAGE)
def test_damaged_parquet_is_refused(damage: str, tmp_path: Path) -> None:
    folder = write_parquet(tmp_path / "set", *pictures())
    harm, reason = PARQUET_DAMAGE[damage]
    harm(folder)
    line = refused(lambda: data.load(path=folder))
    assert reason in line
    assert str(folder) in line
    assert "--data PATH" in line
    assert not list((tmp_path / "cache").glob("*/"))


def test_other_class_names_are_refused(tmp_path: Path) -> None:
    folder = write_parquet(tmp_path / "set", *pictures(), names=formats.CLASSES[::-1])
    assert "its classes are truck, ship" in refused(lambda: data.load(path=folder))
    folder = write_binary(tmp_path / "binary", *pictures())
    (folder / "batches.meta.txt").write_text("apple\nbanana\n")
    assert "its classes are apple, banana, not those" in refused(lambda: data.load(path=folder))


@pytest.mark.parametrize("write", [write_parquet, write_python, write_binary])
def test_an_empty_side_is_refused(write: Callable[..., Path], tmp_path: Path) -> None:
    folder = write(tmp_path / "set", *pictures(test=0))
    assert "no test images" in refused(lambda: data.load(path=folder))


BATCH_DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a missing batch": (lambda at: (at / "data_batch_2").unlink(), "it has no data_batch_2"),
    "a truncated batch": (lambda at: os.truncate(at / "test_batch", 5000), "test_batch is not a sound batch"),
    "not a dict": (lambda at: (at / "test_batch").write_bytes(pickle.dumps([1])), "holds a list, not a dict"),
    "no data": (lambda at: (at / "test_batch").write_bytes(pickle.dumps({"labels": [1]})), "holds no data of shape"),
    "wrong width": (
        lambda at: (at / "test_batch").write_bytes(
            pickle.dumps({"data": np.zeros((1, 3000), np.uint8), "labels": [1]}, 2)
        ),
        "holds no data of shape (N, 3072)",
    ),
    "a huge label": (
        lambda at: (at / "test_batch").write_bytes(
            pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [2**70]}, 2)
        ),
        "too large",
    ),
    "too few labels": (
        lambda at: (at / "test_batch").write_bytes(
            pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}, 2)
        ),
        "one whole-number label for each image",
    ),
}


@pytest.mark.parametrize("damage", BATCH_DAMAGE)
def test_damaged_batches_are_refused(damage: str, tmp_path: Path) -> None:
    folder = write_python(tmp_path / "set", *pictures())
    harm, reason = BATCH_DAMAGE[damage]
    harm(folder)
    line = refused(lambda: data.load(path=folder))
    assert reason in line
    assert str(folder) in line


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    archive = pack(write_binary(tmp_path / "x", *pictures()), tmp_path / "cifar-10-binary.tar.gz")
    content = archive.read_bytes()
    for size in (0, 10, len(content) // 2, len(content) - 4):
        archive.write_bytes(content[:size])
        assert f"archive {archive} cannot be used" in refused(lambda: data.load(path=archive))
    for at in (len(content) // 3, len(content) // 2, len(content) - 6):
        archive.write_bytes(content)
        flip(archive, at)
        assert f"archive {archive} cannot be used" in refused(lambda: data.load(path=archive))
    archive.write_bytes(gzip.compress(b"no tar at all" * 100))
    assert "cannot be used" in refused(lambda: data.load(path=archive))


def test_truncated_binary_batch_is_refused(tmp_path: Path) -> None:
    folder = write_binary(tmp_path / "set", *pictures())
    os.truncate(folder / "data_batch_4.bin", 3073 * 10 - 1)
    assert "data_batch_4.bin has 30729 bytes" in refused(lambda: data.load(path=folder))


def test_a_member_that_is_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(official, "MEMBER_LIMIT", 1000)
    archive = pack(write_binary(tmp_path / "x", *pictures()), tmp_path / "cifar-10-binary.tar.gz")
    assert "larger than a batch" in refused(lambda: data.load(path=archive))


# --- the cache -----------------------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_binary(tmp_path / "set", *pictures())


def only_folder(cache: Path) -> Path:
    """The one folder of arrays; nothing else has been left behind."""
    (folder,) = [path for path in cache.iterdir() if path.is_dir()]
    return folder


def test_conversion_happens_once_and_follows_the_bytes(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = data.load(path=source)
    calls = []
    real = formats.read
    monkeypatch.setattr(formats, "read", lambda *args: calls.append(1) or real(*args))
    shutil.copytree(source, tmp_path / "copy")
    os.utime(source / "test_batch.bin", (1, 1))
    assert data.load(path=source).fingerprint == first.fingerprint
    assert data.load(path=tmp_path / "copy").source == f"binary batches {tmp_path / 'copy'}"
    assert not calls
    stat = (source / "test_batch.bin").stat()
    flip(source / "test_batch.bin", 100)
    os.utime(source / "test_batch.bin", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert data.load(path=source).fingerprint != first.fingerprint
    assert calls


@pytest.mark.parametrize("name", [*(f"{array}.npy" for array in cache.ARRAYS), cache.MANIFEST])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damaged_arrays_are_noticed_and_made_again(name: str, damage: str, source: Path, tmp_path: Path) -> None:
    before = data.load(path=source)
    folder = only_folder(tmp_path / "cache")
    file = folder / name
    if damage == "flip":
        flip(file, file.stat().st_size - 60)
    elif damage == "truncate":
        os.truncate(file, file.stat().st_size - 1)
    else:
        file.unlink()
    refused(lambda: cache.read(folder))
    heard: list[str] = []
    again = data.load(path=source, progress=lambda what, *_: heard.append(what))
    assert heard[0] == "the cached arrays are damaged: making them again"
    assert (again.fingerprint, again.mean) == (before.fingerprint, before.mean)
    assert only_folder(tmp_path / "cache") == folder
    assert cache.read(folder).fingerprint == before.fingerprint


CHILD = """
import os, signal, sys
from pathlib import Path
from flyweight import data

def progress(what, done, total):
    if [what, str(done)] == sys.argv[2:4]:
        os.kill(os.getpid(), signal.SIGKILL)

print(data.load(path=Path(sys.argv[1]), progress=progress).fingerprint)
"""


def child(source: Path, *arguments: str, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(source), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize("moment", [("reading batches", "3"), ("writing arrays", "0"), ("writing arrays", "3")])
def test_kill_during_conversion_leaves_a_usable_cache(moment: tuple[str, str], source: Path, tmp_path: Path) -> None:
    process = child(source, *moment)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir() and not path.name.startswith(".")]
    assert len(data.load(path=source).train) == 100
    only_folder(tmp_path / "cache")


def test_processes_that_convert_at_once_agree(source: Path, tmp_path: Path) -> None:
    processes = [child(source) for _ in range(3)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert {out.strip() for out, _ in outputs} == {data.load(path=source).fingerprint}
    only_folder(tmp_path / "cache")


def test_waiting_for_another_process_is_reported(source: Path, tmp_path: Path) -> None:
    heard: list[str] = []
    key = formats.find(source).key()
    with cache.locked(tmp_path / "cache" / f"{key}.lock", silent):
        waiter = threading.Thread(target=data.load, kwargs={"path": source, "progress": lambda w, *_: heard.append(w)})
        waiter.start()
        until(lambda: heard)
        assert heard == ["waiting for another process that prepares the same data"]
    waiter.join(timeout=30)
    assert "writing arrays" in heard


def test_an_unwritable_cache_is_one_line_that_names_the_way_out(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = tmp_path / "file" / "cache"
    line = refused(lambda: data.load(path=source, cache=cache))
    assert str(cache) in line
    assert "FLYWEIGHT_CACHE" in line


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_cache_serves_what_it_has(source: Path, tmp_path: Path) -> None:
    known = data.load(path=source).fingerprint
    (tmp_path / "cache").chmod(0o500)
    assert data.load(path=source).fingerprint == known
    other = write_binary(tmp_path / "other", *pictures(seed=1))
    assert "Permission denied" in refused(lambda: data.load(path=other))
    (tmp_path / "cache").chmod(0o700)


def test_arrays_of_another_version_are_made_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data.load(path=source)
    monkeypatch.setattr(cache, "FORMAT", cache.FORMAT + 1)
    assert "another version" in refused(lambda: cache.read(only_folder(tmp_path / "cache")))
    assert len(data.load(path=source).train) == 100


def test_a_complete_cache_is_never_written(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = data.load(path=source).fingerprint
    monkeypatch.setattr(cache, "locked", None)
    assert data.load(path=source).fingerprint == known


def test_a_full_disk_is_one_line_and_leaves_nothing(source: Path, tmp_path: Path) -> None:
    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    process = child(source, preexec_fn=small_files)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    line = errors.strip().splitlines()[-1]
    assert f"cannot write the cache {tmp_path / 'cache'} (File too large)" in line
    assert "FLYWEIGHT_CACHE" in line
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


# --- downloads -----------------------------------------------------------------------------------------------------


class Mirror:
    """A real HTTP server on this machine; each path behaves as `paths` says."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str | None]] = []
        self.paths: dict[str, dict] = {}
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                mirror.answer(self, body=False)

            def do_GET(self) -> None:
                mirror.answer(self, body=True)

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def answer(self, request: http.server.BaseHTTPRequestHandler, body: bool) -> None:
        asked = request.headers.get("Range")
        self.requests.append((request.command, request.path, asked))
        plan = self.paths.get(request.path)
        if plan is None or "status" in plan:
            request.send_error(404 if plan is None else plan["status"])
            return
        content, start = plan["content"], 0
        if asked and plan.get("ranges", True):
            start = int(asked.removeprefix("bytes=").split("-")[0])
            if start >= len(content):
                request.send_error(416)
                return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        for name, value in plan.get("headers", {}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        if body:
            request.wfile.write(content[start : start + plan.get("cut", len(content))])
        request.close_connection = True

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    server = Mirror()
    yield server
    server.close()


CONTENT = np.random.default_rng(5).bytes(300_000)


def archive_of(content: bytes, *urls: str) -> download.Archive:
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return download.Archive("cifar-10-python.tar.gz", len(content), md5, urls)


def test_download_reports_and_verifies(mirror: Mirror, tmp_path: Path) -> None:
    mirror.paths["/a"] = {"content": CONTENT}
    heard: list[tuple[str, int, int | None]] = []
    target = download.from_mirrors(archive_of(CONTENT, f"{mirror.url}/a"), tmp_path, lambda *args: heard.append(args))
    assert target.read_bytes() == CONTENT
    assert heard[-1] == ("downloading cifar-10-python.tar.gz from 127.0.0.1", 300_000, 300_000)
    assert download.from_mirrors(archive_of(CONTENT, NOBODY), tmp_path, silent) == target  # not again
    assert not target.with_name("cifar-10-python.tar.gz.part").exists()


def test_a_cut_download_goes_on_where_it_stopped(mirror: Mirror, tmp_path: Path) -> None:
    mirror.paths["/a"] = {"content": CONTENT, "cut": 130_000}
    target = download.from_mirrors(archive_of(CONTENT, f"{mirror.url}/a"), tmp_path, silent)
    assert target.read_bytes() == CONTENT
    assert [asked for _, _, asked in mirror.requests] == [None, "bytes=130000-", "bytes=260000-"]


def test_a_killed_download_goes_on_from_another_mirror(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "cifar-10-python.tar.gz.part").write_bytes(CONTENT[:200_000])
    mirror.paths["/b"] = {"content": CONTENT}
    archive = archive_of(CONTENT, f"{NOBODY}/a", f"{mirror.url}/b")
    assert download.from_mirrors(archive, tmp_path, silent).read_bytes() == CONTENT
    assert mirror.requests == [("GET", "/b", "bytes=200000-")]


@pytest.mark.parametrize("part", [b"x" * 1000, b"x" * 300_000, b"x" * 300_001, CONTENT])
def test_a_part_file_is_not_trusted(part: bytes, mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "cifar-10-python.tar.gz.part").write_bytes(part)
    mirror.paths["/a"] = {"content": CONTENT}
    assert download.from_mirrors(archive_of(CONTENT, f"{mirror.url}/a"), tmp_path, silent).read_bytes() == CONTENT


def test_a_server_without_ranges_starts_anew(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "cifar-10-python.tar.gz.part").write_bytes(CONTENT[:1000])
    mirror.paths["/a"] = {"content": CONTENT, "ranges": False}
    assert download.from_mirrors(archive_of(CONTENT, f"{mirror.url}/a"), tmp_path, silent).read_bytes() == CONTENT


def test_bad_mirrors_are_skipped_and_each_is_named(mirror: Mirror, tmp_path: Path) -> None:
    mirror.paths = {
        "/busy": {"status": 503},
        "/page": {"content": b"<html>not found</html>"},
        "/other": {"content": CONTENT[::-1]},
        "/good": {"content": CONTENT},
    }
    urls = [f"{mirror.url}/{name}" for name in ("absent", "busy", "page", "other")]
    line = refused(lambda: download.from_mirrors(archive_of(CONTENT, *urls), tmp_path, silent))
    for reason in ("HTTP 404", "HTTP 503", "offers 22 bytes, not 300000", "wrong checksum"):
        assert reason in line
    assert not (tmp_path / "cifar-10-python.tar.gz").exists()
    archive = archive_of(CONTENT, *urls, f"{mirror.url}/good")
    assert download.from_mirrors(archive, tmp_path, silent).read_bytes() == CONTENT


def test_load_falls_back_to_the_mirrors(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take_for_cifar10(monkeypatch, *pictures())
    content = pack(write_python(tmp_path / "x", *pictures()), tmp_path / "x.tar.gz").read_bytes()
    mirror.paths["/a"] = {"content": content}
    monkeypatch.setattr(download, "CIFAR10", archive_of(content, f"{NOBODY}/z", f"{mirror.url}/a"))
    dataset = data.load()
    assert dataset.name == "cifar10"
    assert dataset.source == f"archive {tmp_path / 'cache' / 'downloads' / 'cifar-10-python.tar.gz'}"
    mirror.paths.clear()
    assert data.load().fingerprint == dataset.fingerprint  # from the cache's arrays
    shutil.rmtree(only_of(tmp_path / "cache", "cifar10-*/"))
    assert data.load().fingerprint == dataset.fingerprint  # from the cache's archive


def only_of(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


def serve_hub(mirror: Mirror, folder: Path) -> None:
    for name in download.HUB_FILES:
        content = (folder / name).read_bytes()
        headers = {"X-Repo-Commit": "1" * 40, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        url = f"/datasets/{download.HUB_REPOSITORY}/resolve/main/{name}"
        mirror.paths[url] = {"content": content, "headers": headers}
        mirror.paths[url.replace("main", "1" * 40)] = mirror.paths[url]


def test_load_asks_the_hub_first(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    take_for_cifar10(monkeypatch, *pictures())
    monkeypatch.setattr(download, "hub_address", lambda: mirror.url)
    serve_hub(mirror, write_parquet(tmp_path / "x" / "plain_text", *pictures(), shards=1).parent)
    heard: list[tuple[str, int, int | None]] = []
    dataset = data.load(progress=lambda *args: heard.append(args))
    assert dataset.name == "cifar10"
    assert dataset.source.startswith(f"parquet folder {tmp_path / 'hub'}")
    assert any(what == "downloading from the Hugging Face hub" and done == total for what, done, total in heard)
    # without network, and without arrays: from the hub's own cache
    asked = len(mirror.requests)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert data.load(cache=tmp_path / "fresh").fingerprint == dataset.fingerprint
    assert len(mirror.requests) == asked
    assert capfd.readouterr() == ("", "")  # nothing is printed


def test_an_incomplete_download_is_not_cifar10(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "hub_address", lambda: mirror.url)
    serve_hub(mirror, write_parquet(tmp_path / "x" / "plain_text", *pictures(), shards=1).parent)
    assert "is not the complete CIFAR-10: it has 100 training images, not 50,000" in refused(data.load)


def test_offline_means_no_connection(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "hub_address", lambda: mirror.url)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(download, "CIFAR10", archive_of(CONTENT, f"{mirror.url}/a"))
    assert "HF_HUB_OFFLINE is set" in refused(data.load)
    assert "download" not in refused(lambda: data.load(download=False))
    assert mirror.requests == []


def test_the_archive_is_the_official_one() -> None:
    assert (ORIGINAL.size, ORIGINAL.md5) == (170_498_071, "c58f30108f718f92721af3b95e74349a")
    assert ORIGINAL.urls[-1] == "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    assert all(url.startswith("https://") for url in ORIGINAL.urls)


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# --- splits --------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 4), min_size=2, max_size=60), st.data(), st.integers(0, 2**32 - 1))
def test_stratified_keeps_the_proportions(labels: list[int], draw: st.DataObject, seed: int) -> None:
    count = draw.draw(st.integers(1, len(labels)))
    chosen = stratified(np.array(labels), count, seed)
    assert len(chosen) == len(set(chosen.tolist())) == count
    for label, size in Counter(labels).items():
        taken = sum(labels[index] == label for index in chosen)
        assert abs(taken - size * count / len(labels)) < 1


@pytest.fixture(scope="module")
def digits_set() -> data.Dataset:
    return digits.read()


def test_hold_out_is_stratified_disjoint_and_repeatable(digits_set: data.Dataset) -> None:
    held = data.hold_out(digits_set, 300, seed=4)
    assert (len(held.train), len(held.test)) == (1137, 300)
    assert as_counter(held.train) + as_counter(held.test) == as_counter(digits_set.train)
    shares = np.bincount(digits_set.train.labels) * 300 / 1437
    assert np.abs(np.bincount(held.test.labels) - shares).max() < 1
    assert not as_counter(held.test) & as_counter(digits_set.test)  # the official test images are out of reach
    assert held.fingerprint == data.hold_out(digits_set, 300, seed=4).fingerprint
    assert held.fingerprint != data.hold_out(digits_set, 300, seed=5).fingerprint
    assert held.name == "digits-holdout300"
    assert "300 training images (seed 4) in place of the test set" in held.source
    assert held.mean == pytest.approx((held.train.images / 255).mean(axis=(0, 1, 2)))
    assert not held.train.images.flags.writeable


def test_a_split_is_the_same_on_every_machine() -> None:
    assert stratified(np.arange(20) % 4, 6, seed=1).tolist() == [1, 4, 8, 9, 10, 15]


@pytest.mark.parametrize("count", [0, -1, 1437, 5000])
def test_hold_out_leaves_something_on_both_sides(count: int, digits_set: data.Dataset) -> None:
    with pytest.raises(FlyweightError, match="choose 1 to 1436"):
        data.hold_out(digits_set, count)


def test_subset_is_stratified_and_repeatable(digits_set: data.Dataset) -> None:
    small = data.subset(digits_set, 100, 50)
    assert (len(small.train), len(small.test), small.name) == (100, 50, "digits-subset100+50")
    assert np.bincount(small.train.labels).min() >= 9
    assert not as_counter(small.train) - as_counter(digits_set.train)
    assert not as_counter(small.test) - as_counter(digits_set.test)
    assert small.fingerprint == data.subset(digits_set, 100, 50).fingerprint
    with pytest.raises(FlyweightError, match="cannot take 361 of 360 test images"):
        data.subset(digits_set, 100, 361)


# --- digits and the real thing -------------------------------------------------------------------------------------


def test_digits_need_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", None)
    dataset = data.load("digits")
    assert (dataset.name, dataset.shape, dataset.classes) == ("digits", (3, 32, 32), tuple("0123456789"))
    assert (len(dataset.train), len(dataset.test)) == (1437, 360)
    assert np.bincount(dataset.test.labels).min() >= 34
    assert not as_counter(dataset.train) & as_counter(dataset.test)
    assert isinstance(dataset.train.images, np.memmap)
    assert (dataset.train.images.min(), dataset.train.images.max()) == (0, 255)
    assert (dataset.train.images[..., 0] == dataset.train.images[..., 2]).all()
    assert only_folder(tmp_path / "cache").name == "digits-1"


def test_digits_look_like_the_originals(digits_set: data.Dataset) -> None:
    from sklearn.datasets import load_digits

    originals = load_digits()
    small = digits_set.train.images[..., 0].reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4)) / 255 * 16
    apart = [np.abs(small - image).mean(axis=(1, 2)) for image in originals.images[:50]]
    near = [int(np.argmin(distance)) for distance in apart if distance.min() < 0.9]
    assert len(near) >= 30  # the others went to the test side
    kept = [index for index, distance in enumerate(apart) if distance.min() < 0.9]
    assert digits_set.train.labels[near].tolist() == originals.target[kept].tolist()


@pytest.mark.cifar10
def test_the_real_cifar10() -> None:
    try:
        dataset = data.load(download=False)
    except data.NoDataError as error:
        pytest.skip(str(error))
    assert dataset.name == "cifar10"
    assert np.bincount(dataset.train.labels).tolist() == [5000] * 10
    assert np.bincount(dataset.test.labels).tolist() == [1000] * 10
    assert dataset.mean == pytest.approx((0.49139968, 0.48215841, 0.44653091), abs=1e-8)
    assert dataset.std == pytest.approx((0.24703223, 0.24348513, 0.26158784), abs=1e-8)
    # the same from every layout; another value means another order, and other weights from the same seed
    assert dataset.fingerprint == formats.FINGERPRINT
    assert formats.FINGERPRINT == "e0c005fd08826e1308f2ebb69281a9e628826c536b163a96a57f3bc7848cc598"
    held = data.hold_out(dataset, 5000)
    assert np.bincount(held.train.labels).tolist() == [4500] * 10
    assert np.bincount(held.test.labels).tolist() == [500] * 10
