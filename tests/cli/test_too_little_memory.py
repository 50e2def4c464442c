"""Too little memory, and folders that cannot be written: one line, and nothing lost."""

import errno
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from flyweight.cli import app
from flyweight.data import cache
from flyweight.data.cifar10 import SPEC
from flyweight.errors import out_of_memory
from flyweight.networks.build import build
from flyweight.recipes.sections import ModelConfig
from flyweight.runs.card import Card, save_model

GREEDY = """
import torch
from torch import nn


class Net(nn.Module):
    def forward(self, x):
        return torch.empty(10**15)
"""
# the peak of this process's memory, before and after it looks at an image, in MiB
PEAK = """
import json, resource, sys
from pathlib import Path
from flyweight.errors import DataError
from flyweight.images import decode
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode.read(Path(sys.argv[1]), (3, 32, 32))
    told = ""
except DataError as error:
    told = str(error)
print(json.dumps([told, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024]))
"""

# no room for the frame of a call: where the frames' memory ends, which is every hundred calls or so
DEEP = """
import os, resource
from pathlib import Path
from flyweight.errors import out_of_memory
def deep(left):
    return deep(left - 1) if left else left
for _ in range(99):
    deep(99)  # calls are made fast
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken, resource.getrlimit(resource.RLIMIT_AS)[1]))
for depth in range(500):
    try:
        deep(depth)
    except (MemoryError, SystemError) as error:
        os.write(1, b"memory" if out_of_memory(error) else b"a bug")
        os._exit(0)  # Python 3.11 does not live long after it
"""


def refused(capsys, *call):
    """Call a command that has too little memory: its one line."""
    assert app.run_command(call) == 7
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    return line


def test_too_little_memory_is_one_line_with_what_to_do(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(GREEDY)
    assert "smaller batch" in refused(capsys, "check", "net.py:Net")


def last_line(capsys, *call):
    assert app.run_command(call) == 7
    out, err = capsys.readouterr()
    assert out == ""
    *notes, line = err.splitlines()
    assert all(note.startswith("note: ") for note in notes)
    return line


@pytest.mark.parametrize("size", ["3,9999999,9999999", f"3,{10**30},{10**30}", "3,999999999999"], ids=str)
def test_an_input_that_no_machine_holds_is_told_as_that(capsys, size):
    line = last_line(capsys, "check", "nano", "--input", size)
    assert line.startswith(("flyweight: an input of 1x3x", f"flyweight: --input 3,{10**30},"))
    assert line.endswith("does not fit into memory")


def test_maps_that_this_machine_does_not_hold_are_told_before_the_system_ends_the_program(capsys, monkeypatch):
    from flyweight.analysis.trace import recorder

    monkeypatch.setattr(recorder, "available_memory", lambda: 2**24)
    line = last_line(capsys, "check", "dilated", "--input", "3,512,512")
    assert line == (
        "flyweight: the maps of TableNetwork on an input of 1x3x512x512 do not fit into memory: choose a smaller one"
    )


def test_sizes_of_thousands_of_digits_are_a_wrong_call(capsys):
    for size in (f"3,{'9' * 5000}", f"3,{'9' * 5000},4"):
        assert app.run_command(["check", "nano", "--input", size]) == 2
        _, err = capsys.readouterr()
        assert len(err.splitlines()) == 1
        assert len(err) < 500


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing limits the memory of a process")
def test_no_room_for_a_call_is_too_little_memory():
    done = subprocess.run([sys.executable, "-c", DEEP], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("memory", "")


def test_a_name_that_speaks_of_memory_is_a_name(capsys):
    assert app.run_command(["evaluate", "out of memory"]) == 4
    assert "neither a run folder nor a shipped network" in capsys.readouterr().err


def test_too_little_memory_is_never_the_arrays_fault(capsys, monkeypatch, tmp_path):
    (tmp_path / cache.MANIFEST).write_text(cache.sealed_json({"format": cache.FORMAT}))
    for name in cache.ARRAYS:
        (tmp_path / f"{name}.npy").touch()

    def full(*arguments, **options):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(np, "load", full)
    with pytest.raises(Exception, match="Cannot allocate memory") as caught:
        cache.intact(tmp_path)  # and not None, which would have them made again
    assert out_of_memory(caught.value)
    message, code = app._told(caught.value)
    assert code == 7
    assert "delete" not in message


def test_a_result_that_cannot_be_kept_is_printed_all_the_same(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLYWEIGHT_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    card = Card(
        network="sprint", dropout=None, classes=tuple("0123456789"), input_shape=(3, 32, 32), mean=(0.5,) * 3,
        std=(0.2,) * 3, data="digits", fingerprint="0", epochs=1,
    )  # fmt: skip
    (tmp_path / "run" / "evaluation.json").mkdir(parents=True)  # no file can take its place
    save_model(tmp_path / "run", build(ModelConfig(network="sprint"), SPEC), card)
    assert app.run_command(["evaluate", "run", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["n"] == 360
    assert err.splitlines()[-1].startswith("flyweight: the result is not kept: cannot write")
    # --out has asked for it
    assert app.run_command(["evaluate", "run", "--out", "run"]) == 4
    out, err = capsys.readouterr()
    assert "360" in out
    assert err.splitlines()[-1].startswith("flyweight: cannot write")


@pytest.mark.parametrize(
    ("mode", "kind", "side"), [("P", "PNG", 13_000), ("L", "GIF", 8_000), ("1", "TIFF", 8_000), ("RGB", "WEBP", 8_000)]
)
def test_an_image_of_too_many_pixels_is_refused_before_they_fill_the_memory(tmp_path, mode, kind, side):
    path = tmp_path / "large.png"
    Image.new(mode, (side, side)).save(path, kind, **({"method": 0} if kind == "WEBP" else {}))
    done = subprocess.run([sys.executable, "-c", PEAK, path], capture_output=True, text=True, check=True)
    told, grown = json.loads(done.stdout)
    most = "25 megapixels as WEBP, which takes more memory" if kind == "WEBP" else "50 megapixels"
    assert told == f"{path} cannot be read as an image: it has {side}x{side} pixels: shrink it below {most}"
    assert done.stderr == ""
    assert grown < 60


def test_what_pillow_logs_of_a_damaged_image_is_in_its_one_line(tmp_path):
    path = tmp_path / "x.tif"
    Image.new("RGB", (32, 32)).save(path)
    samples = bytes.fromhex("1501 0300 0100 0000 0300")  # per pixel: 3, a short number
    content = path.read_bytes()
    assert content.count(samples) == 1
    path.write_bytes(content.replace(samples, samples[:-2] + b"\x09\x00"))
    done = subprocess.run([sys.executable, "-c", PEAK, path], capture_output=True, text=True, check=True)
    assert "cannot be read as an image: it is no image" in json.loads(done.stdout)[0]
    assert done.stderr == ""
