"""Real faults, and not errors that a test raises: how each command ends, by the table of codes in README."""

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_exit_codes import CALLS
from test_unfit_weights import DIGITS, saved
from told import wrong

from flyweight import errors
from flyweight.cli import app

resource = pytest.importorskip("resource", reason="Windows limits and mounts nothing so")

FEW = [*DIGITS, "--set", "train.workers=0", "--epochs", "1"]
SEARCH = ["search", "brief", "--trials", "1", "--recipe", "sprint", *DIGITS]
# command, what is wrong, call, code; no message holds the names of what is wrong by chance
WRONG = ("zilch", "spoilt", "halted", "hunted", "/proc/none")
FAULTS = [
    ("data", "no such data", ["data", "zilch"], 3),
    ("data", "data damaged", ["data", "spoilt.npz"], 3),
    ("data", "place not writable", ["data", "photos", "--page", "/proc/none/page.html"], 2),
    ("check", "no such network", ["check", "zilch.py:Net"], 2),
    ("check", "no such data", ["check", "zilch-data.yaml"], 3),
    ("check", "recipe damaged", ["check", "spoilt.yaml"], 2),
    ("check", "a rule fails", ["check", "course", "--rules", "mcu-64k"], 1),
    ("check", "place not writable", ["check", "nano", "--csv", "/proc/none/marks.csv"], 2),
    ("train", "no such recipe", ["train", "zilch.yaml"], 2),
    ("train", "no such data", ["train", "--data", "zilch"], 3),
    ("train", "no such run", ["train", "--resume", "zilch"], 4),
    ("train", "run damaged", ["train", "--resume", "halted"], 4),
    ("train", "weights damaged", ["train", "sprint", *FEW, "--set", "train.start=spoilt"], 4),
    ("train", "place not writable", ["train", "sprint", *FEW, "--out", "/proc/none/run"], 2),
    ("train", "a rule fails", ["train", "course", *FEW, "--set", "rules=mcu-64k"], 1),
    ("train", "diverges", ["train", "sprint", *FEW, "--set", "train.learning_rate=1e30", "--no-report"], 5),
    ("evaluate", "no such run", ["evaluate", "zilch"], 4),
    ("evaluate", "no such data", ["evaluate", "run", "--data", "zilch"], 3),
    ("evaluate", "weights damaged", ["evaluate", "spoilt"], 4),
    ("evaluate", "place not writable", ["evaluate", "run", "--out", "/proc/none/scores"], 2),
    ("report", "no such run", ["report", "zilch"], 4),
    ("report", "no such data", ["report", "run", "--data", "zilch"], 3),
    ("report", "weights damaged", ["report", "spoilt"], 4),
    ("predict", "no such run", ["predict", "zilch", "cat.png"], 4),
    ("predict", "no such data", ["predict", "run", "zilch.png"], 3),
    ("predict", "data damaged", ["predict", "run", "cat.png", "spoilt.png"], 3),
    ("predict", "weights damaged", ["predict", "spoilt", "cat.png"], 4),
    ("predict", "place not writable", ["predict", "run", "cat.png", "--explain", "/proc/none/maps"], 2),
    ("predict", "place not writable", ["predict", "run", "cat.png", "--csv", "/proc/none/out.csv"], 2),
    ("export", "no such run", ["export", "zilch", "--to", "out"], 4),
    ("export", "no such data", ["export", "run", "--to", "out", "--data", "zilch"], 3),
    ("export", "weights damaged", ["export", "spoilt", "--to", "out"], 4),
    ("export", "place not writable", ["export", "run", "--to", "/proc/none/out"], 2),
    ("demo", "no such run", ["demo", "zilch"], 4),
    ("demo", "no such data", ["demo", "run", "--port", "0", "--data", "zilch"], 3),
    ("demo", "weights damaged", ["demo", "spoilt", "--port", "0"], 4),
    ("demo", "port taken", ["demo", "run", "--port", "PORT"], 2),
    ("search", "no such rules", ["search", "zilch.yaml", "--trials", "1"], 2),
    ("search", "no such data", ["search", "brief", "--trials", "1", "--data", "zilch"], 3),
    ("search", "journal damaged", [*SEARCH, "--out", "hunted"], 4),
    ("search", "place not writable", [*SEARCH, "--out", "/proc/none/found"], 2),
    ("bench", "no such run", ["bench", "export", "zilch"], 4),
    ("bench", "place not writable", ["bench", "--figure", "/proc/none/figure.png"], 2),
]
# what ends with an answer in a second or so
ANSWERING = {
    "data": ["data", "photos"],
    "check": ["check", "nano"],
    "rules": ["rules"],
    "evaluate": ["evaluate", "run"],
    "predict": ["predict", "run", "cat.png"],
    "help": ["--help"],
}


