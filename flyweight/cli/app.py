"""The command line: with `console` the only module that prints. Commands import what they need, torch above all.

Exit codes: 0 done; 1 a rule failed; 2 the call was wrong; 3 data; 4 a run folder or weights; 130 interrupted.
"""

from __future__ import annotations

import io
import json
import shlex
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from flyweight import __version__, recipes
from flyweight.bench import PARTS, Part
from flyweight.cli import job
from flyweight.cli.console import DataBar, TrainingBar, banner, err, say
from flyweight.errors import FlyweightError
from flyweight.recipes.sections import DataConfig, Recipe

if TYPE_CHECKING:
    from flyweight.data import Dataset
    from flyweight.runs.folder import Run


app = App(
    name="flyweight",
    version=__version__,
    help="Compact image classifiers that make weight: design, prove, train, explain and ship networks inside a limit.",
    help_format="plaintext",
    help_epilogue="Start here:  flyweight train sprint   (CIFAR-10 to 85 % on two CPU cores, with a report)",
)

DataOption = Annotated[
    str | None,
    Parameter(help="CIFAR-10's folder or archive, or a name: cifar10, digits (scikit-learn's handwritten ones)."),
]
JsonOption = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON object instead of text.")]


def _examples(*lines: str) -> str:
    return "\n".join(["Examples:", *(f"  flyweight {line}" for line in lines)])


@app.command(
    help_epilogue=_examples("check dilated", "check my_network.py:Net --input 3,64,64", "check course --json"),
)
def check(
    network: str,
    /,
    *,
    shape: Annotated[str, Parameter(name="--input", help="Channels, height and width of an image.")] = "3,32,32",
    rules: Annotated[str, Parameter(help="A built-in rule set or a YAML file of yours.")] = "brief",
    as_json: JsonOption = False,
) -> int:
    """Check a network against a rule set: parameters, MACs, receptive field, layers; what fails, where, and the cure.

    Exit code 0 when every rule passes, 1 when one fails, 2 when the call is wrong.

    Args:
        network: A built-in network or path/to/file.py:ClassName (built without arguments).
    """
    from flyweight import analysis
    from flyweight import rules as rule_sets
    from flyweight.images.spec import Spec
    from flyweight.networks.build import build
    from flyweight.recipes.sections import ModelConfig
    from flyweight.rules import summary

    picture = _shape(shape)
    ruleset = rule_sets.load_ruleset(rules)
    with redirect_stdout(sys.stderr):  # a network of the user's may print
        facts = analysis.analyze(build(ModelConfig(network=network), Spec.unnamed(10, picture)), picture)
    verdict = rule_sets.check(facts, ruleset)
    _print(_json(summary.as_json(facts, verdict)) if as_json else summary.render(facts, verdict))
    return 0 if verdict.passed else 1


@app.command(
    help_epilogue=_examples(
        "train sprint",
        "train my_recipe.yaml --epochs 30 --seed 1",
        "train sprint --set augment.cutout=0.5 --set data.hold_out=5000",
        "train --resume runs/sprint-20260101-120000",
    ),
)
def train(
    recipe: str | None = None,
    /,
    *,
    resume: Annotated[Path | None, Parameter(help="Go on with this run folder.")] = None,
    out: Annotated[Path | None, Parameter(help="The new run folder; by default runs/RECIPE-TIME.")] = None,
    data: DataOption = None,
    changes: Annotated[
        tuple[str, ...],
        Parameter(
            name="--set", negative="", help="Change a value of the recipe: --set train.epochs=3. May be repeated."
        ),
    ] = (),
    epochs: Annotated[int | None, Parameter(help="Short for --set train.epochs=N.")] = None,
    seed: Annotated[int | None, Parameter(help="Short for --set train.seed=N.")] = None,
    fallback: Annotated[
        Literal["digits"] | None, Parameter(help="What to train on, loudly, if CIFAR-10 cannot be had.")
    ] = None,
    with_report: Annotated[bool, Parameter(name="--report", help="Write the report at the end.")] = True,
) -> int:
    """Train a network by a recipe, with a test pass after each epoch, and write the report.

    Ctrl-C saves the state; --resume goes on from there, on the same machine to the same weights as an unbroken run.

    Args:
        recipe: A built-in recipe or a YAML file of yours.
    """
    from flyweight.machine.device import settle
    from flyweight.runs.folder import Run
    from flyweight.training.loop import check_trainable

    if (recipe is None) == (resume is None):
        raise FlyweightError(f"name a recipe ({', '.join(recipes.names())}, or a YAML file) or --resume a run folder")
    if resume is not None:
        if changes or epochs is not None or seed is not None or out is not None:
            raise FlyweightError(
                "--resume goes on with the run's own recipe: leave out --set, --epochs, --seed and --out"
            )
        folder = Run.open(resume)
        plan = job.with_data(folder.recipe(), data)
        dataset, note = job.load_data(plan.data, None)
    else:
        assert recipe is not None
        shorts = (("train.epochs", epochs), ("train.seed", seed))
        changes = (*changes, *(f"{key}={value}" for key, value in shorts if value is not None))
        plan = job.absolute(job.with_data(recipes.load(recipe, changes), data), Path(recipe).parent)
        plan = plan.model_copy(update={"train": settle(plan.train)})
        # before the data: a typo should not cost a download
        network = job.check_rules(plan)
        dataset, note = job.load_data(plan.data, fallback)
        if note is not None:
            plan = plan.model_copy(update={"data": DataConfig(name="digits")})
        check_trainable(network, dataset, plan)
        folder = job.create_run(out, plan)
    return _train(folder, plan, dataset, note, with_report)


