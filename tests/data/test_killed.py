"""Conversions that are killed or interrupted at random moments lose nothing but time, and leave nobody behind."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from image_sets import picture
from PIL import Image

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.name != "posix", reason="this system has no such signals"),
]

IMAGES = 3000
# the pool with two processes even where there is but one processor; whom it starts is told
CONVERT = """
import sys
from pathlib import Path
from flyweight import data
from flyweight.cli import app
from flyweight.data import workers

workers.available = lambda: 2
begin = workers._Worker.__init__
def told(worker):
    begin(worker)
    print("process", worker._process.pid, flush=True)
workers._Worker.__init__ = told

def convert(*arguments, **options):
    print("fingerprint", data.load(path=Path(sys.argv[1]), cache=Path(sys.argv[2])).fingerprint, flush=True)

app.app = convert
sys.exit(app.run_command([]))
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So many images that differ in their last row, in three classes."""
    folder = tmp_path_factory.mktemp("set")
    for name in ("cat", "dog", "fox"):
        (folder / name).mkdir()
    pixels = [picture(seed, 64, 64).copy() for seed in range(30)]
    for number in range(IMAGES):
        image = pixels[number % 30]
        image[-1, :2] = divmod(number, 250)[0], divmod(number, 250)[1], 0
        Image.fromarray(image).save(folder / ("cat", "dog", "fox")[number % 3] / f"{number}.png", compress_level=1)
    return folder


def begun(images: Path, cache: Path) -> subprocess.Popen[str]:
    # a group of its own, as a shell gives to what it starts: Ctrl-C goes to all of it
    return subprocess.Popen(
        [sys.executable, "-c", CONVERT, str(images), str(cache)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0,
    )  # fmt: skip


def told(out: str, what: str) -> list[str]:
    return [line.split()[1] for line in out.splitlines() if line.startswith(what)]


def whole(images: Path, cache: Path) -> tuple[str, float]:
    """A conversion that ends well: its fingerprint, and how long it took."""
    began = time.monotonic()
    process = begun(images, cache)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return told(out, "fingerprint")[0], time.monotonic() - began


def alive(processes: list[int]) -> Iterator[int]:
    for process in processes:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            continue
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False)
        if state.stdout.strip()[:1] not in ("", "Z"):  # a dead one may wait for the system to see it
            yield process


def gone(processes: list[int], within: float) -> bool:
    until = time.monotonic() + within
    while list(alive(processes)):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def left_behind(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.name.startswith(".")]


def test_killed_30_times_the_next_start_is_right_30_times(images: Path, tmp_path: Path) -> None:
    fingerprint, seconds = whole(images, tmp_path / "undisturbed")
    arrays = next((tmp_path / "undisturbed").glob("image-folder-*/images.npy")).read_bytes()
    moments = random.Random(0)
    midway = 0
    for number in range(30):
        cache = tmp_path / str(number)
        process = begun(images, cache)
        time.sleep(moments.uniform(0.1, seconds))
        process.kill()
        out, err = process.communicate(timeout=60)
        assert "Traceback" not in out + err
        assert gone([int(pid) for pid in told(out, "process")], within=2)
        midway += bool(left_behind(cache)) if cache.exists() else 0
        assert whole(images, cache)[0] == fingerprint
        assert not left_behind(cache)
        assert next(cache.glob("image-folder-*/images.npy")).read_bytes() == arrays
        assert len(list(cache.glob("image-folder-*/images.npy"))) == 1
        shutil.rmtree(cache)
    assert midway >= 3  # the moments were not all before or after the conversion


def test_ctrl_c_ends_it_at_once_without_a_word(images: Path, tmp_path: Path) -> None:
    fingerprint, seconds = whole(images, tmp_path / "undisturbed")
    moments = random.Random(1)
    interrupted = 0
    for number in range(10):
        cache = tmp_path / str(number)
        process = begun(images, cache)
        assert process.stdout is not None
        first = process.stdout.readline()  # a process has begun
        time.sleep(moments.uniform(0, seconds / 2))
        os.killpg(process.pid, signal.SIGINT)
        began = time.monotonic()
        out, err = process.communicate(timeout=60)
        assert time.monotonic() - began < 3
        if process.returncode == 0:  # it was through
            assert told(out, "fingerprint") == [fingerprint]
            continue
        interrupted += 1
        assert (process.returncode, told(out, "fingerprint"), err) == (130, [], "")
        assert gone([int(pid) for pid in told(first + out, "process")], within=2)
        assert not left_behind(cache)
    assert interrupted >= 5
    assert whole(images, cache)[0] == fingerprint
