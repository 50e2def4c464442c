"""Submissions in processes of their own: right marks, and none harms another, a file or this process."""

import contextlib
import os
import time
from pathlib import Path

import pytest
import submissions
from submissions import Submission, forty, write

from flyweight.images.spec import Spec
from flyweight.marking import isolated
from flyweight.marking.task import Task
from flyweight.recipes.sections import ModelConfig

GIB = 2**30
# as where the system has no namespaces for users: limits and Python's own hook are left
BARE = (
    "-c",
    "from flyweight.marking import fence; fence._unshare = lambda *_: False;"
    "from flyweight.marking import child; child.main()",
)


def tasks(folder, names):
    spec = Spec.unnamed(10, (3, 32, 32))
    return [Task.of(name, ModelConfig(network=str(folder / name)), "brief", spec, ()) for name in names]


def judged(folder, names, seconds=30, memory=2 * GIB):
    started = []
    found = {mark.name: mark for mark in isolated.mark(tasks(folder, names), seconds, memory, started.append)}
    assert sorted(started) == sorted(names)
    return [found[name] for name in names]


def right(one, mark):
    if one.failing is None:
        return mark.facts is None and one.error in mark.error and not mark.bug
    return mark.facts is not None and {rule["name"] for rule in mark.rules if not rule["passed"]} == one.failing


def sample(*parts):
    return [one for one in forty() if any(part in one.name for part in parts)]


@pytest.fixture
def left_behind(tmp_path, monkeypatch):
    """Commands that still run a while later of those that were started since; they know this test's folder."""
    if not Path("/proc/self/environ").exists():
        pytest.skip("NOT TESTED: whether processes are left behind, which only Linux's /proc tells here")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def commands():
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if bytes(tmp_path) + b":" in (folder / "environ").read_bytes() and folder.name != str(os.getpid()):
                    yield (folder / "cmdline").read_bytes()

    def look():
        end = time.monotonic() + 5
        while (found := list(commands())) and time.monotonic() < end:
            time.sleep(0.1)
        return found

    return look


RUDE = (
    "李明",
    "two in a block",
    "leaves a child",
    "kills itself",
    "all memory in torch",
    "deletes",
    "writes and",
    "asks",
)


CURIOUS = submissions.HEAD + "class Net(nn.Module):\n    token = os.environ['GITHUB_TOKEN']\n"


@pytest.mark.early
def test_a_few_of_them_rude(tmp_path, left_behind, monkeypatch):
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    few = [*sample(*RUDE, "prints past"), Submission("curious.py", CURIOUS, None, "KeyError: 'GITHUB_TOKEN'")]
    assert len(few) == len(RUDE) + 2
    names = write(few, tmp_path / "in")
    before = {file.name: file.read_bytes() for file in (tmp_path / "in").iterdir()}
    marks = judged(tmp_path / "in", names)
    assert [mark.error or mark.name for one, mark in zip(few, marks, strict=True) if not right(one, mark)] == []
    assert {file.name: file.read_bytes() for file in (tmp_path / "in").iterdir()} == before
    assert left_behind() == []


def test_without_namespaces_the_hook_and_the_limits_are_left(tmp_path, monkeypatch):
    monkeypatch.setattr(isolated, "SERVER", BARE)
    few = [one for one in sample(*RUDE) if "leaves a child" not in one.name]
    names = write(few, tmp_path / "in")
    before = {file.name for file in (tmp_path / "in").iterdir()}
    marks = judged(tmp_path / "in", names)
    assert [mark.error or mark.name for one, mark in zip(few, marks, strict=True) if not right(one, mark)] == []
    assert {file.name for file in (tmp_path / "in").iterdir()} == before


def test_one_that_loops_is_ended_when_its_time_is_over(tmp_path):
    names = write(sample("loops in its forward", "leaves while"), tmp_path / "in")
    marks = judged(tmp_path / "in", names, seconds=2)
    assert {mark.error.partition(",")[0] for mark in marks} == {
        "it takes more than 2 s",
        "its code ended the process with code 3",
    }


def test_who_stops_reading_ends_them_all(tmp_path, left_behind):
    names = write([*sample("leaves while"), *sample("loops", "sleeps")], tmp_path / "in")
    begun = time.monotonic()
    marks = isolated.mark(tasks(tmp_path / "in", names), 600, 2 * GIB, lambda name: None)
    assert "leaves while" in next(marks).name
    marks.close()
    assert time.monotonic() - begun < 60
    assert left_behind() == []


@pytest.mark.long
def test_forty_submissions(tmp_path, left_behind):
    """Right verdicts for all, within three minutes on two cores, and nothing is harmed."""
    all_of_them = forty()
    names = write(all_of_them, tmp_path / "in")
    before = {file.name: file.read_bytes() for file in (tmp_path / "in").iterdir()}
    begun = time.monotonic()
    marks = judged(tmp_path / "in", names, seconds=20)
    took = time.monotonic() - begun
    wrong = [(one.name, mark.error) for one, mark in zip(all_of_them, marks, strict=True) if not right(one, mark)]
    assert wrong == []
    assert took < 180 * max(1, 2 / isolated.cores())
    assert {file.name: file.read_bytes() for file in (tmp_path / "in").iterdir()} == before
    assert left_behind() == []
