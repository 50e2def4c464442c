"""What half an hour of search is worth: searches with several seeds, and their best networks beside the one to beat.

    python tools/search_trial.py runs/searches --rules brief --hours 0.5 --searches 3 --seeds 3
    python tools/search_trial.py runs/small --reference nano -- --epochs 12    (options of flyweight search after --)

Of the front of each search two networks (`--against`) are chosen: those that beat the reference or, in errors and what
is minimised, lack least to do so. These and the reference are then trained anew with other seeds, on the images that
were not held out, for equal time: training steps of both are timed in turn, and a network gets as many whole epochs as
fit into the reference's time. A network with no more MACs, or no more of what was minimised, is trained for as many
epochs, too. The reference is trained once for all searches. What has ended already is not done again; a search that was
killed goes on for its whole time. The held-out images have chosen the networks, so that a small part of a lead is luck;
other seeds take the luck of the training away, and not that of the images.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from pathlib import Path
from statistics import mean, median, stdev

from flyweight import recipes
from flyweight.analysis import Facts, analyze
from flyweight.cli import job
from flyweight.machine.device import settle
from flyweight.networks.build import build
from flyweight.recipes.sections import ModelConfig
from flyweight.runs.card import load_trained
from flyweight.runs.folder import Run
from flyweight.search.pace import ratio

TIMED = 15
"""Comparisons of training steps, of which the median counts."""
OVER = 0.1
"""Share of an epoch by which a network may take longer: else noise alone would cost an equal one an epoch."""


def main() -> None:
    """Search, train, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rules", default="brief")
    parser.add_argument("--reference", default="sprint", help="the built-in network to beat")
    parser.add_argument("--hours", type=float, default=0.5)
    parser.add_argument("--searches", type=int, default=3)
    parser.add_argument("--against", type=int, default=2, help="networks of a search that are put against it")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each network afterwards")
    parser.add_argument("--hold-out", type=int, default=5000)
    given = sys.argv[1:]
    end = given.index("--") if "--" in given else len(given)
    options, more = parser.parse_args(given[:end]), given[end + 1 :]
    lines = ["| search | network | MACs | parameters | epochs | s, mean | held-out accuracy, each | mean | s.d. |"]
    lines.append("| ---: | --- | ---: | ---: | ---: | ---: | --- | ---: | ---: |")
    for number in range(options.searches):
        out = options.out / f"search-{number}"
        if not (ended := out / "search-ended").is_file():  # a search that was killed has winners, too
            call = ["search", options.rules, "--hours", options.hours, "--seed", number, "--out", out]
            flyweight(*call, "--reference", options.reference, "--hold-out", options.hold_out, *more)
            ended.touch()
        for name, saves in chosen(out, options):
            for epochs in lengths(out, name, saves, options):
                lines.append(f"| {number} | `{name}` | {row(out, name, epochs, options)} |")
    sys.stdout.write("\n".join(lines) + "\n")


def flyweight(*arguments: object) -> None:
    """Call the command line; its messages are shown."""
    subprocess.run([sys.executable, "-m", "flyweight", *map(str, arguments)], check=True, stdout=sys.stderr)


def chosen(out: Path, options: argparse.Namespace) -> list[tuple[str, bool]]:
    """Names of the reference and of what the search puts against it; whether it has no more of what was minimised."""
    from flyweight.search.halving import compared, ranked
    from flyweight.search.storage import open_study, prefix
    from flyweight.search.trials import Trials

    trials = Trials(open_study(None, out, f"flyweight-{prefix(options.rules)}", None), out)
    results = compared(trials.results())
    trials.close()
    reference = options.reference
    kept = [one for one in results if one.name == reference or (out / "winners" / f"{one.name}.yaml").is_file()]
    (beaten,) = [one for one in kept if one.name == reference]
    others = [one for one in ranked(kept, reference) if one.name != reference][: options.against]
    return [(one.name, one.cost <= beaten.cost) for one in (beaten, *others)]


def lengths(out: Path, name: str, saves: bool, options: argparse.Namespace) -> list[int]:
    """Epochs to train a network for: as long as the reference takes and, where it saves something, as many as it."""
    reference = recipes.load(source(out, options.reference, options.reference))
    if name == options.reference:
        return [reference.train.epochs]
    one, (dataset, _) = recipes.load(source(out, name, options.reference)), job.load_data(reference.data, None)
    spec, settled = dataset.spec, settle(reference.train, len(dataset.train))
    times = median(ratio(one.model, reference.model, spec, settled) for _ in range(TIMED))
    equal_time = max(1, math.floor(reference.train.epochs / times + OVER))
    ours, theirs = (analyze(build(plan.model, spec), spec.shape).macs or 0 for plan in (one, reference))
    return sorted({equal_time, reference.train.epochs}) if saves or ours < theirs else [equal_time]


def row(out: Path, name: str, epochs: int, options: argparse.Namespace) -> str:
    """Train a network with each seed; the cells of its row."""
    place = options.out if name == options.reference else out
    runs = [once(out, place, name, 101 + seed, epochs, options) for seed in range(options.seeds)]
    reached = [run.history()[-1]["test_accuracy"] for run in runs]
    spread = f"{stdev(reached):.2f}" if len(reached) > 1 else "-"
    took = mean(seconds(run) for run in runs)
    each = ", ".join(f"{accuracy:.2f}" for accuracy in reached)
    cost = facts(runs[0])
    figures = f"{(cost.macs or 0) / 1e6:.1f} M | {cost.parameters:,}"
    return f"{figures} | {epochs} | {took:.0f} | {each} | {mean(reached):.2f} | {spread}"


def once(out: Path, place: Path, name: str, seed: int, epochs: int, options: argparse.Namespace) -> Run:
    """One training, in a folder `trained` of a place, without the held-out images; where it is there, that one."""
    folder = place / "trained" / f"{name}-{epochs}-seed-{seed}"
    if not (folder / "model.safetensors").is_file():
        given = ["--resume", folder]
        if not (folder / "config.yaml").is_file():
            given = [source(out, name, options.reference), "--out", folder, "--seed", seed, "--epochs", epochs]
            given += ["--set", "rules=null", "--set", f"data.hold_out={options.hold_out}"]
        flyweight("train", *given, "--no-report")
    return Run.open(folder)


def source(out: Path, name: str, reference: str) -> Path:
    """The recipe of a network: that of the winners, whose settings the reference is trained with, too."""
    winners = sorted((out / "winners").glob("*.yaml"))
    if name != reference:
        return out / "winners" / f"{name}.yaml"
    plan = recipes.load(winners[0])
    own = plan.model_copy(update={"name": name, "description": "", "model": ModelConfig(network=name)})
    (out / "reference.yaml").write_text(recipes.write(own), encoding="utf-8")
    return out / "reference.yaml"


def seconds(run: Run) -> float:
    """Of all epochs of a run."""
    return sum(row["seconds"] for row in run.history())


def facts(run: Run) -> Facts:
    """Of a run's network."""
    trained = load_trained(run.folder)
    return analyze(trained.model, trained.card.input_shape)


if __name__ == "__main__":
    main()
