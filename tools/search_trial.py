"""What half an hour of search is worth: searches with several seeds, and their best networks beside the one to beat.

    python tools/search_trial.py runs/searches --rules brief --hours 0.5 --searches 3 --seeds 3

Each search chooses two networks of its front: the most accurate one that costs no more than the reference, and the
cheapest one that was as accurate in the search. These and the reference are then trained anew with other seeds, on the
images that were not held out, in turn and for equal time: a network whose epoch is shorter gets more epochs, one whose
epoch is longer gets fewer. What stands there already is not done again. The held-out images have chosen the networks,
so that a small part of a lead is luck; other seeds take the luck of the training away, and not that of the images.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

from flyweight import recipes
from flyweight.recipes.sections import Recipe
from flyweight.runs.folder import Run


def main() -> None:
    """Search, train, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rules", default="brief")
    parser.add_argument("--reference", default="sprint", help="the built-in network to beat")
    parser.add_argument("--hours", type=float, default=0.5)
    parser.add_argument("--searches", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each network afterwards")
    parser.add_argument("--hold-out", type=int, default=5000)
    parser.add_argument("more", nargs="*", help="after --: more options of flyweight search")
    options = parser.parse_args()
    lines = ["| search | network | MACs | parameters | epochs | s, mean | held-out accuracy, each | mean | s.d. |"]
    lines.append("| ---: | --- | ---: | ---: | ---: | ---: | --- | ---: | ---: |")
    for number in range(options.searches):
        out = options.out / f"search-{number}"
        if not (out / "winners").is_dir():
            call = ["search", options.rules, "--hours", options.hours, "--seed", number, "--out", out]
            flyweight(*call, "--hold-out", options.hold_out, *options.more)
        for name, source in chosen(out, options.rules, options.reference).items():
            lines.append(f"| {number} | `{name}` | {row(out / 'trained', name, source, options)} |")
    sys.stdout.write("\n".join(lines) + "\n")


def flyweight(*arguments: object) -> None:
    """Call the command line; its messages are shown."""
    subprocess.run([sys.executable, "-m", "flyweight", *map(str, arguments)], check=True, stdout=sys.stderr)


def chosen(out: Path, rules: str, reference: str) -> dict[str, str]:
    """Name and recipe of the reference and of the networks that the search puts against it."""
    from flyweight.search.halving import compared
    from flyweight.search.storage import open_study
    from flyweight.search.trials import Trials

    trials = Trials(open_study(None, out, f"flyweight-{Path(rules).stem}", None), out)
    results = compared(trials.results())
    trials.close()
    beaten = next((result for result in results if result.name == reference), None)
    if beaten is None:
        raise SystemExit(f"{reference} was not trained to the end in {out}: search longer")
    cheap = [result for result in results if result.cost <= beaten.cost and result is not beaten]
    equal = [result for result in results if result.accuracy >= beaten.accuracy and result.cost < beaten.cost]
    named = {reference: reference}
    best = max(cheap, key=lambda one: one.accuracy, default=None), min(equal, key=lambda one: one.cost, default=None)
    for found in best:
        if found is not None:
            named[found.name] = str(out / "winners" / f"{found.name}.yaml")
    return {name: source for name, source in named.items() if source == reference or Path(source).is_file()}


def row(folder: Path, name: str, source: str, options: argparse.Namespace) -> str:
    """Train a network with each seed for as long as the reference takes; the cells of its row."""
    plan = recipes.load(source)
    whole = recipes.load(options.reference).train.epochs
    epochs = whole
    if name != options.reference:
        theirs = seconds(once(folder, options.reference, options.reference, 100, 1, options))
        ours = seconds(once(folder, name, source, 100, 1, options))
        epochs = max(1, round(whole * theirs / ours))
    runs = [once(folder, name, source, 101 + seed, epochs, options) for seed in range(options.seeds)]
    reached = [run.history()[-1]["test_accuracy"] for run in runs]
    facts = figures(plan, options.rules)
    spread = f"{stdev(reached):.2f}" if len(reached) > 1 else "-"
    took = mean(seconds(run) for run in runs)
    each = ", ".join(f"{accuracy:.2f}" for accuracy in reached)
    return f"{facts} | {epochs} | {took:.0f} | {each} | {mean(reached):.2f} | {spread}"


def once(folder: Path, name: str, source: str, seed: int, epochs: int, options: argparse.Namespace) -> Run:
    """One training without the held-out images; where it is there already, that one."""
    out = folder / f"{name}-{epochs}-seed-{seed}"
    if not (out / "model.safetensors").is_file():
        given = ["--resume", out] if (out / "config.yaml").is_file() else [source, "--out", out, "--seed", seed]
        if given[0] == source:
            given += ["--epochs", epochs, "--set", f"data.hold_out={options.hold_out}"]
        flyweight("train", *given, "--no-report")
    return Run.open(out)


def seconds(run: Run) -> float:
    """Of all epochs of a run."""
    return sum(row["seconds"] for row in run.history())


def figures(plan: Recipe, rules: str) -> str:
    """MACs and parameters, proved."""
    from flyweight import analysis
    from flyweight.cli.job import known_spec
    from flyweight.networks.build import build

    spec = known_spec(plan.data)
    assert spec is not None
    facts = analysis.analyze(build(plan.model, spec), spec.shape)
    return f"{(facts.macs or 0) / 1e6:.1f} M | {facts.parameters:,}"


if __name__ == "__main__":
    main()