def some_long(calls, *long):
    """Parameters of a test, those of these names for `make test-long`."""
    marks = dict.fromkeys(long, (pytest.mark.long,))
    return [pytest.param(call, id=name, marks=marks.get(name, ())) for name, call in calls.items()]


def flipped(path):
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A run, whole and damaged; images, one of which is none; a search whose journal is damaged."""
    folder = tmp_path_factory.mktemp("kept")
    saved(folder / "run", lambda network: None)
    shutil.copytree(folder / "run", folder / "spoilt")
    flipped(folder / "spoilt" / "model.safetensors")
    shutil.copytree(folder / "run", folder / "halted")
    (folder / "halted" / "model.safetensors").unlink()
    (folder / "halted" / "checkpoints").mkdir()
    (folder / "halted" / "checkpoints" / "epoch-0001-step-000000.pt").write_bytes(bytes(5000))
    for number, place in enumerate(["cat.png", "photos/a/1.png", "photos/a/2.png", "photos/b/1.png", "photos/b/2.png"]):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / place)
    for name in ("spoilt.png", "spoilt.npz", "spoilt.yaml"):
        (folder / name).write_bytes(b"\x00\xff: [no, {")
    (folder / "zilch-data.yaml").write_text("{name: mine, data: {path: zilch}, model: {network: nano}, rules: brief}")
    (folder / "hunted").mkdir()
    (folder / "hunted" / "trials.journal").write_bytes(b"no line of a journal\nnor this\n")
    return folder


@pytest.fixture
def here(kept, tmp_path, monkeypatch):
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLYWEIGHT_CACHE", str(kept.with_name("cache-of-faults")))
    return tmp_path


def content(folder):
    """All that lies in a folder, with its bytes."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return {path.relative_to(folder): path.read_bytes() for path in found}


def named(call):
    """What is wrong in a call, by the names that a message may have for it."""
    ports = [part for part in call if part.isdecimal() and int(part) > 1000]
    return [*(name for name in WRONG if any(name in part for part in call)), *ports]


GOOD = "flyweight: x.png cannot be read: it is no regular file; get it again"


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        (GOOD, []),
        (f"a note\n{GOOD}\n", []),
        (GOOD.replace("it is", "[Errno None] it is"), ["it says 'Errno'", "it says 'None'"]),
        (GOOD.replace("x.png", "my-x.png"), ["it does not say where"]),
        (GOOD.partition(";")[0], ["it does not say what to do"]),
        (GOOD.replace("no regular", 100 * "very, "), ["it has 647 characters"]),
        (GOOD.replace("x.png", "x.png\x1b[2J"), ["it holds what a terminal obeys"]),
        (f"{GOOD}\nand more", ["1 lines in place of one at the end"]),
        (f"{GOOD}\n{GOOD}", ["2 lines in place of one at the end"]),
    ],
)
def test_what_a_message_lacks_is_seen(said, seen):
    assert [line.partition(":")[0] for line in wrong(said, "x.png")] == seen


