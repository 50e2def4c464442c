"""Make a finished run the network that ships under its recipe's name: flyweight/zoo/NAME, with card and figures.

    python tools/ship.py runs/sprint-20260101-120000 --purpose "teaching, and as a small baseline"

The weights are tested anew; nothing is taken on trust from the run.
"""

import argparse
import json
import shutil
from pathlib import Path

from flyweight import analysis, data
from flyweight.evaluation import evaluate, robustness
from flyweight.runs.card import ZOO, load_trained
from flyweight.runs.environment import moved, of_all
from flyweight.runs.folder import Run

MODEL_CARD = """# {name}

Image classifier for CIFAR-10's ten classes: the network `{network}`, {parameters:,} parameters, {macs:.1f} M
multiply-accumulates an image of 32x32 pixels, receptive field {field}; in 8 bits its maps take {memory:.0f} KiB.

- **Data**: CIFAR-10, 50,000 training images, all three augmentations of the brief on.
- **Recipe**: `flyweight train {recipe} --seed {seed}` ({epochs} epochs, {minutes:.0f} minutes on {machine});
  {bits}.{distilled}
- **Accuracy**: {accuracy:.2f} % of the 10,000 test images at the last epoch (95 % interval {low:.2f} to {high:.2f}),
  without test-time augmentation{mean}. `flyweight evaluate {name}` repeats it.
- **Meant for**: {purpose}.
- **Limits**: 32x32 images of these ten classes only; many others it takes for one of them. What it mixes up most:
  {confusions}. 3.3 % of CIFAR-10's test images have a near-duplicate among the training images (ciFAIR).
- **Licence**: MIT, as flyweight.

## How sure it is

Its confidence is off by {calibration:.1f} points on average (expected calibration error, 15 bins), and by {scaled:.1f}
with its temperature, {temperature:.2f}, as it is told. Below {threshold:.1f} % an image is of none of its classes:
{unknown:.1f} % of the test images are. Without the temperature, on damaged test images (`flyweight evaluate {name}
--damaged`):

| damage | accuracy % | points lost | calibration error |
| --- | ---: | ---: | ---: |
{damaged}

Its ten most confident mistakes: {mistakes}.
"""


def main() -> None:
    """Evaluate the run anew and copy what ships."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--purpose", required=True, help="what the network is meant for, in a few words")
    parser.add_argument("--mean", default="", help="what several seeds of the recipe gave")
    options = parser.parse_args()
    run = Run.open(options.run)
    recipe, trained, record = run.recipe(), load_trained(options.run), run.read_environment()
    dataset = data.load(recipe.data.name)
    if trained.card.fingerprint != dataset.fingerprint:
        parser.error(f"{options.run} was trained on a part of the data, or on another: what ships has seen all of it")
    scores = evaluate.evaluate(trained, dataset)
    facts = analysis.analyze(trained.model, trained.card.input_shape)
    damaged = list(robustness.measure(trained, dataset))
    folder = ZOO / recipe.name
    folder.mkdir(exist_ok=True)
    shutil.copy(run.weights, folder)
    shutil.copy(run.card, folder)
    kept = ("flyweight", "python", "torch", "processor", "threads", "device", "precision", "seconds")
    metrics = {
        "accuracy": round(scores.accuracy, 2),
        "interval": [round(end, 2) for end in scores.interval],
        "n": scores.n,
        "loss": round(scores.loss, 4),
        "calibration_error": round(scores.calibration.error, 2),
        "damaged": {result.damage.label: round(result.accuracy, 2) for result in damaged},
        "recipe": recipe.name,
        "seed": recipe.train.seed,
        "environment": {key: of_all(record, key) for key in kept},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    machine = f"{of_all(record, 'processor')} with {of_all(record, 'threads')} threads"
    if (device := of_all(record, "device")) != "cpu":
        machine += f", on {device}, in {of_all(record, 'precision')}"
    mixed = [
        f"{scores.classes[true]} taken for {scores.classes[said]}" for true, said, _ in evaluate.confusions(scores, 2)
    ]
    # no operator of ours hides arithmetic or maps
    assert facts.macs is not None
    assert facts.peak is not None
    card = MODEL_CARD.format(
        name=recipe.name,
        network=trained.card.network,
        parameters=facts.parameters,
        macs=facts.macs / 1e6,
        field=facts.receptive_field.value,
        memory=facts.peak.numbers / 1024,
        recipe=recipe.name,
        seed=recipe.train.seed,
        epochs=recipe.train.epochs,
        minutes=record["seconds"] / 60,
        machine=machine,
        bits="it was begun on one machine and ended on another, so none gives these bits alone"
        if moved(record)
        else "same machine, same bits",
        accuracy=scores.accuracy,
        low=scores.interval[0],
        high=scores.interval[1],
        mean=f"; {options.mean}" if options.mean else "",
        distilled=(f"\n  Distilled: taught by {trained.card.teacher}." if trained.card.teacher else "")
        + (f"\n  Fine-tuned: begun with the weights of {trained.card.start}." if trained.card.start else ""),
        purpose=options.purpose,
        confusions=", ".join(mixed),
        calibration=scores.calibration.error,
        scaled=scores.scaled.error,
        temperature=scores.temperature,
        threshold=100 * (scores.threshold or 0),
        unknown=scores.unknown or 0,
        damaged="\n".join(
            f"| {one.damage.label} | {one.accuracy:.2f} | {scores.accuracy - one.accuracy:.2f} |"
            f" {one.calibration_error:.1f} |"
            for one in damaged
        ),
        mistakes="; ".join(
            f"no. {one.index}, {scores.classes[one.true]} taken for {scores.classes[one.predicted]}"
            f" ({one.confidence:.1f} %)"
            for one in scores.mistakes[:10]
        ),
    )
    (folder / "README.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
