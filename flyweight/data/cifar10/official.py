"""Read the official batches of CIFAR-10, python (pickles) or binary, from a folder or from the archive itself."""

import gzip
import io
import pickle
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from flyweight.data.dataset import Progress, Split, joined
from flyweight.text import one_line

# five training batches, the test batch, the names of the classes
PYTHON = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta")
BINARY = (*(f"{name}.bin" for name in PYTHON[:6]), "batches.meta.txt")
ARCHIVE_LIMIT = 512 * 2**20  # unpacked, the archives have 186 and 184 MB; a header alone can ask for any memory
MEMBER_LIMIT = 64 * 2**20  # a batch has 31 MB; a larger member is not one, and may be a bomb


def read(files: tuple[Path, ...], archive: Path | None, progress: Progress) -> tuple[Split, Split, tuple[str, ...]]:
    """Read the six batches from their files, or straight from the archive, python or binary.

    Returns:
        The training split, the test split, and the class names where there is a file of them.

    Raises:
        ValueError: a batch is missing or damaged. What gzip and tarfile raise on a damaged archive passes.
    """
    contents = _members(archive, progress) if archive else {file.name: file.read_bytes() for file in files}
    python = any(name in contents for name in PYTHON)
    wanted, parse = (PYTHON, _parse_python) if python else (BINARY, _parse_binary)
    missing = [name for name in wanted[:6] if name not in contents]
    if missing:
        raise ValueError(f"it has no {', '.join(missing)}")
    batches = []
    for done, name in enumerate(wanted[:6]):
        progress("reading batches", done, 6)
        batches.append(parse(contents[name], name))
    progress("reading batches", 6, 6)
    names = _class_names(contents[wanted[6]], python) if wanted[6] in contents else ()
    return joined(batches[:5]), batches[5], names


def _class_names(content: bytes, python: bool) -> tuple[str, ...]:
    if not python:
        return tuple(content.decode().split())
    names = _unpickle(content, PYTHON[6]).get("label_names")
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _members(path: Path, progress: Progress) -> dict[str, bytes]:
    """Read the wanted members of a tar archive into memory: nothing is extracted, so no path in it can do harm."""
    found: dict[str, bytes] = {}
    opener: Any = open if path.suffix == ".tar" else gzip.open
    with opener(path, "rb") as packed:
        stream: Any = _Bounded(packed)
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                name = PurePosixPath(member.name).name
                if not member.isfile() or name not in (*PYTHON, *BINARY):
                    continue
                if member.size > MEMBER_LIMIT or name in found:
                    raise ValueError(f"its member {name} is larger than a batch, or there twice")
                progress(f"reading {path.name}", len(found), None)
                content: IO[bytes] | None = tar.extractfile(member)
                found[name] = content.read() if content else b""
        while stream.read(2**20):  # to the end, where gzip's own checksum is compared
            pass
    return found


class _Bounded:
    """A stream of so many bytes at most: a small file may unpack to any number of them."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._left = stream, ARCHIVE_LIMIT

    def read(self, count: int) -> bytes:
        """The next bytes.

        Raises:
            ValueError: there are more than an archive has.
        """
        content = self._stream.read(count)
        self._left -= len(content)
        if self._left < 0:
            raise ValueError(f"it unpacks to more than {ARCHIVE_LIMIT >> 20} MiB, which no archive of CIFAR-10 does")
        return content


def _parse_binary(content: bytes, name: str) -> Split:
    """Records of 3,073 bytes: the label, then the red, green and blue planes, each row by row."""
    if len(content) % 3073:
        raise ValueError(f"{name} has {len(content)} bytes, not a multiple of 3,073: it is truncated")
    records = np.frombuffer(content, np.uint8).reshape(-1, 3073)
    return Split(_planes_last(records[:, 1:]), records[:, 0].astype(np.int64))


def _parse_python(content: bytes, name: str) -> Split:
    """A pickled dict: `data`, (N, 3072) uint8 in three planes, and `labels`, a list of N integers."""
    batch = _unpickle(content, name)
    data, labels = batch.get("data"), batch.get("labels")
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
        raise ValueError(f"{name} holds no data of shape (N, 3072) and type uint8")
    if not isinstance(labels, list) or len(labels) != len(data) or any(type(label) is not int for label in labels):
        raise ValueError(f"{name} does not hold one whole-number label for each image")
    return Split(_planes_last(data), np.array(labels, np.int64))


def _planes_last(planes: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _unpickle(content: bytes, name: str) -> dict[str, Any]:
    try:
        batch = _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
        if not isinstance(batch, dict):
            raise pickle.UnpicklingError(f"it holds a {type(batch).__name__}, not a dict")
    except Exception as error:  # damaged pickles raise nearly anything
        raise ValueError(f"{name} is not a sound batch ({one_line(error)})") from error
    return {key.decode() if isinstance(key, bytes) else str(key): value for key, value in batch.items()}


class _ArrayUnpickler(pickle.Unpickler):
    """A pickle can run any function that it names: this one knows only those that make a numpy array."""

    def find_class(self, module: str, name: str) -> Any:
        # numpy's own names for them moved between versions; what an array pickles itself with is always right
        allowed = {
            "_reconstruct": np.zeros(1).__reduce__()[0],
            "_frombuffer": np.zeros(1).__reduce_ex__(5)[0],
            "ndarray": np.ndarray,
            "dtype": np.dtype,
        }
        if module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy._core.numeric"):
            if name in allowed:
                return allowed[name]
        elif (module, name) == ("_codecs", "encode"):
            return _encode_latin1
        raise pickle.UnpicklingError(f"it wants to call {module}.{name}, which no batch of CIFAR-10 needs")


def _encode_latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"unexpected encoding {encoding!r}")
    return text.encode("latin1")
