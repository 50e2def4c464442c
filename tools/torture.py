"""Prove what flyweight promises about failures, at full length; docs/reliability.md tells what each proof does.

    python tools/torture.py runs/torture              # all
    python tools/torture.py runs/torture kills        # some of them, by name

Each proof has processes of its own, so that a process whose memory a library has spoilt ends nothing else; one that
dies is told with the test that it died in, and another one does the rest of its tests. Prints each test that has ended,
then a table, and writes the table, a picture and what pytest said into the folder. The exit code is 1 where a promise
was broken.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ROOM = ROOT / "tests" / "torture"
sys.path.insert(0, str(ROOM))

from ledger import FOUND, PROOFS, WHERE  # noqa: E402
from telling import PLACE  # noqa: E402

Row = dict[str, Any]
SHARES = 2
"""Parts of a proof for each of the processes that run side by side: the last one leaves the others little to wait."""
DIED = "processes that died"


def main() -> int:
    """Run the proofs, print and draw what they found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("proofs", nargs="*", metavar="proof", help=", ".join(PROOFS))
    parser.add_argument("--processes", type=int, default=_cores(), help="that run side by side; by default one a core")
    options = parser.parse_args()
    for name in options.proofs:
        if name not in PROOFS:
            parser.error(f"there is no proof {name!r}, only {', '.join(PROOFS)}")
    files = {name: ROOM / f"test_{name.replace('-', '_')}.py" for name in options.proofs or PROOFS}
    return prove(files, options.out.resolve(), options.processes)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prove(files: Mapping[str, Path], out: Path, processes: int) -> int:
    """Run proofs.

    Args:
        files: of their tests, by the proofs' names.
        out: folder of all that is found.
        processes: that run side by side.

    Returns:
        The exit code: 1 where something was broken or not tried.
    """
    running = Running(out, processes)
    running.all_of(files)
    found = out / FOUND
    rows = [json.loads(line) for line in found.read_text(encoding="utf-8").splitlines()] if found.is_file() else []
    totals = added_up([*rows, *running.died])
    lines = table(totals)
    tried = {row["proof"] for row in rows}
    missing = [f"{name}: nothing of it was tried" for name in files if name not in tried] + running.skipped
    broken = [f"{row['proof']}: {line}" for row in totals for line in row["broken"]]
    for word, told in {"NOT TRIED": missing, "BROKEN": broken, "FAILED": running.failed}.items():
        lines += ["", *(f"{word}: {line}" for line in told)] if told else []
    lines.append(f"\n{running.minutes:.0f} minutes.")
    (out / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.stdout.write("\n".join(lines) + "\n")
    if totals:
        draw(totals, out / "reliability.png")
    return 1 if missing or running.failed or any(row["broken"] for row in totals) else 0


@dataclass
class Running:
    """Processes of pytest, a few of them side by side.

    Attributes:
        out: folder of what the proofs find; what pytest says lies in `pytest/` there.
        processes: that run side by side.
        failed: a line about each test that failed.
        skipped: a line about each test that was skipped or left: what is not tried is not proved.
        died: a row of the table for each process that died.
    """

    out: Path
    processes: int
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    died: list[Row] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)
    _left: dict[str, int] = field(default_factory=dict)

    @property
    def minutes(self) -> float:
        """Since the beginning."""
        return (time.monotonic() - self._began) / 60

    def all_of(self, files: Mapping[str, Path]) -> None:
        """Run the tests of proofs, those of one in several processes."""
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / FOUND).unlink(missing_ok=True)
        shutil.rmtree(self.out / "pytest", ignore_errors=True)
        (self.out / "pytest").mkdir()
        pool, begun = ThreadPoolExecutor(self.processes), []
        try:
            for proof, tests in zip(files, pool.map(self._collected, files.values()), strict=True):
                self._left[proof] = len(tests)
                shares = min(len(tests), SHARES * self.processes)
                begun += [
                    pool.submit(self._share, f"{proof}-{number}", proof, files[proof], tests[number::shares])
                    for number in range(shares)
                ]
            for share in begun:
                share.result()
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C ends those that run

    def _collected(self, file: Path) -> list[str]:
        _, told = self._pytest(f"{file.stem}-collected", ["--collect-only", str(file)])
        return next((line["collected"] for line in told if "collected" in line), [])

    def _share(self, name: str, proof: str, file: Path, tests: Sequence[str]) -> None:
        """Run tests of a proof one after the other, in a new process after each that dies."""
        left, turn = list(tests), 0
        while left:
            code, told = self._pytest(f"{name}-{turn}", [f"{file}::{_short(test)}" for test in left], proof)
            turn += 1
            ended = [line["ended"] for line in told if "ended" in line]
            begun = [line["began"] for line in told if "began" in line and line["began"] not in ended]
            left = [test for test in left if test not in {*ended, *begun}]
            if code in (0, 1) and not begun:
                break
            self._left[proof] -= len(begun)
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            line = f"{_short(begun[0]) if begun else 'outside of its tests'}: the process ended with {how}"
            self.died.append({"proof": proof, "part": DIED, "tried": 1, "broken": [line], "figures": {}})
            self._say(proof, line)
            if not begun:
                break
        self.skipped += [f"{proof}: {_short(test)}: its process ended before it" for test in left]

    def _pytest(self, name: str, arguments: Sequence[str], proof: str | None = None) -> tuple[int, list[Row]]:
        """A process of pytest's: how it ended, and what it told; of a proof its tests are told as they end."""
        told = self.out / "pytest" / f"{name}.jsonl"
        how = ("-p", "telling", "-p", "no:xdist", "--timeout", "3600", "-c", "pyproject.toml", "--rootdir", str(ROOT))
        call = [sys.executable, "-m", "pytest", *how, *arguments]
        path = [str(ROOM), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": os.pathsep.join(path)}
        with told.with_suffix(".txt").open("w") as said:
            process = subprocess.Popen(
                call, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
                env=environment | {WHERE: str(self.out), PLACE: str(told)},
            )  # fmt: skip
        known = 0
        while True:
            code = process.poll()
            lines = []
            with suppress(FileNotFoundError):  # it has told nothing yet
                lines = told.read_text(encoding="utf-8").splitlines(keepends=True)
            whole = [json.loads(line) for line in lines if line.endswith("\n")]
            for line in whole[known:] if proof else []:
                self._heard(line, proof or "", whole)
            known = len(whole)
            if code is not None:
                return code, whole
            time.sleep(0.2)

    def _heard(self, line: Row, proof: str, told: Sequence[Row]) -> None:
        if "outcome" in line:
            kept = self.skipped if line["outcome"] == "skipped" else self.failed
            kept.append(f"{proof}: {_short(line['test'])}: {line['said']}")
        if "ended" in line:
            self._left[proof] -= 1
            how = next((one["outcome"] for one in told if one.get("test") == line["ended"]), "passed")
            self._say(proof, f"{_short(line['ended'])} {how}")

    def _say(self, proof: str, what: str) -> None:
        sys.stdout.write(f"{self.minutes:5.1f} min  {proof}, {self._left[proof]} to go: {what}\n")
        sys.stdout.flush()


def _short(test: str) -> str:
    """The id of a test without its file, which pytest leaves out of it where it lies elsewhere."""
    return test.partition("::")[2]


def added_up(rows: list[Row]) -> list[Row]:
    """One row a part of a proof, in the order of the proofs."""
    parts: dict[tuple[str, str], Row] = {}
    for row in rows:
        key = (row["proof"], row["part"])
        total = parts.setdefault(key, {**row, "tried": 0, "broken": [], "figures": defaultdict(float)})
        total["tried"] += row["tried"]
        total["broken"] += row["broken"]
        for name, value in row["figures"].items():
            before = total["figures"][name]
            total["figures"][name] = max(before, value) if name.endswith("_most") else before + value
    order = list(PROOFS)
    return sorted(parts.values(), key=lambda row: (order.index(row["proof"]), row["part"]))


def table(totals: list[Row]) -> list[str]:
    """Lines of a Markdown table."""
    lines = ["| proof | what | tried | broken | and |", "| --- | --- | ---: | ---: | --- |"]
    for row in totals:
        more = ", ".join(
            f"{name.removesuffix('_most').replace('_', ' ')}{' at most' * name.endswith('_most')} {_number(value)}"
            for name, value in row["figures"].items()
        )
        lines.append(f"| {row['proof']} | {row['part']} | {row['tried']:,} | {len(row['broken'])} | {more} |")
    return lines


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.3g}"


def draw(totals: list[Row], file: Path) -> None:
    """A bar for each part, as long as the number of its tries, and beside it how many broke the promise."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    from flyweight.report.figures import BLUE, ORANGE

    labels = [f"{row['proof']}: {row['part']}" for row in totals][::-1]
    tried = [row["tried"] for row in totals][::-1]
    broken = [len(row["broken"]) for row in totals][::-1]
    figure, axes = plt.subplots(figsize=(9, 1 + 0.32 * len(totals)), layout="constrained")
    colours = [ORANGE if count else BLUE for count in broken]
    bars = axes.barh(labels, tried, color=colours)
    axes.bar_label(bars, [f"{bad} of {count:,}" for bad, count in zip(broken, tried, strict=True)], padding=3)
    axes.margins(y=0.01)
    axes.set_xscale("log")
    axes.set_xlim(0.8, max(tried) * 12)
    axes.set_xlabel("tried; the label says how many broke the promise")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
