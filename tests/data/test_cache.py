"""The cache survives damage, cuts and several processes at once."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cifar10_sets import few_images, flip, only_folder, refused, silent, until, write_binary

from flyweight import data
from flyweight.data import cache
from flyweight.data.cifar10 import formats
from flyweight.errors import DataError

pytestmark = pytest.mark.usefixtures("own_places")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_binary(tmp_path / "set", *few_images())


def test_conversion_happens_once_and_follows_the_bytes(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = data.load(path=source)
    calls = []
    real = formats.read
    monkeypatch.setattr(formats, "read", lambda *args: calls.append(1) or real(*args))
    shutil.copytree(source, tmp_path / "copy")
    os.utime(source / "test_batch.bin", (1, 1))
    assert data.load(path=source).fingerprint == first.fingerprint
    assert data.load(path=tmp_path / "copy").source == f"binary batches {tmp_path / 'copy'}"
    assert not calls
    stat = (source / "test_batch.bin").stat()
    flip(source / "test_batch.bin", 100)
    os.utime(source / "test_batch.bin", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert data.load(path=source).fingerprint != first.fingerprint
    assert calls


@pytest.mark.parametrize("name", [*(f"{array}.npy" for array in cache.ARRAYS), cache.MANIFEST])
@pytest.mark.parametrize("damage", ["flip", "head", "nest", "truncate", "remove"])
def test_damaged_arrays_are_noticed_and_made_again(name: str, damage: str, source: Path, tmp_path: Path) -> None:
    before = data.load(path=source)
    folder = only_folder(tmp_path / "cache")
    file = folder / name
    if damage == "flip":
        flip(file, file.stat().st_size - 60)
    elif damage == "head":
        file.write_bytes(file.read_bytes().replace(b"}", b"(", 1))
    elif damage == "nest":
        file.write_bytes(file.read_bytes()[:10] + b"[" * 100_000)
    elif damage == "truncate":
        os.truncate(file, file.stat().st_size - 1)
    else:
        file.unlink()
    refused(lambda: cache.read(folder))
    heard: list[str] = []
    again = data.load(path=source, progress=lambda what, *_: heard.append(what))
    assert heard[0] == "the cached arrays are damaged: making them again"
    assert (again.fingerprint, again.mean) == (before.fingerprint, before.mean)
    assert only_folder(tmp_path / "cache") == folder
    assert cache.read(folder).fingerprint == before.fingerprint


@pytest.mark.parametrize("change", [
    {"mean": []}, {"std": "a"}, {"name": 5}, {"notes": [5]}, {"classes": 5}, {"fingerprint": None}, {"source": []},
])  # fmt: skip
def test_a_manifest_whose_checksum_fits_and_whose_content_does_not(
    change: dict[str, object], source: Path, tmp_path: Path
) -> None:
    before = data.load(path=source)
    manifest = only_folder(tmp_path / "cache") / cache.MANIFEST
    manifest.write_text(cache.sealed_json(cache.unsealed_json(manifest.read_text()) | change))
    assert (data.load(path=source).mean, data.load(path=source).name) == (before.mean, before.name)


CHILD = """
import os, signal, sys
from pathlib import Path
from flyweight import data

def progress(what, done, total):
    if [what, str(done)] == sys.argv[2:4]:
        os.kill(os.getpid(), signal.SIGKILL)

print(data.load(path=Path(sys.argv[1]), progress=progress).fingerprint)
"""


def child(source: Path, *arguments: str, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(source), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize("moment", [("reading batches", "3"), ("writing arrays", "0"), ("writing arrays", "3")])
def test_kill_during_conversion_leaves_a_usable_cache(moment: tuple[str, str], source: Path, tmp_path: Path) -> None:
    process = child(source, *moment)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir() and not path.name.startswith(".")]
    assert len(data.load(path=source).train) == 100
    only_folder(tmp_path / "cache")


def test_processes_that_convert_at_once_agree(source: Path, tmp_path: Path) -> None:
    processes = [child(source) for _ in range(3)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert {out.strip() for out, _ in outputs} == {data.load(path=source).fingerprint}
    only_folder(tmp_path / "cache")


def test_waiting_for_another_process_is_reported(source: Path, tmp_path: Path) -> None:
    heard: list[str] = []
    key = formats.find(source).key()
    with cache.locked(tmp_path / "cache" / f"{key}.lock", silent):
        waiter = threading.Thread(target=data.load, kwargs={"path": source, "progress": lambda w, *_: heard.append(w)})
        waiter.start()
        until(lambda: heard)
        assert heard == ["waiting for another process that prepares the same data"]
    waiter.join(timeout=30)
    assert "writing arrays" in heard


def test_an_unwritable_cache_is_one_line_that_names_the_way_out(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = tmp_path / "file" / "cache"
    line = refused(lambda: data.load(path=source, cache=cache))
    assert str(cache) in line
    assert "FLYWEIGHT_CACHE" in line


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_cache_serves_what_it_has(source: Path, tmp_path: Path) -> None:
    known = data.load(path=source).fingerprint
    (tmp_path / "cache").chmod(0o500)
    assert data.load(path=source).fingerprint == known
    other = write_binary(tmp_path / "other", *few_images(seed=1))
    assert "Permission denied" in refused(lambda: data.load(path=other))
    (tmp_path / "cache").chmod(0o700)


def test_arrays_of_another_version_are_made_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data.load(path=source)
    monkeypatch.setattr(cache, "FORMAT", cache.FORMAT + 1)
    assert "another version" in refused(lambda: cache.read(only_folder(tmp_path / "cache")))
    assert len(data.load(path=source).train) == 100


def test_a_complete_cache_is_never_written(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = data.load(path=source).fingerprint
    monkeypatch.setattr(cache, "locked", None)
    assert data.load(path=source).fingerprint == known


def test_a_full_disk_is_one_line_and_leaves_nothing(source: Path, tmp_path: Path) -> None:
    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    process = child(source, preexec_fn=small_files)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    line = errors.strip().splitlines()[-1]
    assert f"cannot write the cache {tmp_path / 'cache'} (File too large)" in line
    assert "FLYWEIGHT_CACHE" in line
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


def test_a_set_that_cannot_be_looked_for_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> bool:
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(Path, "exists", refused)
    with pytest.raises(DataError, match=r"cannot write the cache .* \(Input/output error\)"):
        cache.cached(tmp_path, "some-1", lambda: pytest.fail("it is not known whether it must be made"), silent)


@pytest.mark.skipif(sys.platform != "linux", reason="each platform has its own folder")
def test_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.cache_folder(Path("mine")) == Path.cwd() / "mine"
    assert cache.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("FLYWEIGHT_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_folder() == tmp_path / "xdg" / "flyweight"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.cache_folder() == tmp_path / ".cache" / "flyweight"
