"""A pipe, a socket, a device, a folder in the place of a file that a command reads: one line, and never a hang."""

import os
import shutil
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from conftest import a_socket
from PIL import Image
from test_cli import command  # noqa: F401 (a fixture)
from test_unfit_weights import DIGITS, saved
from told import wrong

from flyweight.data import digits
from flyweight.runs.folder import Run

if not hasattr(os, "mkfifo"):
    pytest.skip("Windows has none of them", allow_module_level=True)

NET = (
    "from torch import nn\n"
    "class Net(nn.Sequential):\n"
    "    def __init__(self, num_classes):\n"
    "        super().__init__(nn.Conv2d(3, num_classes, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
)
KINDS = {
    "pipe": os.mkfifo,
    "socket": a_socket,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "folder": Path.mkdir,
}
TRAIN = ["train", "sprint", *DIGITS, "--epochs", "1"]
SEARCH = ["--trials", "1", "--recipe", "sprint", *DIGITS]
# what lies in the place of which file, how it is read, and the exit codes that the command may have
PLACES = [
    ("x.png", ["predict", "sprint", "x.png"], {3}),
    ("more/x.png", ["predict", "sprint", "more"], {3}),
    ("m.onnx", ["predict", "m.onnx", "cat.png"], {4}),
    ("out/export.json", ["predict", "out", "cat.png"], {4}),
    ("run/config.json", ["predict", "run", "cat.png"], {4}),
    ("run/model.safetensors", ["predict", "run", "cat.png"], {4}),
    ("run/config.json", ["evaluate", "run"], {4}),
    ("run/model.safetensors", ["evaluate", "run"], {4}),
    ("run/config.yaml", ["evaluate", "run"], {0, 4}),
    ("any.png", ["evaluate", "run", "--against", "any.png"], {3}),
    ("x.npz", ["evaluate", "run", "--data", "x.npz"], {3}),
    ("run/config.yaml", ["report", "run"], {4}),
    ("run/model.safetensors", ["report", "run"], {4}),
    ("run/config.json", ["export", "run", "--to", "exported"], {4}),
    ("run/model.safetensors", ["demo", "run", "--port", "0"], {4}),
    ("r.yaml", ["train", "r.yaml"], {2}),
    ("rules.yaml", [*TRAIN, "--set", "rules=rules.yaml"], {2}),
    ("run/model.safetensors", [*TRAIN, "--set", "train.teacher=run"], {4}),
    ("run/config.json", [*TRAIN, "--set", "train.start=run"], {4}),
    ("run/config.yaml", ["train", "--resume", "run"], {4}),
    ("run/checkpoints/epoch-0001-step-000000.pt", ["train", "--resume", "run"], {4}),
    ("x.parquet", ["train", "--data", "x.parquet"], {3}),
    ("set/train-00000-of-00001.parquet", ["train", "--data", "set"], {3}),
    ("cifar/cifar-10-python.tar.gz", ["train", "--data", "cifar"], {3}),
    ("net.py", ["check", "net.py:Net"], {2}),
    ("net.ipynb", ["check", "net.ipynb:Net"], {2}),
    ("net.py", ["check", "net.py", "fine.py", "--no-isolated"], {2}),
    ("r.yaml", ["check", "r.yaml"], {2}),
    ("rules.yaml", ["check", "sprint", "--rules", "rules.yaml"], {2}),
    ("x.npz", ["data", "x.npz"], {3}),
    ("x.parquet", ["data", "x.parquet"], {3}),
    ("set/test-00000-of-00001.parquet", ["data", "set"], {3}),
    ("x.zip", ["data", "x.zip"], {3}),
    ("photos/a/x.png", ["data", "photos"], {0, 3}),
    ("rules.yaml", ["search", "rules.yaml", *SEARCH], {2}),
    ("space.yaml", ["search", "brief", "--space", "space.yaml", *SEARCH], {2}),
    ("found/trials.journal", ["search", "brief", "--out", "found", *SEARCH], {4}),
    ("out.csv", ["predict", "sprint", "cat.png", "--csv", "out.csv"], {2}),
    ("marks.csv", ["check", "sprint", "--csv", "marks.csv"], {2}),
    ("page.html", ["data", "photos", "--page", "page.html"], {2}),
]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Whole files: a run, images, a network."""
    folder = tmp_path_factory.mktemp("kept")
    saved(folder / "run", lambda network: None)
    Run(folder / "run").write_history([], [])
    (folder / "photos" / "b").mkdir(parents=True)
    (folder / "photos" / "a").mkdir()
    for number, place in enumerate(["cat.png", "photos/a/1.png", "photos/a/2.png", "photos/b/1.png", "photos/b/2.png"]):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / place)
    (folder / "fine.py").write_text(NET)
    return folder


@contextmanager
def at_most(seconds):
    """An error where a call waits; whoever opens a pipe would wait for ever."""

    def late(number, frame):
        raise AssertionError(f"it hangs in {frame.f_code.co_filename}:{frame.f_lineno}")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def kinds_of(number):
    """A pipe in every place, and in turn one of the others."""
    return ["pipe", ["socket", "device", "folder"][number % 3]]


@pytest.mark.parametrize(
    ("number", "kind"), [(number, kind) for number in range(len(PLACES)) for kind in kinds_of(number)]
)
def test_what_is_no_file_is_told_and_never_waited_for(command, kept, tmp_path, number, kind):  # noqa: F811
    place, call, codes = PLACES[number]
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    KINDS[kind](path)
    with at_most(60):
        code, out, err = command(*call)
    # of a folder a command may make something
    assert code in codes or (kind == "folder" and code == 3), (code, err)
    if code == 0 or "fine.py" in call:  # it was done without it; of several networks the table tells it
        assert "Errno" not in out + err
        assert not [line for line in err.splitlines() if line.startswith("flyweight: ")]
        assert code == 0 or "net.py" in out
    else:
        # of images, which may be thousands, each is told with its reason alone
        found = [line for line in wrong(err, Path(place).name) if call[0] != "predict" or "what to do" not in line]
        assert not found
        # one that is to be written is there already, and a folder without a known file in it is none
        what = {"--csv": "there is such a file already", "--page": "there is such a file already"}.get(call[-2])
        what = "no data set" if place.startswith("cifar") else what or "not a regular file"
        assert kind == "folder" or what in err, err
    assert path.exists() or path.is_symlink()  # nothing of the user's is gone


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["manifest.json", "train_images.npy"])
def test_arrays_of_the_cache_that_are_no_files_are_made_again(tmp_path, name, kind):
    read = {"cache": tmp_path, "progress": lambda *of: None, "download": False}
    was = digits.READER.read(None, **read).fingerprint
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    (folder / name).unlink()
    KINDS[kind](folder / name)
    with at_most(60):
        assert digits.READER.read(None, **read).fingerprint == was
    assert (folder / name).is_file()
    assert sys.platform == "win32" or not list(tmp_path.glob(".*"))
