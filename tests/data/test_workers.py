"""Processes that work for another one, and end with it."""

import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flyweight.data import workers
from flyweight.errors import DataError

# what is not importable in another process, as this module is not, would not be found there
POWER, PID, EXIT, FAIL = math.pow, os.getpid, os._exit, math.sqrt


def numbers(count: int) -> Iterator[tuple[float, float]]:
    return ((float(number), 2.0) for number in range(count))


@pytest.fixture(scope="module")
def two() -> Iterator[workers.Mapped]:
    with workers.pool(2) as mapped:
        yield mapped


def test_answers_come_in_the_order_of_the_questions(two: workers.Mapped) -> None:
    with workers.pool(1) as one:
        for mapped in (one, two):
            assert list(mapped(POWER, numbers(50))) == [number**2 for number in range(50)]
            assert list(mapped(POWER, numbers(0))) == []


def test_the_work_is_done_elsewhere_by_processes_that_are_gone_afterwards() -> None:
    with workers.pool(2) as mapped:
        found = set(mapped(PID, [()] * 40))
        assert len(found) == 2
        assert os.getpid() not in found
    for process in found:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_few_questions_are_under_way_at_a_time(two: workers.Mapped) -> None:
    asked = 0

    def jobs() -> Iterator[tuple[float, float]]:
        nonlocal asked
        for job in numbers(100):
            asked += 1
            yield job

    for answered, _ in enumerate(two(POWER, jobs())):
        assert asked <= answered + 6


@pytest.mark.parametrize(("function", "wrong", "error"), [(FAIL, -1.0, ValueError), (os.stat, "no", FileNotFoundError)])
def test_what_goes_wrong_there_is_raised_here(function: Any, wrong: Any, error: type[Exception]) -> None:
    with workers.pool(2) as mapped, pytest.raises(error):
        list(mapped(function, [(wrong,)] * 3))


def test_a_worker_that_dies_is_one_clear_line() -> None:
    with pytest.raises(DataError, match="a process that decodes images died") as caught, workers.pool(2) as mapped:
        list(mapped(EXIT, [(1,), (1,)]))
    assert len(str(caught.value).splitlines()) == 1


def test_an_error_here_does_not_wait_for_work_there() -> None:
    began = time.monotonic()
    with workers.pool(2) as mapped:
        answers = mapped(time.sleep, [(0.01,), *[(60.0,)] * 3])
        next(answers)
        with pytest.raises(KeyboardInterrupt):
            answers.throw(KeyboardInterrupt)  # type: ignore[attr-defined]
    assert time.monotonic() - began < 20


def test_large_questions_and_answers_pass(two: workers.Mapped) -> None:
    content = bytes(3 * 2**20)
    assert all(answer == content for answer in two(bytes, [(content,)] * 8))


def test_where_no_process_can_be_started_this_one_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(Path("nowhere", "python")))
    with workers.pool(2) as mapped:
        assert set(mapped(PID, [()] * 4)) == {os.getpid()}


def test_what_a_user_s_folder_holds_is_not_taken_for_a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pickle.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    with workers.pool(2) as mapped:
        assert list(mapped(POWER, numbers(2))) == [0.0, 1.0]
