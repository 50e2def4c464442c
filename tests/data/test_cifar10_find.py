"""Where CIFAR-10 is looked for."""

import http.server
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from cifar10_sets import few_images, refused, silent, take_for_cifar10, write_binary

from flyweight import data
from flyweight.data.cifar10 import download, find

pytestmark = pytest.mark.usefixtures("own_places")


def test_order_of_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take_for_cifar10(monkeypatch, *few_images(seed=2))
    checkout = tmp_path / "work" / "checkout"
    option, variable, beside = tmp_path / "option", tmp_path / "variable", tmp_path / "work" / "shared" / "cifar10"
    for seed, folder in enumerate((option, variable, beside)):
        write_binary(folder, *few_images(seed))
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
    data.load(path=write_binary(tmp_path / "set", *few_images()))
    with pytest.raises(data.NoDataError):
        data.load(download=False)


def test_checkout_is_the_folder_with_pyproject(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    assert find.checkout() == Path(__file__).resolve().parents[2]
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
