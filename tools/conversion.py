"""What it costs to take images from a folder: seconds, images a second beside a plain Pillow loop, memory.

    python tools/conversion.py png /tmp/png          CIFAR-10 as 60,000 PNG files (240 MB)
    python tools/conversion.py large /tmp/large      100,000 JPEGs of 256x256, of 3,000 contents (1.5 GB)

The folder is written if it is not there. Peak memory is the resident memory of the process and all below it, summed up
every fifth of a second (Linux).
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from flyweight import data

LOAD = "import sys; from pathlib import Path; from flyweight import data; " + (
    "data.load('folder', Path(sys.argv[1]), cache=Path(sys.argv[2]))"
)


def main() -> None:
    """Write the folder and print a line for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("png", "large"))
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    if not options.folder.exists():
        (write_cifar10 if options.what == "png" else write_large)(options.folder)
    images, seconds = plain_loop(options.folder)
    say(f"a plain loop of Pillow's: {images:,} images in {seconds:.1f} s, {images / seconds:,.0f} images/s")
    with tempfile.TemporaryDirectory() as cache:
        for start in ("first start", "second start"):
            seconds, memory = watched([sys.executable, "-c", LOAD, str(options.folder), cache])
            speed = f", {images / seconds:,.0f} images/s" if start == "first start" else ""
            say(f"{start}, imports included: {seconds:.1f} s{speed}, peak memory {memory:,.0f} MiB")


def say(line: str) -> None:
    """Print it now."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def write_cifar10(folder: Path) -> None:
    """Both splits, a folder a class."""
    dataset = data.load()
    for split, part in (("train", dataset.train), ("test", dataset.test)):
        for name in dataset.classes:
            (folder / split / name).mkdir(parents=True)
        for number, (image, label) in enumerate(zip(np.asarray(part.images), part.labels.tolist(), strict=True)):
            Image.fromarray(image).save(folder / split / dataset.classes[label] / f"{number:05}.png")


def write_large(folder: Path) -> None:
    """Coarse noise in twenty classes without splits."""
    random, contents = np.random.default_rng(0), []
    for _ in range(3000):
        coarse = Image.fromarray(random.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        coarse.resize((256, 256), Image.Resampling.BICUBIC).save(buffer, "JPEG")
        contents.append(buffer.getvalue())
    for number in range(20):
        (folder / f"class{number:02}").mkdir(parents=True)
    for number in range(100_000):
        # bytes behind the end make each file one of its own
        content = contents[number % len(contents)] + number.to_bytes(4, "little")
        (folder / f"class{number % 20:02}" / f"{number:06}.jpg").write_bytes(content)


def plain_loop(folder: Path) -> tuple[int, float]:
    """(images, seconds) of opening and decoding each file in one process."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".jpg"))
    began = time.perf_counter()
    for path in files:
        with Image.open(path) as image:
            np.asarray(image)
    return len(files), time.perf_counter() - began


def watched(command: list[str]) -> tuple[float, float]:
    """(seconds, MiB) of a command and all processes below it."""
    began, most = time.perf_counter(), 0.0
    process = subprocess.Popen(command)
    while process.poll() is None:
        most = max(most, sum(resident(number) for number in below(process.pid)))
        time.sleep(0.2)
    if process.returncode:
        sys.exit(process.returncode)
    return time.perf_counter() - began, most


def below(process: int) -> list[int]:
    """A process and all that it began."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
    found = [process]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def resident(process: int) -> float:
    """Its resident memory in MiB."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
