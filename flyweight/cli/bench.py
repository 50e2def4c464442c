"""`flyweight bench`: our training loop beside its peers'."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flyweight.bench import DATA, PARTS, Part, PeerData
from flyweight.cli.console import answer, answer_json, say
from flyweight.cli.options import JsonOption, command
from flyweight.errors import FlyweightError
from flyweight.files import write_bytes

app = command(
    "bench",
    "bench",
    "bench training inference --rounds 5",
    "bench target --seeds 5 --json",
    "bench training --data digits --images 256    (where CIFAR-10 cannot be had)",
    "bench export dilated nano    (its exports beside PyTorch: accuracy, bytes, time an image)",
)


@app.default
def bench(
    *parts: Part,
    rounds: Annotated[int, Parameter(help="How often each side is run; a figure is the median.")] = 3,
    images: Annotated[int, Parameter(help="Images in an epoch of the comparison of the training loops.")] = 6400,
    batch_size: Annotated[int, Parameter(help="Of both training loops.")] = 128,
    seeds: Annotated[int, Parameter(help="Trainings to 85 %, for the part target.")] = 5,
    data: Annotated[
        PeerData, Parameter(help="What both training loops train on; digits goes with the part training alone.")
    ] = DATA,
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
    if data != DATA and set(parts) != {"training"}:
        raise FlyweightError(f"--data {data} goes with the part training alone: flyweight bench training --data {data}")
    if figure is not None and not figure.parent.is_dir():
        raise FlyweightError(f"--figure {figure}: there is no folder {figure.parent}: make it, or name another place")
    result = benchmark.run(parts or PARTS, rounds, images, batch_size, seeds, say, data)
    if figure is not None:
        from flyweight.bench.figure import draw
        from flyweight.report import figures

        write_bytes(figure, figures.png(draw(result)))
    if as_json:
        answer_json(result.as_json())
    else:
        answer(result.text())
    return 0


@app.command(name="export")
def export(
    *networks: str,
    images: Annotated[int, Parameter(help="Images that are timed, at most.")] = 300,
    test_images: Annotated[
        int | None,
        Parameter(help="Test images for the accuracy of what is exported; all of them unless named, which takes long."),
    ] = None,
    exports: Annotated[
        Path | None,
        Parameter(help="A folder for the exports, each in a folder of its network's name; those there are used."),
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """What networks come to elsewhere: accuracy, bytes, memory and time an image of every export, beside PyTorch.

    The accuracy is the one that an export's gate found, on CIFAR-10. Times are of one image on one thread, from its
    pixels to its logits, the ways in turn; they are taken at the end, a few seconds a network: keep the machine quiet.

    Args:
        networks: Networks that ship with their weights, or run folders; all that ship unless named.
    """
    from flyweight.bench import exports as measuring
    from flyweight.export.session import require

    if min(images, 1 if test_images is None else test_images) < 1:
        raise FlyweightError("--images and --test-images must be at least 1")
    require()
    result = measuring.run(networks or measuring.shipped(), images, test_images, exports, say)
    if as_json:
        answer_json(result.as_json())
    else:
        answer(result.text())
    return 0
