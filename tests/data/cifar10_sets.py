"""Small sets in each layout of CIFAR-10, and what else the tests of the data need."""

import io
import json
import pickle
import struct
import tarfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from flyweight.data.cifar10 import formats
from flyweight.data.dataset import Split, fingerprint, in_canonical_order
from flyweight.errors import DataError

NOBODY = "http://127.0.0.1:9"  # the discard port: a connection is refused at once


def few_images(seed: int = 0, train: int = 100, test: int = 20) -> tuple[Split, Split]:
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


def silent(what: str, done: int, total: int | None) -> None:
    pass


def refused(call: Callable[[], object]) -> str:
    """The one line that a call is refused with."""
    with pytest.raises(DataError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def flip(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 16
    file.write_bytes(content)


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def only_folder(cache: Path) -> Path:
    """The one folder of arrays; nothing else has been left behind."""
    (folder,) = [path for path in cache.iterdir() if path.is_dir()]
    return folder
