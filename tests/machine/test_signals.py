"""Signals that end the program, from its first moment to its last: an exit code, a word, and no traceback."""

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time

import pytest

TINY = ["--set", "data.train_images=512", "--set", "data.test_images=64", "--set", "train.batch_size=64"]
# a command that waits, once its module is imported; and one that is asked in the midst of its imports
WAITING = """
import sys, time
from flyweight.cli import app
def waits(*arguments, **options):
    print("here", file=sys.stderr, flush=True)
    time.sleep(60)
app.app = waits
from flyweight.__main__ import main
sys.argv[1:] = ["rules"]
main()
"""
IMPORTING = """
import os, runpy, sys
number = int(sys.argv[1])
class Asking:
    def find_spec(self, name, path=None, target=None):
        if name == "cyclopts":
            os.kill(os.getpid(), number)
sys.meta_path.insert(0, Asking())
sys.argv[1:] = ["rules"]
runpy.run_module("flyweight", run_name="__main__")
"""
# a training that is asked to end once more in the midst of the end of its workers, which comes last
AGAIN = """
import os, runpy, signal, sys
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter as Workers
end = Workers.__del__
def asked_again(self):
    os.kill(os.getpid(), signal.SIGINT)
    print("asked again", file=sys.stderr, flush=True)
    end(self)
Workers.__del__ = asked_again
runpy.run_module("flyweight", run_name="__main__")
"""
ENDS = [(signal.SIGTERM, 143), (signal.SIGHUP, 129)]
pytestmark = pytest.mark.usefixtures("without_nohup")


@pytest.mark.parametrize(("number", "code"), ENDS)
def test_a_signal_in_the_imports_ends_with_its_code_and_a_word(number, code):
    call = [sys.executable, "-c", IMPORTING, str(int(number))]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "flyweight: terminated\n")


@pytest.mark.parametrize(
    ("number", "code", "word"), [*((*end, "flyweight: terminated\n") for end in ENDS), (signal.SIGINT, 130, "")]
)
def test_a_signal_in_a_command_ends_with_its_code(number, code, word):
    with subprocess.Popen([sys.executable, "-c", WAITING], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.readline() == "here\n"
        process.send_signal(number)
        assert process.stderr.read() == word
    assert process.returncode == code


def test_what_nohup_began_outlives_its_terminal():
    ignoring = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{WAITING}"
    with subprocess.Popen([sys.executable, "-c", ignoring], stderr=subprocess.PIPE, text=True) as process:
        process.stderr.readline()
        process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        assert process.poll() is None
        process.terminate()
    assert process.returncode == 143


def test_somebody_elses_program_keeps_its_signals():
    code = "import signal; from flyweight.machine import signals; signals.end(); print(signal.getsignal(signal.SIGINT))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "default_int_handler" in done.stdout


def trained(tmp_path, terminal, *more, how=("-m", "flyweight")):
    """Begin a training of digits in a terminal of its own, whose other end is given back with it."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, *how, "train", "sprint", "--data", "digits", "--epochs", "500", "--out", "run",
         "--no-report", *TINY, *more],
        cwd=tmp_path,
        env={**os.environ, "FLYWEIGHT_CACHE": str(tmp_path / "cache"), "TERM": "dumb"},
        stdin=theirs, stdout=theirs, stderr=theirs if terminal else subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(theirs)
    return process, ours


def until(process, there):
    while not there():
        assert process.poll() is None
        time.sleep(0.05)


@pytest.mark.early
def test_a_training_whose_terminal_goes_saves_and_ends_with_its_code(tmp_path):
    process, ours = trained(tmp_path, terminal=True)
    until(process, lambda: list(tmp_path.glob("run/checkpoints/epoch-*")))
    os.close(ours)
    assert process.wait(60) == 129
    # in the midst of an epoch: it was the signal that had it saved
    assert not max(tmp_path.glob("run/checkpoints/epoch-*")).stem.endswith("step-000000")


@pytest.mark.early
def test_sigterm_to_all_processes_of_a_training_saves(tmp_path):
    process, ours = trained(tmp_path, False, "--set", "train.workers=2")
    until(process, lambda: list(tmp_path.glob("run/checkpoints/epoch-*")))
    os.killpg(process.pid, signal.SIGTERM)  # as a batch system or a service manager does
    with process:
        said = process.stderr.read().decode()
    os.close(ours)
    assert process.returncode == 143
    assert said.endswith("stopped; nothing is lost. Go on with: flyweight train --resume run\n")


@pytest.mark.early
def test_two_ctrl_c_with_workers_leave_no_word_of_python(tmp_path):
    process, ours = trained(tmp_path, False, "--set", "train.workers=2")
    until(process, lambda: list(tmp_path.glob("run/checkpoints/epoch-*")))
    for _ in range(40):  # before, in and after the saving, to its very end
        try:
            os.killpg(process.pid, signal.SIGINT)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    with process:
        said = process.stderr.read().decode()
    os.close(ours)
    assert process.returncode == 130
    assert "Exception ignored" not in said
    assert "Traceback" not in said


@pytest.mark.early
def test_ctrl_c_in_the_midst_of_the_workers_end_leaves_no_word_of_python(tmp_path):
    process, ours = trained(tmp_path, False, "--set", "train.workers=2", how=("-c", AGAIN))
    until(process, lambda: list(tmp_path.glob("run/checkpoints/epoch-*")))
    os.killpg(process.pid, signal.SIGINT)
    with process:
        said = process.stderr.read().decode()
    os.close(ours)
    assert process.returncode == 130
    assert said.endswith("stopped; nothing is lost. Go on with: flyweight train --resume run\nasked again\n")