def test_every_command_has_its_faults():
    assert {name for name, *_ in FAULTS} | {"rules"} == set(app.COMMANDS)
    assert {code for *_, code in FAULTS} <= set(errors.EXIT_CODES)


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_option_is_a_wrong_call(here, capsys, name):
    assert app.run_command([*CALLS[name], "--nothing"]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        pytest.param(call, code, id=f"{name}: {fault} {number}")
        for number, (name, fault, call, code) in enumerate(FAULTS)
    ],
)
def test_a_fault_ends_a_command_with_its_code(here, capsys, call, code):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        before = content(here)
        call = [str(taken.getsockname()[1]) if part == "PORT" else part for part in call]
        assert app.run_command(call) == code
    _, err = capsys.readouterr()
    assert "Traceback" not in err
    found = [] if code == 1 else wrong(err, *named(call))  # of a rule that fails the answer tells
    # of images, which may be thousands, each is told with its reason alone
    assert not [line for line in found if not (call[0] == "predict" and code == 3 and "what to do" in line)]
    after = content(here)
    assert {name: after.get(name) for name in before} == before
    if code != 5:  # what was saved before a training diverged stays
        assert set(after) == set(before)


@contextmanager
def standard_output(descriptor):
    """What a command prints goes there."""
    before = sys.stdout
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            sys.stdout = stream
            yield
    except OSError:
        pass  # what the stream still holds
    finally:
        sys.stdout = before
        app.app.console.quiet = False  # the console of the help says nothing once its reader has gone


@pytest.mark.parametrize("call", ANSWERING.values(), ids=ANSWERING)
def test_a_reader_that_has_gone_ends_any_command(here, capfd, call):
    reading, writing = os.pipe()
    os.close(reading)
    with standard_output(writing):
        code = app.run_command(call)
    assert code == 141
    assert "flyweight: " not in capfd.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("call", list(ANSWERING.values())[:-1], ids=list(ANSWERING)[:-1])
def test_a_full_disk_behind_standard_output_is_one_line(here, capfd, call):
    with standard_output(os.open("/dev/full", os.O_WRONLY)):
        code = app.run_command(call)
    assert code == 2
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("flyweight: ")]
    assert told == ["flyweight: standard output cannot be written: No space left on device; send it to another place"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_full_disk_behind_standard_output_ends_the_process_with_its_code():
    with Path("/dev/full").open("w") as output:
        call = [sys.executable, "-m", "flyweight", "rules"]
        done = subprocess.run(call, stdout=output, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def full(here):
    """A disk of 1 MB with nothing left on it."""
    place = here / "full"
    place.mkdir()
    mount = shutil.which("mount")
    made = (
        mount
        and not subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=1m,nr_inodes=40", "tmpfs", str(place)], capture_output=True, check=False
        ).returncode
    )
    if not made:
        pytest.skip("NO SMALL DISK: only root can mount a tmpfs; what a full disk does is tested on others' machines")
    with (place / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))
    yield place
    subprocess.run(["umount", str(place)], check=True)


WRITING = {
    "train": (["train", "sprint", *FEW, "--no-report", "--out", "full/run"], {4}),
    "evaluate": (["evaluate", "run", "--out", "full/scores"], {4}),
    "predict": (["predict", "run", *20 * ["cat.png"], "--explain", "full/maps"], {4}),
    "export": (["export", "run", "--to", "full/out", "--data", "digits"], {2, 4}),
    "check": (["check", "nano", "--html", "full/marks.html"], {4}),
    "search": ([*SEARCH, "--out", "full/found"], {2, 4}),
    "data": (["data", "photos", "--page", "full/page.html"], {4}),
}


@pytest.mark.parametrize("case", some_long(WRITING, "export", "search"))
def test_a_full_disk_is_one_line_and_leaves_no_half_of_anything(full, capsys, case):
    call, codes = case
    code = app.run_command(call)
    _, err = capsys.readouterr()
    assert code in codes, err
    told = [line for line in err.splitlines() if line.startswith("flyweight: ")]
    assert len(told) == 1, err
    assert "No space left on device" in told[0]
    assert not list(full.rglob("*unfinished*"))
    assert not (full / "out").exists()


