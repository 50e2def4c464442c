"""Read parquet shards with PNG images, the layout of CIFAR-10 on the Hugging Face hub."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from flyweight.data.cifar10 import CLASSES
from flyweight.data.columns import features
from flyweight.data.dataset import Progress, Split, joined
from flyweight.data.shards import check_complete
from flyweight.files import regular
from flyweight.text import one_line


def read(files: tuple[Path, ...], progress: Progress) -> tuple[Split, Split, tuple[str, ...]]:
    """Decode all shards: the training split, the test split, and the class names where the files give them.

    Raises:
        ValueError: a shard is missing or damaged, or an image is not a sound 32x32 RGB PNG.
    """
    _check_shards(files)
    names = {name for file in files if (name := _class_names(file))}
    if len(names) > 1:
        raise ValueError("its files disagree on the names of the classes")
    train, test = (
        [split for file in files if file.name.startswith(side) for split in _read_shard(file, progress)]
        for side in ("train-", "test-")
    )
    return joined(train), joined(test), names.pop() if names else ()


def _read_shard(file: Path, progress: Progress) -> Iterator[Split]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        regular(file)
        with pq.ParquetFile(file, page_checksum_verification=True) as table:
            columns = {table.schema.column(index).path for index in range(len(table.schema))}
            if not {"img.bytes", "label"} <= columns:
                raise ValueError(
                    f"{file.name} has no columns img (with bytes) and label, but {', '.join(sorted(columns))}"
                )
            done, total = 0, table.metadata.num_rows
            for batch in table.iter_batches(batch_size=1000, columns=["img.bytes", "label"]):
                yield _decode_rows(batch.to_pylist(), file.name)
                done += len(batch)
                progress(f"decoding {file.name}", done, total)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file, error) from error


def _check_shards(files: tuple[Path, ...]) -> None:
    """Raise ValueError unless the numbered shards of each side (train-00002-of-00004) are complete and of one set."""
    for side in ("train", "test"):
        names = [file.name for file in files if file.name.startswith(f"{side}-")]
        if not names:
            raise ValueError(f"there is no {side}-*.parquet")
        check_complete(names)


def foreign(files: tuple[Path, ...]) -> bool:
    """Whether the files say themselves that they are of another set: by their columns, or by the names of classes."""
    columns = []
    for file in files:
        try:
            names, classes = _schema(file)
        except ValueError:  # a damaged file says nothing
            continue
        if classes and set(classes) != set(CLASSES):
            return True
        columns.append(names)
    return bool(columns) and not any({"img", "label"} <= names for names in columns)


def _class_names(file: Path) -> tuple[str, ...]:
    """The names of the labels as the hub writes them into a file's schema; empty where it has none."""
    return _schema(file)[1]


def _schema(file: Path) -> tuple[set[str], tuple[str, ...]]:
    """The names of a file's columns, and of its classes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        regular(file)
        schema = pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file, error) from error
    names = features(schema).get("label", {}).get("names")
    return set(schema.names), tuple(names) if isinstance(names, list) else ()


def _damaged(file: Path, error: Exception) -> ValueError:
    if isinstance(error, OSError) and error.strerror:
        return ValueError(f"{file.name} cannot be read ({error.strerror})")
    return ValueError(f"{file.name} is damaged ({one_line(error)})")


def _decode_rows(rows: list[dict[str, Any]], where: str) -> Split:
    images, labels = np.empty((len(rows), 32, 32, 3), np.uint8), np.empty(len(rows), np.int64)
    for index, row in enumerate(rows):
        if type(row["label"]) is not int:
            raise ValueError(f"a label in {where} is {row['label']!r}, not a whole number")
        images[index], labels[index] = _decode((row["img"] or {}).get("bytes"), where), row["label"]
    return Split(images, labels)


def _decode(png: bytes | None, where: str) -> np.ndarray:
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(png or b""), formats=("PNG",))
        if image.size != (32, 32) or image.mode != "RGB":
            raise ValueError(f"it is {image.width}x{image.height} {image.mode}, not 32x32 RGB")
        image.verify()  # the checksums; decoding alone let 8 of 2,000 flipped bits pass
        return np.asarray(Image.open(io.BytesIO(png or b""), formats=("PNG",)))
    except Exception as error:  # Pillow raises SyntaxError, struct.error, ... on damaged files
        raise ValueError(f"an image in {where} is not a sound PNG ({one_line(error)})") from error
