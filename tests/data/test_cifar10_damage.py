"""Damaged and hostile files are named in one line, and nothing in them is run."""

import gzip
import os
import pickle
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cifar10_sets import (
    few_images,
    flip,
    pack,
    png,
    refused,
    rewrite,
    write_binary,
    write_parquet,
    write_python,
)

from flyweight import data
from flyweight.data.cifar10 import formats, official

pytestmark = pytest.mark.usefixtures("own_places")


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
    folder = write_python(tmp_path / "set", *few_images())
    (folder / "data_batch_3").write_bytes(pickle.dumps({"data": HOSTILE[name], "labels": []}, 2))
    line = refused(lambda: data.load(path=folder))
    assert "data_batch_3" in line
    assert "it wants to call" in line
    assert not (tmp_path / "PWNED").exists()


def test_a_codec_is_not_an_open_door() -> None:
    with pytest.raises(ValueError, match="unexpected encoding"):
        official._unpickle(b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.", "batch")


def test_nothing_is_extracted_from_an_archive(tmp_path: Path) -> None:
    train, test = few_images()
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


def test_a_small_archive_that_unpacks_to_any_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header may say that it has as many bytes as the memory, and have them."""
    monkeypatch.setattr(official, "ARCHIVE_LIMIT", 2**20)
    header = tarfile.TarInfo("a")
    header.type, header.size = tarfile.XHDTYPE, 8 * 2**20
    with gzip.open(tmp_path / "cifar-10-python.tar.gz", "wb") as archive:
        archive.write(header.tobuf() + bytes(header.size))
    line = refused(lambda: data.load(path=tmp_path / "cifar-10-python.tar.gz"))
    assert "it unpacks to more than 1 MiB" in line


def relabel(label: object) -> Callable[[Path], None]:
    return lambda at: rewrite(at / "train-00001-of-00002.parquet", lambda rows: rows[3].update(label=label))


def redraw(content: bytes | None) -> Callable[[Path], None]:
    return lambda at: rewrite(at / "test-00000-of-00001.parquet", lambda rows: rows[3]["img"].update(bytes=content))


def damaged_png() -> bytes:
    content = bytearray(png(few_images()[0].images[0]))
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
    "a truncated PNG": (redraw(png(few_images()[0].images[0])[:-900]), "not a sound PNG"),
    "no PNG": (redraw(None), "not a sound PNG"),
    "a grey image": (redraw(png(np.zeros((32, 32), np.uint8))), "32x32 L, not 32x32 RGB"),
    "a large image": (redraw(png(np.zeros((64, 32, 3), np.uint8))), "32x64 RGB, not 32x32 RGB"),
}


@pytest.mark.parametrize("damage", PARQUET_DAMAGE)
def test_damaged_parquet_is_refused(damage: str, tmp_path: Path) -> None:
    folder = write_parquet(tmp_path / "set", *few_images())
    harm, reason = PARQUET_DAMAGE[damage]
    harm(folder)
    line = refused(lambda: data.load(path=folder))
    assert reason in line
    assert str(folder) in line
    assert "--data PATH" in line
    assert not list((tmp_path / "cache").glob("*/"))


def test_other_class_names_are_refused(tmp_path: Path) -> None:
    folder = write_parquet(tmp_path / "set", *few_images(), names=formats.CLASSES[::-1])
    assert "its classes are truck, ship" in refused(lambda: data.load(path=folder))
    folder = write_binary(tmp_path / "binary", *few_images())
    (folder / "batches.meta.txt").write_text("apple\nbanana\n")
    assert "its classes are apple, banana, not those" in refused(lambda: data.load(path=folder))


@pytest.mark.parametrize("write", [write_parquet, write_python, write_binary])
def test_an_empty_side_is_refused(write: Callable[..., Path], tmp_path: Path) -> None:
    folder = write(tmp_path / "set", *few_images(test=0))
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
    folder = write_python(tmp_path / "set", *few_images())
    harm, reason = BATCH_DAMAGE[damage]
    harm(folder)
    line = refused(lambda: data.load(path=folder))
    assert reason in line
    assert str(folder) in line


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    archive = pack(write_binary(tmp_path / "x", *few_images()), tmp_path / "cifar-10-binary.tar.gz")
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
    folder = write_binary(tmp_path / "set", *few_images())
    os.truncate(folder / "data_batch_4.bin", 3073 * 10 - 1)
    assert "data_batch_4.bin has 30729 bytes" in refused(lambda: data.load(path=folder))


def test_a_member_that_is_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(official, "MEMBER_LIMIT", 1000)
    archive = pack(write_binary(tmp_path / "x", *few_images()), tmp_path / "cifar-10-binary.tar.gz")
    assert "larger than a batch" in refused(lambda: data.load(path=archive))
