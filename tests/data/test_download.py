"""Downloads are resumed and verified, mirrors are tried in turn."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
from cifar10_sets import NOBODY, few_images, pack, refused, silent, take_for_cifar10, write_parquet, write_python
from mirror import Mirror

from flyweight import data
from flyweight.data.cifar10 import download

pytestmark = pytest.mark.usefixtures("own_places")

ORIGINAL = download.CIFAR10


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    server = Mirror()
    yield server
    server.close()


CONTENT = np.random.default_rng(5).bytes(300_000)


def archive_of(content: bytes, *urls: str) -> download.Archive:
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return download.Archive("cifar-10-python.tar.gz", len(content), md5, urls)


def test_download_reports_and_verifies(mirror: Mirror, tmp_path: Path) -> None:
    mirror.paths["/a"] = {"content": CONTENT}
    heard: list[tuple[str, int, int | None]] = []
    target = download.from_mirrors(archive_of(CONTENT, f"{mirror.url}/a"), tmp_path, lambda *args: heard.append(args))
    assert target.read_bytes() == CONTENT
    assert heard[-1] == ("downloading cifar-10-python.tar.gz from 127.0.0.1", 300_000, 300_000)
    assert download.from_mirrors(archive_of(CONTENT, NOBODY), tmp_path, silent) == target  # not again
    assert not target.with_name("cifar-10-python.tar.gz.part").exists()


def test_a_cut_download_goes_on_where_it_stopped(mirror: Mirror, tmp_path: Path) -> None:
    mirror.paths["/a"] = {"content": CONTENT, "cut": 130_000}
    target = download.from_mirrors(archive_of(CONTENT, f"{mirror.url}/a"), tmp_path, silent)
    assert target.read_bytes() == CONTENT
    assert [asked for _, _, asked in mirror.requests] == [None, "bytes=130000-", "bytes=260000-"]


def test_a_killed_download_goes_on_from_another_mirror(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "cifar-10-python.tar.gz.part").write_bytes(CONTENT[:200_000])
    mirror.paths["/b"] = {"content": CONTENT}
    archive = archive_of(CONTENT, f"{NOBODY}/a", f"{mirror.url}/b")
    assert download.from_mirrors(archive, tmp_path, silent).read_bytes() == CONTENT
    assert mirror.requests == [("GET", "/b", "bytes=200000-")]


@pytest.mark.parametrize("part", [b"x" * 1000, b"x" * 300_000, b"x" * 300_001, CONTENT])
def test_a_part_file_is_not_trusted(part: bytes, mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "cifar-10-python.tar.gz.part").write_bytes(part)
    mirror.paths["/a"] = {"content": CONTENT}
    assert download.from_mirrors(archive_of(CONTENT, f"{mirror.url}/a"), tmp_path, silent).read_bytes() == CONTENT


def test_a_server_without_ranges_starts_anew(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "cifar-10-python.tar.gz.part").write_bytes(CONTENT[:1000])
    mirror.paths["/a"] = {"content": CONTENT, "ranges": False}
    assert download.from_mirrors(archive_of(CONTENT, f"{mirror.url}/a"), tmp_path, silent).read_bytes() == CONTENT


def test_bad_mirrors_are_skipped_and_each_is_named(mirror: Mirror, tmp_path: Path) -> None:
    mirror.paths = {
        "/busy": {"status": 503},
        "/page": {"content": b"<html>not found</html>"},
        "/other": {"content": CONTENT[::-1]},
        "/good": {"content": CONTENT},
    }
    urls = [f"{mirror.url}/{name}" for name in ("absent", "busy", "page", "other")]
    line = refused(lambda: download.from_mirrors(archive_of(CONTENT, *urls), tmp_path, silent))
    for reason in ("HTTP 404", "HTTP 503", "offers 22 bytes, not 300000", "wrong checksum"):
        assert reason in line
    assert not (tmp_path / "cifar-10-python.tar.gz").exists()
    archive = archive_of(CONTENT, *urls, f"{mirror.url}/good")
    assert download.from_mirrors(archive, tmp_path, silent).read_bytes() == CONTENT


def test_load_falls_back_to_the_mirrors(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take_for_cifar10(monkeypatch, *few_images())
    content = pack(write_python(tmp_path / "x", *few_images()), tmp_path / "x.tar.gz").read_bytes()
    mirror.paths["/a"] = {"content": content}
    monkeypatch.setattr(download, "CIFAR10", archive_of(content, f"{NOBODY}/z", f"{mirror.url}/a"))
    dataset = data.load()
    assert dataset.name == "cifar10"
    assert dataset.source == f"archive {tmp_path / 'cache' / 'downloads' / 'cifar-10-python.tar.gz'}"
    mirror.paths.clear()
    assert data.load().fingerprint == dataset.fingerprint  # from the cache's arrays
    shutil.rmtree(only_of(tmp_path / "cache", "cifar10-*/"))
    assert data.load().fingerprint == dataset.fingerprint  # from the cache's archive


def only_of(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


def serve_hub(mirror: Mirror, folder: Path) -> None:
    for name in download.HUB_FILES:
        content = (folder / name).read_bytes()
        headers = {"X-Repo-Commit": "1" * 40, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        url = f"/datasets/{download.HUB_REPOSITORY}/resolve/main/{name}"
        mirror.paths[url] = {"content": content, "headers": headers}
        mirror.paths[url.replace("main", "1" * 40)] = mirror.paths[url]


def test_load_asks_the_hub_first(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    take_for_cifar10(monkeypatch, *few_images())
    monkeypatch.setattr(download, "hub_address", lambda: mirror.url)
    serve_hub(mirror, write_parquet(tmp_path / "x" / "plain_text", *few_images(), shards=1).parent)
    heard: list[tuple[str, int, int | None]] = []
    dataset = data.load(progress=lambda *args: heard.append(args))
    assert dataset.name == "cifar10"
    assert dataset.source.startswith(f"parquet folder {tmp_path / 'hub'}")
    assert any(what == "downloading from the Hugging Face hub" and done == total for what, done, total in heard)
    # without network, and without arrays: from the hub's own cache
    asked = len(mirror.requests)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert data.load(cache=tmp_path / "fresh").fingerprint == dataset.fingerprint
    assert len(mirror.requests) == asked
    assert capfd.readouterr() == ("", "")  # nothing is printed


def test_an_incomplete_download_is_not_cifar10(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "hub_address", lambda: mirror.url)
    serve_hub(mirror, write_parquet(tmp_path / "x" / "plain_text", *few_images(), shards=1).parent)
    assert "is not the complete CIFAR-10: it has 100 training images, not 50,000" in refused(data.load)


def test_offline_means_no_connection(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "hub_address", lambda: mirror.url)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(download, "CIFAR10", archive_of(CONTENT, f"{mirror.url}/a"))
    assert "HF_HUB_OFFLINE is set" in refused(data.load)
    assert "download" not in refused(lambda: data.load(download=False))
    assert mirror.requests == []


def test_the_archive_is_the_official_one() -> None:
    assert (ORIGINAL.size, ORIGINAL.md5) == (170_498_071, "c58f30108f718f92721af3b95e74349a")
    assert ORIGINAL.urls[-1] == "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    assert all(url.startswith("https://") for url in ORIGINAL.urls)
