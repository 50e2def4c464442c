"""Parquet files with any columns and classes, as the hub lays them out."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cifar10_sets import few_images, refused, silent, write_parquet
from image_sets import image_folder, parquet_set, picture, png, rows, write_rows
from PIL import Image

from flyweight import data
from flyweight.data import parquet, registry, shards
from flyweight.data.cifar10 import CLASSES
from flyweight.data.listing import Listing
from flyweight.recipes.sections import DataConfig

pytestmark = pytest.mark.usefixtures("own_places")


def listed(path: Path, **settings: object) -> Listing:
    return parquet.listing(path, DataConfig(**settings), silent)


def refusal(path: Path, **settings: object) -> str:
    return refused(lambda: listed(path, **settings))


def test_classes_keep_the_order_of_the_schema_and_images_their_names_and_splits(tmp_path: Path) -> None:
    folder = parquet_set(tmp_path / "set")
    dataset = data.load(path=folder, config=DataConfig(size=24, resize="squash"))
    assert dataset.source == f"parquet set {folder}"
    assert dataset.classes == ("zebra", "ant")
    assert (len(dataset.train) + len(dataset.validation), len(dataset.test)) == (40, 20)
    assert not any("no test images" in note for note in dataset.notes)
    test = dict(zip(dataset.test.names, zip(dataset.test.images, dataset.test.labels, strict=True), strict=True))
    expected = Image.fromarray(picture(2003)).resize((24, 24), Image.Resampling.BICUBIC)
    assert np.array_equal(test["2003.png"][0], expected)
    assert test["2003.png"][1] == 1


LAYOUTS = {
    "hub": (("train-00000-of-00001", "train"), ("validation-00000-of-00001", "validation"), ("test-0", "test")),
    "an older hub": (("data/train-00000-of-00001-f3a1b2c3d4e5f607", "train"), ("data/test-00000-of-00001-0f", "test")),
    "converted by the hub": (("x/train/0000", "train"), ("x/train/0001", "train"), ("x/test/0000", "test")),
    "the beginning of a large one": (("x/partial-train/0000", "train"), ("x/partial-validation/0000", "validation")),
    "a folder a split": (("train/a", "train"), ("train/b", "train"), ("Val/c", "validation"), ("test/d", "test")),
    "a file a split": (("train", "train"), ("dev", "validation"), ("testing", "test")),
    "no splits": (("part-00000-0c1f-c000.snappy", ""), ("part-00001-0c1f-c000.snappy", ""), ("testimonials", "")),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_splits_are_named_by_files_and_folders(layout: str, tmp_path: Path) -> None:
    for name, _ in LAYOUTS[layout]:
        (tmp_path / f"{name}.parquet").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.parquet").touch()
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "train-00000-of-00009.parquet").touch()
    (tmp_path / "README.md").touch()
    found, notes = shards.arrange(shards.names(tmp_path), "here")
    assert dict(found) == {f"{name}.parquet": split for name, split in LAYOUTS[layout]}
    assert notes == ()
    assert parquet.recognises(tmp_path)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (("train-00000-of-00002",), "train-00001-of-00002.parquet is missing"),
        (("a/test-00001-of-00002-ab",), "test-00000-of-00002.parquet is missing"),
        (("x/train/0000", "x/train/0002"), "0001.parquet is missing"),
        (("train-00000-of-00001", "train-00000-of-00002"), "belong to different sets"),
        (("train-00000-of-00001-a", "train-00000-of-00001-b"), "belong to different sets"),
        (("cropped/train/0000", "full/train/0000"), "holds several sets (cropped, full): name one, here/cropped"),
        ((), "holds no .parquet files: name a .parquet file"),
    ],
)
def test_files_that_are_no_whole_set_are_refused(files: tuple[str, ...], reason: str) -> None:
    assert reason in refused(lambda: shards.arrange([f"{name}.parquet" for name in files], "here"))


def test_what_is_beside_the_set_is_left_out_and_told() -> None:
    files = ["train.parquet", "test.parquet", "extra.parquet", "old/train.parquet"]
    found, notes = shards.arrange(files, "here")
    assert [shard.name for shard in found] == ["test.parquet", "train.parquet"]
    assert "were left out: old" in notes[0]
    assert "extra.parquet" in notes[1]


def test_a_part_that_is_named_alone_has_no_split(tmp_path: Path) -> None:
    file = parquet_set(tmp_path) / "test-00000-of-00001.parquet"
    assert {entry.split for entry in listed(file).entries} == {""}
    assert registry.choose(None, file).name == "parquet"


COLUMNS: dict[str, tuple[dict, dict | None, dict, tuple[str, ...]]] = {
    "any names": (rows(["b", "a"] * 3, "picture", "kind"), None, {}, ("a", "b")),
    "bare bytes": ({"x": [png(picture(n)) for n in range(4)], "y": [10, 9, 2, 10]}, None, {}, ("2", "9", "10")),
    "yes or no": ({"x": [png(picture(n)) for n in range(2)], "y": [True, False]}, None, {}, ("False", "True")),
    "two kinds of labels": (
        {**rows([0, 1] * 3, label="fine_label"), "coarse_label": [0] * 6},
        {"fine_label": ("b", "a"), "coarse_label": ("x", "y")},
        {"label_column": "fine_label"},
        ("b", "a"),
    ),
    "marked among many": ({**rows([1, 0], label="c"), "id": [7, 8], "who": ["x", "y"]}, {"c": ("b", "a")}, {}, "ba"),
    "names that repeat": (rows([0, 2, 1]), {"label": ("crane", "dog", "crane")}, {}, ("crane (0)", "dog", "crane (2)")),
    "pandas' index": ({**rows(["a", "b"]), "__index_level_0__": [0, 1]}, None, {}, ("a", "b")),
}  # fmt: skip


@pytest.mark.parametrize("case", COLUMNS)
def test_columns_are_found_by_metadata_then_by_type(case: str, tmp_path: Path) -> None:
    columns, names, settings, classes = COLUMNS[case]
    found = listed(write_rows(tmp_path / "x.parquet", columns, names), **settings)
    seen = {entry.label for entry in found.entries}
    assert found.classes or tuple(sorted(seen)) == tuple(classes)
    assert found.classes in (None, tuple(classes))
    assert seen <= set(classes)
    assert found.notes == ()


def test_the_usual_name_wins_and_that_is_told(tmp_path: Path) -> None:
    columns = {**rows(["a", "b"]), "mask": rows(["", ""])["image"], "photographer": ["x", "y"]}
    found = listed(write_rows(tmp_path / "x.parquet", columns))
    assert [entry.label for entry in found.entries] == ["a", "b"]
    assert "Of the columns image, mask the images were taken from image; data.image_column changes it." in found.notes
    assert len(found.notes) == 2


AMBIGUOUS: dict[str, tuple[dict, dict | None, dict, str]] = {
    "two labels": (
        {**rows([0], label="fine_label"), "coarse_label": [0]},
        {"fine_label": ("a",), "coarse_label": ("b",)},
        {},
        "(fine_label, coarse_label): choose with --set data.label_column=fine_label",
    ),
    "no labels": ({"image": rows([0])["image"], "box": [[1, 2]]}, None, {}, "no column of labels (whole numbers or"),
    "no images": ({"pixels": [[1, 2]], "label": [1]}, None, {}, "no column of images (bytes of image files"),
    "a wrong column": (rows(["a"]), None, {"label_column": "lable"}, "no column 'lable' (did you mean 'label'?)"),
    "numbers with a point": ({**rows(["a"]), "x": [0.5]}, None, {"label_column": "x"}, "'x' holds no labels; it has"),
    "a name for each": (rows([f"id {n}" for n in range(30)]), None, {}, "has 30 different values in 30 rows"),
    "a number without name": (rows([0, 5]), {"label": ("a", "b")}, {}, "label of row 1 is 5, but there are 2 names"),
    "no label at all": (rows([None, None, -1]), {"label": ("a", "b")}, {}, "none of its 3 rows has a label"),
}  # fmt: skip


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_columns_that_leave_a_doubt_are_one_line(case: str, tmp_path: Path) -> None:
    columns, names, settings, reason = AMBIGUOUS[case]
    line = refusal(write_rows(tmp_path / "x.parquet", columns, names), **settings)
    assert reason in line
    assert str(tmp_path) in line


def test_files_must_agree(tmp_path: Path) -> None:
    folder = parquet_set(tmp_path)
    write_rows(folder / "test-00000-of-00001.parquet", rows([0, 1]), {"label": ("ant", "zebra")})
    assert "train-00001-of-00002.parquet" not in refusal(folder)
    assert "differ in their columns or names of classes" in refusal(folder)


def test_rows_that_are_no_images_are_left_out_with_their_reason(tmp_path: Path) -> None:
    columns = rows([0, 1, None, 0, 1, -1, 0, 1] * 4, path=None)
    columns["image"][0] = None
    columns["image"][1] = {"bytes": None, "path": None}
    columns["image"][3] = {"bytes": b"no image", "path": None}
    file = write_rows(tmp_path / "x.parquet", columns, {"label": ("a", "b")})
    found = listed(file)
    assert found.skipped[:2] == (("row 2", "it has no label"), ("row 5", "it has no label"))
    contents = list(found.contents())
    assert [len(contents), len(found.entries), contents[:2]] == [24, 24, [b"", b""]]
    assert contents == list(found.contents())
    dataset = data.load(path=file)
    assert sum(len(part) for part in (dataset.train, dataset.validation, dataset.test)) == 21
    assert any(note.startswith("Left out: 11 (row 2, row 5, ") for note in dataset.remarks)


def test_an_image_is_called_as_its_file_where_no_other_is(tmp_path: Path) -> None:
    columns = rows(["a", "b"] * 2)
    columns["image"][2]["path"] = columns["image"][1]["path"]
    names = [entry.name for entry in listed(write_rows(tmp_path / "train.parquet", columns).parent).entries]
    assert names == ["0.png", "train row 1", "train row 2", "3.png"]


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": lambda file: os.truncate(file, 5000),
    "empty": lambda file: file.write_bytes(b""),
    "no parquet": lambda file: file.write_text("x" * 500),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_one_line(damage: str, tmp_path: Path) -> None:
    folder = parquet_set(tmp_path)
    DAMAGE[damage](folder / "train-00001-of-00002.parquet")
    assert f"{folder / 'train-00001-of-00002.parquet'} cannot be read as a parquet file" in refusal(folder)


def test_another_choice_of_columns_is_another_set_in_the_cache(tmp_path: Path) -> None:
    columns = {**rows([0, 1] * 10, label="fine"), "coarse": [0, 1, 1, 0] * 5}
    file = write_rows(tmp_path / "x.parquet", columns)
    configs = [DataConfig(label_column=column) for column in ("fine", "coarse", "fine")]
    assert len({data.load(path=file, config=config).fingerprint for config in configs}) == 2


def test_contents_are_streamed(tmp_path: Path) -> None:
    """All of a file in one row group, as other writers make them: 64 MB of it, of which 2 are in memory."""
    noise = np.random.default_rng(0).bytes(2**16)
    big = {"image": [noise[n : n + 2**14] for n in range(4096)], "label": [n % 2 for n in range(4096)]}
    pq.write_table(pa.table(big), tmp_path / "x.parquet", compression="none", use_dictionary=False)
    assert pq.ParquetFile(tmp_path / "x.parquet").num_row_groups == 1
    found = listed(tmp_path / "x.parquet")
    before, most = pa.total_allocated_bytes(), 0
    for content, expected in zip(found.contents(), big["image"], strict=True):
        assert content == expected
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 24 * 2**20


def test_cifar10_keeps_what_is_cifar10_and_nothing_else(tmp_path: Path) -> None:
    few = few_images()
    assert registry.choose(None, write_parquet(tmp_path / "plain", *few)).name == "cifar10"
    named = write_parquet(tmp_path / "named", *few, names=CLASSES)
    (named / "train-00000-of-00002.parquet").write_bytes(b"")
    assert registry.choose(None, named).name == "cifar10"  # damaged, and told so
    other = write_parquet(tmp_path / "other", *few, names=tuple("abcdefghij"))
    assert data.load(path=other).classes == tuple("abcdefghij")
    (folder := tmp_path / "mine" / "data").mkdir(parents=True)
    parquet_set(folder)
    assert registry.choose(None, folder.parent).name == "parquet"


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.table([pa.array([b"x"]), pa.array([1]), pa.array([2])], names=["image", "label", "label"])
    pq.write_table(table, tmp_path / "train.parquet")
    assert "several columns of one name (label)" in refusal(tmp_path / "train.parquet")


def test_metadata_without_a_bottom_is_none(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "set" / "train-0.parquet", rows([0, 1] * 5))
    table = pq.read_table(file).replace_schema_metadata({"huggingface": "[" * 100_000})
    pq.write_table(table, file)
    assert len(data.load(path=file.parent).classes) == 2


def test_a_parquet_file_among_images_makes_no_parquet_set(tmp_path: Path) -> None:
    image_folder(tmp_path / "photos")
    write_rows(tmp_path / "photos" / "cat" / "embeddings.parquet", rows([0]), {"label": ("a", "b")})
    assert registry.choose(None, tmp_path / "photos").name == "folder"
