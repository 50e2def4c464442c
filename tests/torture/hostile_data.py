"""Hostile data sets, archives, recipes and rule sets."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from canaries import Case, Place, pickles
from PIL import Image

Make = Callable[[Place], Sequence[str]]
CACHE = ("cache", "cache/*")


def cases() -> Iterator[Case]:
    """All of them."""
    for name, made in NPZ.items():
        yield Case("arrays", name, _npz(made), (0, 3) if "beside" in name else (3,), CACHE)
    for name in ("os.system", "a helper of numpy's", "getattr", "the opcode INST"):
        yield Case("pickled batches", name, _batch(name), (3,), CACHE)
    for name, member in MEMBERS.items():
        yield Case("archives", name, _archive(member), (3,), CACHE)
    yield Case("archives", "a bomb", _bomb, (3,), CACHE, full=True)
    for name, change in PARQUET.items():
        yield Case("parquet", name, _parquet(change), (0, 2, 3), CACHE)
    for name, (text, call) in YAMLS.items():
        yield Case("recipes and rules", name, _yaml(text, call), (2, 4), CACHE)


# arrays


def _header(text: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def _saved(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def _objects(pickled: bytes) -> bytes:
    return _header(b"{'descr': '|O', 'fortran_order': False, 'shape': (10,)}\n") + pickled


_IMAGES, _LABELS = np.zeros((10, 8, 8, 3), np.uint8), np.arange(10) % 2
_BIG = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000, 1000, 3)}\n"
NPZ: dict[str, Callable[[Place], dict[str, bytes]]] = {
    "images that are pickled": lambda place: {"images.npy": _objects(pickles(place.canary)["os.system"])},
    "labels that are pickled": lambda place: {"labels.npy": _objects(pickles(place.canary)["exec"])},
    "names of classes that are pickled, beside": lambda place: {"classes.npy": _objects(pickles(place.canary)["exec"])},
    "a member that leads out, beside": lambda place: {"../../outside/canary.npy": _saved(_LABELS)},
    "a member from the root, beside": lambda place: {f"{place.canary}.npy": _saved(_LABELS)},
    "a header that is a call": lambda place: {
        "images.npy": _header(b"__import__('os').system('touch %s')\n" % os.fsencode(place.canary))
    },
    "a header that is a nest": lambda place: {"images.npy": _header(b"(" * 9000)},
    "more images than any disk holds": lambda place: {"images.npy": _header(_BIG)},
    "labels without end": lambda place: {
        "labels.npy": _header(b"{'descr': '<i8', 'fortran_order': False, 'shape': (%d,)}" % 10**12)
    },
}


def _npz(made: Callable[[Place], dict[str, bytes]]) -> Make:
    def make(place: Place) -> Sequence[str]:
        members = {"images.npy": _saved(_IMAGES), "labels.npy": _saved(_LABELS), **made(place)}
        with zipfile.ZipFile(place.work / "set.npz", "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return "data", "set.npz"

    return make


# CIFAR-10 as it is pickled, and its archives


def _batch(name: str) -> Make:
    def make(place: Place) -> Sequence[str]:
        folder = place.work / "cifar-10-batches-py"
        folder.mkdir()
        for number in range(1, 6):
            (folder / f"data_batch_{number}").write_bytes(pickles(place.canary)[name])
        (folder / "test_batch").write_bytes(pickles(place.canary)[name])
        return "data", "cifar-10-batches-py"

    return make


def _member(name: str, **more: object) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    for key, value in more.items():
        setattr(member, key, value)
    return member


MEMBERS: dict[str, Callable[[Place], tarfile.TarInfo]] = {
    "a member that leads out": lambda place: _member("../../outside/canary", size=4),
    "a member from the root": lambda place: _member(str(place.canary), size=4),
    "a link": lambda place: _member("data_batch_1", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "a hard link": lambda place: _member("data_batch_1", type=tarfile.LNKTYPE, linkname="../../outside/bystander.txt"),
    "a pipe": lambda place: _member("data_batch_1", type=tarfile.FIFOTYPE),
    "a device": lambda place: _member("data_batch_1", type=tarfile.CHRTYPE, devmajor=1, devminor=5),
    "a batch of any size": lambda place: _member("data_batch_1", size=2**40),
}


def _archive(member: Callable[[Place], tarfile.TarInfo]) -> Make:
    def make(place: Place) -> Sequence[str]:
        with tarfile.open(place.work / "cifar-10-python.tar.gz", "w:gz") as archive:
            made = member(place)
            archive.fileobj.write(made.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict"))  # its content may be none
            archive.fileobj.write(b"evil".ljust(512, b"\0"))
        return "data", "cifar-10-python.tar.gz"

    return make


def _bomb(place: Place) -> Sequence[str]:
    """A header of as many bytes as the memory has, in a file of a few megabytes."""
    with gzip.open(place.work / "cifar-10-python.tar.gz", "wb", compresslevel=1) as archive:
        archive.write(_member("x", type=tarfile.XHDTYPE, size=2**30).tobuf())
        for _ in range(2**8):
            archive.write(bytes(4 * 2**20))
    return "data", "cifar-10-python.tar.gz"


# parquet


def _extension(place: Place, table: pa.Table) -> pa.Table:
    words = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickles(place.canary)["os.system"],
    }
    field = table.schema.field("label").with_metadata(words)
    return table.cast(table.schema.set(table.schema.get_field_index("label"), field))


def _paths(place: Place, table: pa.Table) -> pa.Table:
    images = [{"bytes": None, "path": path} for path in ("/etc/passwd", "../outside/bystander.txt") * 5]
    return table.set_column(0, "image", pa.array(images, pa.struct({"bytes": pa.binary(), "path": pa.string()})))


def _features(place: Place, table: pa.Table) -> pa.Table:
    kind = {"_type": "os.system", "names": [f"touch {place.canary}", "../../outside/canary"], "id": str(place.canary)}
    features = {"info": {"features": {"image": kind, "label": {**kind, "_type": "ClassLabel"}}}}
    return table.replace_schema_metadata({"huggingface": json.dumps(features), "pandas": '{"index_columns": ["os"]}'})


def _nested(place: Place, table: pa.Table) -> pa.Table:
    return table.replace_schema_metadata({"huggingface": "[" * 100_000})


PARQUET = {
    "a pickled type": _extension, "paths that lead out": _paths, "features that are calls": _features,
    "features that are a nest": _nested,
}  # fmt: skip


def _parquet(change: Callable[[Place, pa.Table], pa.Table]) -> Make:
    def make(place: Place) -> Sequence[str]:
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), "red").save(buffer, "PNG")
        images = [{"bytes": buffer.getvalue(), "path": f"../../outside/{number}.png"} for number in range(10)]
        table = pa.table({"image": images, "label": [number % 2 for number in range(10)]})
        (place.work / "set").mkdir()
        pq.write_table(change(place, table), place.work / "set" / "train-00000-of-00001.parquet")
        return "data", "set"

    return make


# YAML

_CALL = "!!python/object/apply:os.system ['touch {canary}']"
_LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(97 + n)}: &{chr(97 + n)} [{','.join([f'*{chr(96 + n)}'] * 10)}]\n" for n in range(1, 10)
)
_TRAIN, _CHECK = ("train", "hostile.yaml"), ("check", "nano", "--rules", "hostile.yaml")
_SPACE = ("search", "brief", "--data", "digits", "--trials", "1", "--space", "hostile.yaml")
YAMLS = {
    "a call in a recipe": (f"name: {_CALL}\n", _TRAIN),
    "a call in a key": (f"? {_CALL}\n: 1\n", _TRAIN),
    "a module in a recipe": ("name: !!python/module:antigravity\n", _TRAIN),
    "a call in a rule set": (f"title: a\nrules: {_CALL}\n", _CHECK),
    "a call in a space": (f"widths: {_CALL}\n", _SPACE),
    "an object in a rule set": ("rules: [!!python/object/new:os._Environ [{{}}]]\n", _CHECK),
    "a billion laughs in a recipe": (_LAUGHS + "name: *j\n", _TRAIN),
    "a billion laughs in a rule set": (_LAUGHS + "rules: *j\n", _CHECK),
    "a recipe that merges itself": ("name: &a {{<<: *a}}\n", _TRAIN),
    "a recipe that holds itself": ("name: &a [*a]\n", _TRAIN),
}


def _yaml(text: str, call: Sequence[str]) -> Make:
    def make(place: Place) -> Sequence[str]:
        (place.work / "hostile.yaml").write_text(text.format(canary=place.canary))
        return call

    return make
