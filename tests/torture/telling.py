"""A plugin of pytest's that tells of each test when it begins and how it ended, for `tools/torture.py`.

A line of JSON each goes to the file that the environment names. A process that dies in a test has told its beginning.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

PLACE = "FLYWEIGHT_TORTURE_TOLD"
"""Name of the environment variable with the file."""


def pytest_collection_finish(session: pytest.Session) -> None:
    """What there is to do, after what is left out at this length."""
    _tell(collected=[item.nodeid for item in session.items])


def pytest_runtest_logstart(nodeid: str) -> None:
    """A test begins."""
    _tell(began=nodeid)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A part of a test has ended: what makes it ready, it itself, what clears up."""
    if not report.passed:
        said = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        last = [line for line in said.splitlines() if line.startswith("E  ")] or said.splitlines()
        _tell(outcome=report.outcome, test=report.nodeid, said=" ".join((last or [""])[0].split())[:500])
    if report.when == "teardown":
        _tell(ended=report.nodeid)


def _tell(**what: Any) -> None:
    with Path(os.environ[PLACE]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(what) + "\n")
