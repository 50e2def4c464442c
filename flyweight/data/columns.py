"""Which columns of a parquet file hold the images and their classes: by the hub's metadata, else by their types."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flyweight.data import labels
from flyweight.errors import DataError
from flyweight.recipes.sections import DataConfig
from flyweight.schema import suggestion
from flyweight.text import printable, some

if TYPE_CHECKING:
    import pyarrow as pa

USUAL = {"image": ("image", "img"), "label": ("label",)}
"""What such a column is called most often: of several that may be it, this one is taken, and that is told."""


@dataclass(frozen=True)
class Columns:
    """Where the images and their classes are.

    Attributes:
        image: the column of the images.
        content: the leaf column of their files' bytes.
        path: the leaf column of their files' names; none: there is none.
        label: the column of the classes.
        names: of the classes, in the order of their numbers; empty: the column says them itself.
        notes: sentences that a person should read.
    """

    image: str
    content: str
    path: str | None
    label: str
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def find(schema: pa.Schema, config: DataConfig, where: str) -> Columns:
    """Choose the columns.

    Args:
        schema: of the file.
        config: whose data.image_column and data.label_column choose, where they say something.
        where: the file or the data set, for a message.

    Raises:
        DataError: a column is missing, is none of its kind, or several may be it: what was found and what to write.
    """
    known = features(schema)
    image, image_note = _choose(schema, "image", config.image_column, "Image", known, _holds_files, where)
    label, label_note = _choose(schema, "label", config.label_column, "ClassLabel", known, _names_classes, where)
    type_ = schema.field(image).type
    leaves = _leaves(type_)
    named = known.get(label, {}).get("names") if _is_number(schema.field(label).type) else None
    return Columns(
        image,
        f"{image}.bytes" if leaves else image,
        f"{image}.path" if "path" in leaves else None,
        label,
        labels.distinct(named) if isinstance(named, list) else (),
        tuple(note for note in (image_note, label_note) if note),
    )


def features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """What the hub's metadata says of each column, such as ``{"_type": "ClassLabel", "names": [...]}``."""
    try:
        content = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: value for name, value in content.items() if isinstance(value, dict)}
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        return {}


def _choose(
    schema: pa.Schema,
    what: str,
    wanted: str | None,
    feature: str,
    known: dict[str, dict[str, Any]],
    fits: Callable[[pa.DataType], bool],
    where: str,
) -> tuple[str, str]:
    """The column, and a sentence where it was taken among several."""
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twice:
        raise DataError(f"{where} has several columns of one name ({some(twice)}): write it with names of their own")
    # pandas writes its index as a column
    columns = [name for name in schema.names if not name.startswith("__index_level_")]
    fitting = [name for name in columns if fits(schema.field(name).type)]
    if wanted is not None:
        if wanted not in columns:
            raise DataError(
                f"{where} has no column {printable(wanted)!r}{suggestion(wanted, columns)}: it has {_listed(schema)}"
            )
        if wanted not in fitting:
            raise DataError(f"{where}: the column {printable(wanted)!r} holds no {what}s; it has {_listed(schema)}")
        return wanted, ""
    marked = [name for name in fitting if known.get(name, {}).get("_type") == feature]
    found = marked or fitting
    if not found:
        raise DataError(f"{where} has no column of {what}s ({_EXPECTED[what]}): it has {_listed(schema)}")
    if len(found) == 1:
        return found[0], ""
    usual = [name for name in found if name in USUAL[what]]
    key = f"data.{what}_column"
    if len(usual) == 1:
        return usual[0], f"Of the columns {some(found)} the {what}s were taken from {usual[0]}; {key} changes it."
    raise DataError(
        f"{where} has several columns that may hold the {what}s ({some(found, 8)}): choose with"
        f" --set {key}={printable(found[0])}"
    )


_EXPECTED = {
    "image": "bytes of image files, or a struct of bytes and path",
    "label": "whole numbers or text, one for each image",
}


def _listed(schema: pa.Schema) -> str:
    return some([f"{field.name} ({field.type})" for field in schema], 8)


def _holds_files(type_: pa.DataType) -> bool:
    return _is_binary(type_) or bool(_leaves(type_))


def _leaves(type_: pa.DataType) -> Sequence[str]:
    """Names of the parts of a struct that holds files; empty for another type."""
    import pyarrow as pa

    if not pa.types.is_struct(type_):
        return ()
    names = [type_.field(place).name for place in range(type_.num_fields)]
    return names if "bytes" in names and _is_binary(type_.field("bytes").type) else ()


def _is_binary(type_: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_binary_view(type_)


def _names_classes(type_: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(type_):
        return _names_classes(type_.value_type)
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return _is_number(type_) or any(is_text(type_) for is_text in texts)


def _is_number(type_: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_integer(type_) or pa.types.is_boolean(type_)
