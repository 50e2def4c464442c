"""Recipes: one experiment in one YAML file each.

sections  what a recipe may say, as frozen models; `network` for the rows of a network of its own
renamed   keys that were called otherwise in an earlier version
*.yaml    the recipes that come with the package
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from flyweight.errors import FlyweightError
from flyweight.files import answers
from flyweight.recipes import renamed
from flyweight.recipes.sections import Recipe
from flyweight.schema import override_key, parse, read_yaml, suggestion
from flyweight.text import short

RECIPES = Path(__file__).parent
FOR_IMAGES = "images"
"""The recipe for images of the user's own, where no other is named."""


def names() -> list[str]:
    """Names of the recipes that come with the package, sorted."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        source: a name from :func:`names`, or a path of a YAML file.
        overrides: changes such as ``train.epochs=3``; the value is YAML, too.

    Raises:
        FlyweightError: there is no such recipe, or it says something it may not.
    """
    path = Path(source)
    if str(source) in names():
        path = RECIPES / f"{source}.yaml"
    elif path.suffix not in {".yaml", ".yml"} or not answers(path, Path.exists):
        name, known = short(str(source), 200), names()
        raise FlyweightError(
            f"no recipe {name!r}{suggestion(name, known)}: the built-in ones are {', '.join(known)};"
            " a file of yours ends in .yaml"
        )
    content = read_yaml(path)
    renamed.refuse(content, str(path))
    for override in overrides:
        override_key(content, override)
        renamed.refuse(content, f"--set {short(override, 200)}")
    return parse(Recipe, content, str(path), overrides)


def recorded(path: Path) -> Recipe:
    """Read the recipe that a run folder keeps, whichever version of the program wrote it.

    Raises:
        FlyweightError: it cannot be read, or says something that a recipe may not.
    """
    return parse(Recipe, renamed.recipe(read_yaml(path)), str(path))


def write(recipe: Recipe) -> str:
    """The YAML text that :func:`load` reads back to the same recipe."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
