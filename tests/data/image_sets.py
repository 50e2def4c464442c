"""Small sets of images in the layouts that readers take."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def picture(seed: int, height: int = 20, width: int = 24, grey: bool = False) -> np.ndarray:
    """Coarse noise: no two seeds look alike, and it survives a JPEG."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6) if grey else (5, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    """Write an image, with the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def image_folder(
    folder: Path, classes: Sequence[str] = ("cat", "dog"), each: int = 10, splits: Sequence[str] = ("",)
) -> Path:
    """Folders of so many PNG files a class, in so many splits."""
    for place, split in enumerate(splits):
        for number, name in enumerate(classes):
            for image in range(each):
                save(folder / split / name / f"{image}.png", picture(1000 * (10 * place + number) + image))
    return folder


def png(pixels: np.ndarray) -> bytes:
    """The bytes of a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def rows(
    labels: Sequence[Any], image: str = "image", label: str = "label", start: int = 0, path: str | None = "{}.png"
) -> dict[str, list[Any]]:
    """Columns of a parquet file: a picture for each label."""
    pictures = [
        {"bytes": png(picture(start + place)), "path": None if path is None else path.format(start + place)}
        for place in range(len(labels))
    ]
    return {image: pictures, label: list(labels)}


def write_rows(file: Path, columns: dict[str, list[Any]], names: dict[str, Sequence[str]] | None = None) -> Path:
    """Write a parquet file; `names` are those of classes, which the hub keeps in the schema."""
    file.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if names is not None:
        features: dict[str, Any] = {
            name: {"names": list(found), "_type": "ClassLabel"} for name, found in names.items()
        }
        features |= {name: {"_type": "Image"} for name in columns if pa.types.is_struct(table.schema.field(name).type)}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, file)
    return file


def parquet_set(folder: Path, names: Sequence[str] = ("zebra", "ant"), each: int = 10) -> Path:
    """Two shards to train on and one to test with, of classes that are not sorted by name."""
    labels = list(range(len(names))) * each
    for place, file in enumerate(("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001")):
        write_rows(folder / f"{file}.parquet", rows(labels, start=1000 * place), {"label": names})
    return folder


def npz_file(file: Path, grey: bool = True, **arrays: np.ndarray) -> Path:
    """Twenty images to train on, ten to choose by and ten to test with, of two classes; other arrays replace them."""
    content = {}
    for place, (split, count) in enumerate((("train", 20), ("val", 10), ("test", 10))):
        content[f"{split}_images"] = np.stack([picture(100 * place + n, 28, 28, grey) for n in range(count)])
        content[f"{split}_labels"] = (np.arange(count) % 2).astype(np.uint8)[:, None]
    np.savez_compressed(file, **(arrays or content))
    return file
