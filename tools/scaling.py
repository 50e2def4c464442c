"""What a second process gains: images a second of training by one process and by several, in turn.

    OMP_NUM_THREADS=1 python tools/scaling.py                  sprint on CIFAR-10, one process and two, 5 rounds
    OMP_NUM_THREADS=1 python tools/scaling.py --recipe dilated --rounds 3 --processes 4

All have OMP_NUM_THREADS threads each; the batch is the recipe's, shared by the processes. Of two epochs the second
counts, without its test pass. The third row is as many processes at once that know nothing of each other: what a
machine does not give to those, because its cores share memory, caches and clock, no program can take.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="sprint")
    parser.add_argument("--data", help="in place of the recipe's own")
    parser.add_argument("--images", type=int, default=6400, help="of an epoch")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    call = [
        "-m", "flyweight", "train", options.recipe, "--epochs", "2", "--no-report",
        "--set", f"data.train_images={options.images}", "--set", "data.test_images=100", "--set", "train.workers=0",
        "--set", "rules=null",
    ]  # fmt: skip
    call += ["--data", options.data] if options.data else []
    together = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(options.processes)]
    speeds: dict[str, list[float]] = {}
    for number in range(1, options.rounds + 1):
        one = speed([call])
        both = speed([[*together, *call]])
        apart = speed([call] * options.processes)
        for name, value in (("one", one), ("together", both), ("apart", apart)):
            speeds.setdefault(name, []).append(value)
        say(f"round {number}: one {one:,.0f}, {options.processes} together {both:,.0f}, apart {apart:,.0f} images/s")
    threads = os.environ.get("OMP_NUM_THREADS", "as many as torch takes")
    say(f"{options.recipe}, {options.images} images, {threads} threads each; images/s, medians of {options.rounds}")
    base = median(speeds["one"])
    for name, what in (
        ("one", "one process"),
        ("together", f"{options.processes} processes, one training"),
        ("apart", f"{options.processes} processes, each its own training, summed up"),
    ):
        middle, low, high = median(speeds[name]), min(speeds[name]), max(speeds[name])
        say(f"  {what:50} {middle:9,.0f} ({low:,.0f} to {high:,.0f})  {middle / base:5.2f} x")
    ratio = median(speeds["together"]) / base
    of_machine = median(speeds["together"]) / median(speeds["apart"])
    say(f"scaling efficiency {ratio / options.processes:.2f}; {of_machine:.2f} of what the machine gives to as many")


def speed(calls: list[list[str]]) -> float:
    """Images a second of the second epochs of calls that run at once, summed up."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [Path(folder) / str(number) for number in range(len(calls))]
        processes = [
            subprocess.Popen(
                [sys.executable, *call, "--out", str(run)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            for call, run in zip(calls, runs, strict=True)
        ]
        for process in processes:
            _, errors = process.communicate()
            if process.returncode:
                sys.exit(errors.decode())
        rows = [(run / "history.jsonl").read_text(encoding="utf-8").splitlines()[-1] for run in runs]
    return sum(json.loads(row)["images_per_second"] for row in rows)


def say(line: str) -> None:
    """Print it now."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
