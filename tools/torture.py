"""Prove what flyweight promises about failures, at full length; docs/reliability.md tells what each proof does.

    python tools/torture.py runs/torture              # all
    python tools/torture.py runs/torture kills        # some of them, by name

Prints a table and writes it, with a picture, into the folder. The exit code is 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "torture"))

from ledger import PROOFS, WHERE  # noqa: E402

Row = dict[str, Any]


def main() -> int:
    """Run the proofs, print and draw what they found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("proofs", nargs="*", metavar="proof", help=", ".join(PROOFS))
    parser.add_argument("--processes", default="auto", help="that run proofs side by side; by default one a core")
    options = parser.parse_args()
    for name in options.proofs:
        if name not in PROOFS:
            parser.error(f"there is no proof {name!r}, only {', '.join(PROOFS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    found = options.out.resolve() / "found.jsonl"
    found.unlink(missing_ok=True)
    named = options.proofs or list(PROOFS)
    files = [str(ROOT / "tests" / "torture" / f"test_{name.replace('-', '_')}.py") for name in named]
    began = time.monotonic()
    report = found.with_name("tests.xml")
    how = ["-n", options.processes, "--dist", "worksteal", "--timeout", "3600", "--junitxml", str(report)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *how, *files],
        cwd=ROOT,
        env={"OMP_NUM_THREADS": "1", **os.environ, WHERE: str(found.parent)},
        check=False,
    )
    rows = [json.loads(line) for line in found.read_text().splitlines()] if found.is_file() else []
    totals = added_up(rows)
    lines = table(totals)
    missing = [f"{name}: nothing of it was tried" for name in named if name not in {row["proof"] for row in rows}]
    missing += skipped(report)
    lines += ["", *(f"NOT TRIED: {line}" for line in missing)]
    lines.append(f"\n{(time.monotonic() - began) / 60:.0f} minutes.")
    (options.out / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.stdout.write("\n".join(lines) + "\n")
    if totals:
        draw(totals, options.out / "reliability.png")
    return 1 if done.returncode or missing or any(row["broken"] for row in totals) else 0


def skipped(report: Path) -> list[str]:
    """A line about each test that was skipped, of a file of pytest's: what is not tried is not proved."""
    if not report.is_file():
        return ["all: pytest came to no end"]
    found = []
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        reason = case.find("skipped")
        if reason is not None:
            found.append(f"{case.get('name')}: {reason.get('message')}")
    return found


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
            f"{name.removesuffix('_most').replace('_', ' ')}{' at most' * name.endswith('_most')} {value:,.10g}"
            for name, value in row["figures"].items()
        )
        lines.append(f"| {row['proof']} | {row['part']} | {row['tried']:,} | {len(row['broken'])} | {more} |")
    return lines


def draw(totals: list[Row], file: Path) -> None:
    """A bar for each part, as long as the number of its tries, and beside it how many broke the promise."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    labels = [f"{row['proof']}: {row['part']}" for row in totals][::-1]
    tried = [row["tried"] for row in totals][::-1]
    broken = [len(row["broken"]) for row in totals][::-1]
    figure, axes = plt.subplots(figsize=(9, 1 + 0.32 * len(totals)), layout="constrained")
    colours = ["#c0392b" if count else "#2f6f4f" for count in broken]
    bars = axes.barh(labels, tried, color=colours)
    axes.bar_label(bars, [f"{bad} of {count:,}" for bad, count in zip(broken, tried, strict=True)], padding=3)
    axes.set_xscale("log")
    axes.set_xlim(0.8, max(tried) * 12)
    axes.set_xlabel("tried; the label says how many broke the promise")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