HUNGRY = {
    "check": ["check", "dilated", "--input", "3,1024,1024"],
    "train": ["train", "dilated", *FEW, "--set", "train.batch_size=250", "--set", "rules=null", "--no-report"],
}
LIMITED = """
import resource, sys
from pathlib import Path
import albumentations
from flyweight.cli import app
app.run_command(["check", "nano"])  # what is imported takes memory, too
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + 2**27, resource.getrlimit(resource.RLIMIT_AS)[1]))
app.main(sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing limits the memory of a process")
@pytest.mark.parametrize("call", some_long(HUNGRY, "train"))
def test_too_little_memory_has_its_code(here, call):
    done = subprocess.run([sys.executable, "-c", LIMITED, *call], capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("flyweight: ")]) == 1


ENDING = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
SIGNALLED = {
    "train": ["train", "sprint", *FEW, "--set", "train.epochs=50", "--out", "new"],
    "search": [*SEARCH, "--out", "found"],
    "demo": ["demo", "run", "--port", "0"],
    "evaluate": ["evaluate", "run"],
    "check": ["check", "dilated"],
    "predict": ["predict", "run", *300 * ["cat.png"]],
}


# a byte when the command itself begins: until then it is the system, Python and what reads the call that is interrupted
BEGINNING = """
import importlib, inspect, os, signal, sys
from flyweight.machine import signals
# as in a terminal, whatever the tests themselves ignore
signal.signal(signal.SIGINT, signal.default_int_handler)
for number in signals.ENDING:
    signal.signal(number, signal.SIG_DFL)
signals.begin()
module = importlib.import_module(f"flyweight.cli.{sys.argv[1]}")
function = module.app.default_command
def begun(*arguments, **options):
    os.write(int(os.environ["BEGUN"]), b"!")
    return function(*arguments, **options)
begun.__signature__ = inspect.signature(function, eval_str=True)
module.app.default_command = begun
from flyweight.__main__ import main
main()
"""


def interrupted(call, number, seconds):
    """Send a signal so many seconds after a command has begun: (exit code, standard error, seconds that it took)."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as told:
        process = subprocess.Popen(
            [sys.executable, "-c", BEGINNING, *call], env={**os.environ, "BEGUN": str(writing)}, pass_fds=[writing],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        os.close(writing)
        assert told.read(1) == b"!", process.communicate()
        began = time.monotonic()
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        took = time.monotonic() - began
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
    return process.returncode, err, took


@pytest.mark.parametrize("call", some_long(SIGNALLED, "search", "demo", "evaluate", "check"))
def test_a_signal_at_a_random_moment_ends_with_its_code(here, call):
    drawn = random.Random()  # another moment each time
    number, most = drawn.choice(list(ENDING)), 8.0
    for _ in range(5):
        moment = drawn.uniform(0, most)
        shutil.rmtree(here / "new", ignore_errors=True)  # of the time before
        code, err, took = interrupted(call, number, moment)
        if code != 0:
            break
        most = 0.8 * took  # it was done before the signal came
    what = f"{signal.Signals(number).name} after {moment:.3f} s: exit code {code}: {err}"
    assert code == ENDING[number], what
    assert "Traceback" not in err, what
    assert "Exception ignored" not in err, what
    last = err.splitlines()[-1] if err else ""
    over = (
        re.search(r"^Epoch (\d+)/\1 ", err, re.MULTILINE) is not None
    )  # what comes after it is told as of any command
    if not over and any((here / "new" / "checkpoints").glob("epoch-*")):
        assert last.startswith("stopped; "), what
        assert last.endswith("Go on with: flyweight train --resume new"), what
    elif number != signal.SIGINT and call[0] != "search":  # which sums up what it has found
        assert last == "flyweight: terminated" or last.startswith("stopped; "), what


PEER = """
import inspect, os, sys, torch
from flyweight.cli import app, rules
from flyweight.machine import together
def call(*arguments, **options):
    together.summed(torch.ones(1))
    if os.environ["RANK"] == "1":
        os._exit(0)
    together.summed(torch.ones(1))
    return 0
call.__signature__ = inspect.signature(rules.app.default_command, eval_str=True)
rules.app.default_command = call
app.main(["rules"])
"""


def test_another_process_that_dies_has_its_code():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    places = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    first, second = (
        subprocess.Popen(
            [sys.executable, "-c", PEER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | places | {"RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": "1"},
        )
        for rank in ("0", "1")
    )  # fmt: skip
    second.communicate(timeout=120)
    _, err = first.communicate(timeout=120)
    assert first.returncode == 6, err
    assert "another process of this job has ended, and this one with it" in err
