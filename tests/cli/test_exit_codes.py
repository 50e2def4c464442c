"""How each command ends: the codes of `flyweight.errors.EXIT_CODES`, one line for an error, no traceback unasked."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flyweight import errors
from flyweight.cli import app

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
# a call of each command that ends well, but for what the tests put in the way
CALLS = {
    "data": ["data", "photos"],
    "check": ["check", "nano"],
    "rules": ["rules"],
    "train": ["train", "nano"],
    "evaluate": ["evaluate", "nano"],
    "report": ["report", "runs/mine"],
    "predict": ["predict", "nano", "cat.png"],
    "export": ["export", "nano", "--to", "shipped"],
    "search": ["search", "brief", "--trials", "1"],
    "demo": ["demo", "nano"],
    "bench": ["bench"],
}
# all that a command does after its options were read; the error is raised in the command's own process
RAISING = """
import importlib, inspect, sys
from flyweight.cli import app
name, what, *call = sys.argv[1:]
module = importlib.import_module(f"flyweight.cli.{name}")
def fails(*arguments, **options):
    raise eval(what)
fails.__signature__ = inspect.signature(module.app.default_command, eval_str=True)
module.app.default_command = fails
app.main(call)
"""


def test_every_command_is_called_here():
    assert set(CALLS) == set(app.COMMANDS)


def raising(name, what, *more, **environment):
    """Call a command that raises: (exit code, standard output, standard error)."""
    done = subprocess.run(
        [sys.executable, "-c", RAISING, name, what, *CALLS[name], *more],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", CALLS)
def test_an_error_that_nobody_foresaw_is_a_bug_of_ours_in_one_line(name):
    code, out, err = raising(name, "ValueError('no\\nway')")
    assert (code, out) == (70, "")
    assert err == (
        "flyweight: this is a bug of flyweight's (ValueError: no way):"
        " report it with the output of the same call with --debug\n"
    )


@pytest.mark.parametrize(("more", "environment"), [(["--debug"], {}), ([], {"FLYWEIGHT_DEBUG": "1"})])
def test_the_traceback_is_there_for_whom_asks(more, environment):
    code, out, err = raising("check", "ValueError('no way')", *more, **environment)
    assert (code, out) == (70, "")
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].startswith("flyweight: this is a bug")


ENDS = [
    ("errors.RuleError('x')", 1),
    ("errors.FlyweightError('x')", 2),
    ("errors.DataError('x')", 3),
    ("errors.RunError('x')", 4),
    ("FileNotFoundError(2, 'No such file', 'x')", 2),
    ("ModuleNotFoundError('x', name='torch.nn')", 2),
    ("ModuleNotFoundError('x', name='flyweight.nothing')", 70),
    ("OSError('x')", 70),
    ("SystemExit(1)", 70),
    ("RecursionError()", 70),
    ("MemoryError()", 7),
    ('RuntimeError("[enforce fail] DefaultCPUAllocator: can\'t allocate memory: you tried to allocate 9 bytes")', 7),
    ("RuntimeError('CUDA out of memory. Tried to allocate 2.00 GiB')", 7),
    ("OSError(12, 'Cannot allocate memory', 'x.npy')", 7),
    ("SystemError('error return without exception set')", 7),
    ("ValueError('embedded null byte')", 2),
    ("errors.Terminated()", 143),
    ("errors.HungUp()", 129),
    ("KeyboardInterrupt()", 130),
    ("BrokenPipeError()", 141),
]


def test_help_whose_reader_has_gone_ends_as_any_output_does():
    call = [sys.executable, "-m", "flyweight", "predict", "--help"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(("what", "code"), ENDS)
def test_how_an_error_ends_a_command(monkeypatch, capsys, name, what, code):
    def call(*arguments, **options):
        raise eval(what, {"errors": errors})

    monkeypatch.setattr(app, "app", call)
    assert app.run_command(CALLS[name]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert len(err.splitlines()) == (0 if code in (130, 141) else 1)


def test_every_kind_of_error_has_a_documented_code():
    kinds = [errors.FlyweightError, *errors.FlyweightError.__subclasses__()]
    assert {kind.exit_code for kind in kinds} <= set(errors.EXIT_CODES)


def test_the_codes_stand_in_the_readme_and_in_the_help(capsys):
    assert app.run_command(["--help"]) == 0
    shown = capsys.readouterr().out
    told = README.partition("## Exit codes")[2]
    rows = {code: meaning for codes, meaning in re.findall(r"^\| ([\d, ]+) \| (.*?) \|$", told, re.MULTILINE)
            for code in map(int, codes.split(","))}  # fmt: skip
    assert set(rows) == set(errors.EXIT_CODES)
    for code, meaning in errors.EXIT_CODES.items():
        assert f"{code:>3}  {meaning}" in shown
        if code < 10:
            assert rows[code] == meaning


INTERRUPTED = """
import runpy, sys
module = sys.argv[1]
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupting())
sys.argv[1:] = ["check", "nano"]
runpy.run_module("flyweight", run_name="__main__")
"""


@pytest.mark.parametrize("module", ["flyweight.cli.app", "cyclopts", "flyweight.cli.check", "torch"])
def test_ctrl_c_during_the_imports_ends_without_a_traceback(module):
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, module], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
