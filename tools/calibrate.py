"""Give networks that ship, or finished runs, their temperature and threshold anew; their weights stay as they are.

    python tools/calibrate.py                    (all that ship)
    python tools/calibrate.py nano runs/mine

It is what a training does at its end: `flyweight.training.calibrate`.
"""

import argparse
import json
from pathlib import Path

from flyweight import recipes
from flyweight.cli import job
from flyweight.cli.console import answer
from flyweight.recipes.sections import Recipe
from flyweight.runs.card import ZOO, find_trained, load_trained, save_card, ships
from flyweight.runs.folder import Run
from flyweight.training.calibrate import calibrated


def recipe_of(folder: Path) -> Recipe:
    """What a network was trained by."""
    if not ships(folder):
        return Run.open(folder).recipe()
    told = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return recipes.load(told["recipe"], (f"train.seed={told['seed']}",))


def main() -> None:
    """Write the cards and tell what is on them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=sorted(path.parent.name for path in ZOO.glob("*/config.json")))
    for name in parser.parse_args().networks:
        folder = find_trained(name)
        trained, recipe = load_trained(folder), recipe_of(folder)
        dataset, _ = job.load_data(recipe.data, None, like=trained.card.spec)
        if trained.card.fingerprint != dataset.fingerprint:
            parser.error(f"{folder} was trained on other data than {dataset.source}")
        card = calibrated(trained.model, trained.card, dataset, recipe)
        save_card(folder, card)
        answer(f"{name}: temperature {card.temperature:g}, threshold {card.threshold:g}")


if __name__ == "__main__":
    main()
