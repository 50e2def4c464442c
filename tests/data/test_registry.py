"""The table of readers: what holds for each of them, and how one is chosen."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cifar10_sets import few_images, refused, silent, write_binary
from hub_server import Hub
from image_sets import image_folder, npz_file, parquet_set

from flyweight import data
from flyweight.data import registry
from flyweight.data.reader import NoDataError, Reader
from flyweight.data.stored import Stored
from flyweight.errors import FlyweightError

pytestmark = pytest.mark.usefixtures("own_places")


def an_example(reader: Reader, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path | None]:
    """A name and a path that the reader takes; each reader that takes a path or an address has an entry here."""
    if reader.address is not None:
        with Hub(monkeypatch) as hub:
            hub.publish("me/set", parquet_set(folder))
            data.load(name := f"{reader.name}:me/set", cache=folder.parent / "arrays")
        return name, None
    examples = {
        "cifar10": lambda: write_binary(folder, *few_images()),
        "parquet": lambda: parquet_set(folder),
        "npz": lambda: npz_file(folder.with_suffix(".npz")),
        "folder": lambda: image_folder(folder),
    }
    return reader.name, examples[reader.name]() if reader.layouts is not None else None


@pytest.mark.parametrize("reader", registry.READERS, ids=lambda reader: reader.name)
def test_each_reader_keeps_its_contract(reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, path = an_example(reader, tmp_path / "set", monkeypatch)
    dataset = registry.load(name, path, cache=tmp_path / "arrays", progress=silent, download=False)
    for split in (dataset.train, dataset.test):
        array = split.images.array if isinstance(split.images, Stored) else split.images
        assert isinstance(array, np.memmap)
        assert array.flags.c_contiguous
        assert not array.flags.writeable
        assert split.names is None or len(set(split.names)) == len(split)
        assert (split.images.dtype, len(split.images.shape), split.labels.dtype) == (np.uint8, 4, np.int64)
        assert len(split.images) == len(split.labels) > 0
        assert 0 <= split.labels.min() <= split.labels.max() < len(dataset.classes)
    assert np.unique(dataset.train.labels).size == len(dataset.classes)
    assert len(dataset.mean) == len(dataset.std) == dataset.spec.channels
    assert min(dataset.std) > 0
    assert dataset.source
    if reader.read is not None and path is None:
        # nothing that a user may choose or must be told
        assert dataset.notes == ()
    if reader.spec is not None:
        assert (reader.spec.classes, reader.spec.shape) == (dataset.spec.classes, dataset.spec.shape)
    # the second time from the cache, to the bit
    again = registry.load(name, path, cache=tmp_path / "arrays", progress=silent, download=False)
    arrays = {"train": 0, "validation": 0, "test": 0, "origin": 0}
    assert vars(again) | arrays == vars(dataset) | arrays
    if path is not None:
        assert reader.recognises(path)
        assert registry.choose(None, path) is reader
        empty = tmp_path / "empty"
        empty.mkdir()
        assert not reader.recognises(empty)


@pytest.mark.parametrize("reader", registry.READERS, ids=lambda reader: reader.name)
def test_what_people_read_of_a_reader_is_a_line(reader: Reader) -> None:
    for text in (reader.name, reader.label, reader.help, *([reader.layouts] if reader.layouts else [])):
        assert text == " ".join(text.split()) != ""
    assert len(reader.help) < 100


def test_names_tell_readers_apart() -> None:
    names = [reader.name for reader in registry.READERS]
    assert len(set(names)) == len(names)
    assert registry.choose().name == names[0] == "cifar10"


def test_digits_are_as_their_spec_says(tmp_path: Path) -> None:
    spec, dataset = registry.choose("digits").spec, data.load("digits")
    assert spec is not None
    # enlarging may round otherwise in another version of Pillow
    assert dataset.mean == pytest.approx(spec.preprocessing.mean, abs=1e-3)
    assert dataset.std == pytest.approx(spec.preprocessing.std, abs=1e-3)


@pytest.mark.parametrize("name", ["cifar100", "", "digits"])
def test_a_wrong_name_says_the_right_ones(name: str, tmp_path: Path) -> None:
    with pytest.raises(FlyweightError, match=r"choose cifar10, .*digits") as caught:
        data.load(name, tmp_path)
    assert caught.value.exit_code == 2
    assert ("did you mean 'cifar10'?" in str(caught.value)) == (name == "cifar100")


def test_a_path_that_is_nothing_known_names_what_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    line = refused(lambda: data.load(path=tmp_path))
    assert f"--data {tmp_path} holds no data set: name CIFAR-10 as parquet files" in line
    line = refused(lambda: data.load(path=tmp_path / "digit"))
    assert "does not exist (did you mean 'digits'?): name CIFAR-10 as" in line


def test_a_data_set_that_is_nowhere_is_a_data_error() -> None:
    with pytest.raises(NoDataError) as caught:
        data.load(download=False)
    assert caught.value.exit_code == 3


def test_import_does_no_work() -> None:
    heavy = {"pyarrow", "sklearn", "huggingface_hub", "torch", "PIL", "filelock", "tqdm", "rich"}
    code = f"import sys, flyweight.data; assert not {heavy!r} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
