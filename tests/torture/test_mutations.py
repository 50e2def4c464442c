"""A promise that is taken out of the program is missed by a test.

Each edit of `mutations` is made in a copy of the package and of its tests; the tests that it names pass there before it
and fail after it, by an assertion of theirs or an error of flyweight's, and not because something cannot be imported.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from ledger import WHERE, Ledger
from mutations import MUTATIONS, Mutation

ROOT = Path(__file__).parents[2]
SAMPLE = ("in-place",)
"""What is tried in `make test`."""
TRIED = [one for one in MUTATIONS if WHERE in os.environ or one.name in SAMPLE]
SEEN = ("AssertionError", "assert ", "Failed: DID NOT RAISE", "flyweight.errors.")
"""How the message of a failed test begins where the fault was seen: by an assertion, or told by the program."""


def _seen(message: str) -> bool:
    return message.startswith(SEEN)


def copied(folder: Path) -> Path:
    """The package with its tests, alone in a folder."""
    for name in ("flyweight", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    return folder


def outcome(copy: Path, mutation: Mutation) -> tuple[int, list[str], list[str]]:
    """Run a mutation's tests in a copy up to the first that fails: how many passed, why others were skipped or not."""
    report = copy / "report.xml"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST") and name != WHERE}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-c", "pyproject.toml"),
            *("--timeout", "250", "--junitxml", str(report)),
            *(f"tests/{name}" for name in mutation.tests),
        ],
        cwd=copy,
        # a patched file of the same size and second would be taken for the one that was compiled
        env={**kept, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout[-2000:] + done.stderr[-2000:]
    cases = ElementTree.parse(report).getroot().iter("testcase")
    told: dict[str, list[str]] = {"passed": [], "skipped": [], "failure": [], "error": []}
    for case in cases:
        kind = next((part for part in case if part.tag in told), None)
        told["passed" if kind is None else kind.tag].append("" if kind is None else kind.get("message", ""))
    return len(told["passed"]), told["skipped"], told["failure"] + told["error"]


def test_each_edit_can_still_be_made() -> None:
    assert len(MUTATIONS) >= 30
    assert len({one.name for one in MUTATIONS}) == len(MUTATIONS)
    assert set(SAMPLE) <= {one.name for one in MUTATIONS}
    for one in MUTATIONS:
        assert (ROOT / "flyweight" / one.file).read_text(encoding="utf-8").count(one.old) == 1, one.name
        for test in one.tests:
            file, _, name = test.partition("::")
            assert f"def {name.partition('[')[0]}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), test


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mutation", TRIED, ids=lambda one: one.name)
def test_a_broken_promise_is_missed(mutation: Mutation, ledger: Ledger, tmp_path: Path) -> None:
    copy = copied(tmp_path)
    passed, skipped, failed = outcome(copy, mutation)
    assert not failed, failed
    if not passed:
        pytest.skip(f"NOT TRIED: {mutation.name}: {skipped[0]}")
    file = copy / "flyweight" / mutation.file
    text = file.read_text(encoding="utf-8")
    assert text.count(mutation.old) == 1
    file.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    _, _, failed = outcome(copy, mutation)
    said = failed[0][:200] if failed else "no test failed"
    broken = [] if any(map(_seen, failed)) else [f"{mutation.name}: {mutation.promise}: {said}"]
    ledger.record("mutations", "edits that break a promise", 1, broken)