@app.command(
    help_epilogue=_examples(
        "evaluate sprint",
        "evaluate sprint --damaged",
        "evaluate runs/sprint-20260101-120000 --json",
        "evaluate runs/tuning --data cifar10    (a run with held-out images, on the test set)",
    )
)
def evaluate(
    network: str,
    /,
    *,
    data: DataOption = None,
    out: Annotated[
        Path | None,
        Parameter(help="Where evaluation.json and mistakes.csv go; by default a run's folder, with --data nowhere."),
    ] = None,
    damaged: Annotated[
        bool, Parameter(negative="", help="Also on damaged images: JPEG, blur, noise, shift (a minute).")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Test a trained network: accuracy with its interval, per class, confusions, calibration, list of mistakes.

    Args:
        network: A network that ships with its weights, or a run folder.
    """
    pass
    from flyweight.evaluation import evaluate as evaluation
    from flyweight.machine.allocator import keep_freed_memory
    from flyweight.runs.card import find_trained, load_trained, ships
    from flyweight.runs.folder import Run

    keep_freed_memory()
    source = find_trained(network)
    run = Run(source)
    with redirect_stdout(sys.stderr):  # a network of the user's may print
        trained = load_trained(source)
        # a run is tested on what it was tested on before: one with held-out images must not read the test set unasked
        plan = run.recipe().data if run.config.is_file() and data is None else job.data_of(trained.card.data, data)
        dataset, _ = job.load_data(plan, None)
        scores = evaluation.evaluate(trained, dataset)
        results = []
        if damaged:
            from flyweight.evaluation import robustness

            for result in robustness.measure(trained, dataset):
                say(f"{result.damage.label}: {result.accuracy:.2f} %")
                results.append(result)
    # what a run's report speaks of stays; what ships is not ours to write beside
    if out is None and data is None and not ships(source):
        out = source
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FlyweightError(f"--out {out}: {error.strerror}; name a folder") from None
        evaluation.write(scores, out)
    if as_json:
        extra = {"damaged": [result.as_json() for result in results]} if damaged else {}
        _print(_json(scores.as_json() | extra))
    else:
        _print(evaluation.render(scores) + (f"\n\n{robustness.render(results, scores.accuracy)}" if damaged else ""))
    return 0


@app.command(help_epilogue=_examples("report runs/sprint-20260101-120000"))
def report(run: Path, /, *, data: DataOption = None) -> int:
    """Write the report of a run: report.html, REPORT.md with the brief's five answers, and the figures.

    Args:
        run: A run folder whose training has ended.
    """
    from flyweight.runs.folder import Run

    folder = Run.open(run)
    dataset, _ = job.load_data(job.with_data(folder.recipe(), data).data, None)
    _report(folder, dataset)
    return 0


@app.command(help_epilogue=_examples("predict sprint cat.png", "predict runs/mine photos/ --top 1 --json"))
def predict(
    network: str,
    /,
    *files: Annotated[Path, Parameter(required=True)],
    top: Annotated[int, Parameter(help="How many classes to name for each image.")] = 3,
    fast: Annotated[
        bool, Parameter(negative="", help="Twice the speed for many images: bfloat16, less exact.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Say what is in images, or in all images of folders: the likeliest classes with their probabilities.

    Exit code 3 when an image cannot be read; the others are told all the same.

    Args:
        network: A network that ships with its weights, or a run folder.
        files: Images, or folders of them.
    """
    from flyweight.images import decode
    from flyweight.inference import predict as prediction
    from flyweight.runs.card import find_trained, load_trained

    if top < 1:
        raise FlyweightError("--top must be at least 1")
    paths = decode.find(files)
    with redirect_stdout(sys.stderr):  # a network of the user's may print
        trained = load_trained(find_trained(network))
    width = min(60, max(len(str(path)) for path in paths))
    answers = []
    for answer in prediction.predict(trained, paths, top, fast):
        answers.append(answer)
        if answer.error is not None:
            say(f"flyweight: {answer.error}")
        elif not as_json:
            _print(answer.line(width))
    if as_json:
        _print(_json([answer.as_json() for answer in answers]))
    return 3 if any(answer.error for answer in answers) else 0


@app.command(help_epilogue=_examples("bench", "bench training inference --rounds 5", "bench target --seeds 5 --json"))
def bench(
    *parts: Part,
    rounds: Annotated[int, Parameter(help="How often each side is run; a figure is the median.")] = 3,
    images: Annotated[int, Parameter(help="Images in an epoch of the comparison of the training loops.")] = 6400,
    batch_size: Annotated[int, Parameter(help="Of both training loops.")] = 128,
    seeds: Annotated[int, Parameter(help="Trainings to 85 %, for the part target.")] = 5,
    figure: Annotated[Path | None, Parameter(help="Draw all of it into this PNG file.")] = None,
    as_json: JsonOption = False,
) -> int:
    """Measure our training loop beside the course's, in turn, on this machine (half an hour; keep it quiet).

    Args:
        parts: What to measure; all of it unless named.
    """
    from flyweight.bench import benchmark

    if min(rounds, batch_size, seeds) < 1 or images < batch_size:
        raise FlyweightError("--rounds, --batch-size and --seeds must be at least 1, --images at least --batch-size")
    if figure is not None and not figure.parent.is_dir():
        raise FlyweightError(f"--figure {figure}: there is no folder {figure.parent}")
    result = benchmark.run(parts or PARTS, rounds, images, batch_size, seeds, say)
    if figure is not None:
        from flyweight.bench.figure import draw
        from flyweight.report import figures

        figure.write_bytes(figures.png(draw(result)))
    _print(_json(result.as_json()) if as_json else result.text())
    return 0


def _train(folder: Run, plan: Recipe, dataset: Dataset, note: str | None, with_report: bool) -> int:
    import torch

    from flyweight.machine.device import processes
    from flyweight.networks.build import build
    from flyweight.training import loop as training

    main = processes().is_main_process
    err.quiet = not main
    torch.manual_seed(plan.train.seed)
    network = build(plan.model, dataset.spec)
    say(f"run folder {folder.folder}; {dataset.source}; {plan.train.epochs} epochs, seed {plan.train.seed}")
    with TrainingBar(err) as bar:
        try:
            result = training.fit(network, dataset, plan, folder, bar, note)
        except KeyboardInterrupt as interrupt:
            lost = "the steps since the last checkpoint will be done again" if interrupt.args else "nothing is lost"
            say(f"stopped; {lost}. Go on with: flyweight train --resume {shlex.quote(str(folder.folder))}")
            return 130
    if not main:
        return 0
    record = folder.read_environment()
    note, seconds = record.get("data_note"), record.get("seconds")
    last = result.history[-1]
    if with_report:
        _report(folder, dataset)
    what = "held-out" if plan.data.hold_out else "test"
    _print(
        f"{what} accuracy {last.test_accuracy:.2f} % ({last.test_correct}/{last.test_total}) at the last epoch,"
        f" {seconds} s; {folder.folder}"
    )
    if note is not None:
        banner(note)
    return 0


def _report(folder: Run, dataset: Dataset) -> None:
    from flyweight.report import report as reports

    with DataBar(err) as bar:
        page = reports.write(folder, dataset, bar)
    _print(str(page))


def _shape(text: str) -> tuple[int, int, int]:
    try:
        channels, height, width = (int(part) for part in text.split(","))
    except ValueError:
        raise FlyweightError(f"--input {text}: write channels, height and width, for example 3,32,32") from None
    if min(channels, height, width) < 1:
        raise FlyweightError(f"--input {text}: all three must be at least 1")
    return channels, height, width


def _print(text: str) -> None:
    sys.stdout.write(text.rstrip("\n") + "\n")


def _json(content: object) -> str:
    return json.dumps(content, indent=2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a name that the terminal's encoding lacks is told with escapes, and ends nothing
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(run_command(arguments))


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; none: those of this process.

    Returns:
        the exit code.
    """
    try:
        return app(arguments, exit_on_error=False, print_error=False, result_action="return_value") or 0
    except CycloptsError as error:
        say(f"flyweight: {' '.join(str(error).split())} (see flyweight --help)")
        return 2
    except FlyweightError as error:
        say(f"flyweight: {error}")
        return error.exit_code
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            # the reader of our output has gone: nobody is left to tell
            sys.stdout = None
            return 141
        say(f"flyweight: {error.filename or 'a file'}: {error.strerror or error}")
        return 2
    except KeyboardInterrupt:
        return 130
