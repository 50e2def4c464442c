"""`flyweight check`: a network, or that of a recipe, against a rule set."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flyweight.cli.console import answer, answer_json, say
from flyweight.cli.options import JsonOption, command, image_shape
from flyweight.errors import FlyweightError

if TYPE_CHECKING:
    from flyweight.images.spec import Spec
    from flyweight.recipes.sections import Recipe
    from flyweight.rules import RuleSet

app = command(
    "check",
    "check dilated",
    "check my_network.py:Net --input 1,64,64 --classes 5",
    "check my_recipe.yaml    (its network by its own rules, for its own data)",
    "check course --json",
)


@app.default
def check(
    network: str,
    /,
    *,
    shape: Annotated[
        str | None,
        Parameter(
            name="--input",
            help="Channels, height and width of an image; by default those of the recipe's data, else of the rule set.",
        ),
    ] = None,
    classes: Annotated[int | None, Parameter(help="How many; by default as many as the data or rule set has.")] = None,
    rules: Annotated[
        str | None, Parameter(help="A built-in rule set or a YAML file of yours; by default the recipe's, else brief.")
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Check a network against a rule set: parameters, MACs, receptive field, layers; what fails, where, and the cure.

    Exit code 0 when every rule passes, 1 when one fails, 2 when the call is wrong.

    Args:
        network: A built-in network, path/to/file.py:ClassName (built without arguments or with num_classes), a recipe.
    """
    from flyweight import analysis
    from flyweight import rules as rule_sets
    from flyweight.networks.build import build
    from flyweight.recipes.sections import ModelConfig
    from flyweight.rules import summary

    if classes is not None and classes < 1:
        raise FlyweightError(f"--classes {classes}: there must be at least 1")
    asked = None if shape is None else image_shape(shape, "--input")
    recipe = _recipe(network)
    source = rules or ("brief" if recipe is None else recipe.rules)
    if source is None:
        raise FlyweightError(f"{network} asks for no rules: name some with --rules, such as --rules brief")
    ruleset = rule_sets.load_ruleset(source)
    spec = _spec(asked, classes, recipe, ruleset, source)
    with redirect_stdout(sys.stderr):  # a network of the user's may print
        built = build(ModelConfig(network=network) if recipe is None else recipe.model, spec, say)
        facts = analysis.analyze(built, spec.shape)
    verdict = rule_sets.check(facts, ruleset)
    if as_json:
        answer_json(summary.as_json(facts, verdict))
    else:
        answer(summary.render(facts, verdict))
    return 0 if verdict.passed else 1


def _recipe(network: str) -> Recipe | None:
    """The recipe where a file of one was named; the name of a built-in one is its network's."""
    from flyweight import recipes
    from flyweight.cli import job

    if not network.endswith((".yaml", ".yml")):
        return None
    return job.absolute(recipes.load(network), Path(network).parent, pinned=False)


def _spec(
    shape: tuple[int, int, int] | None, classes: int | None, recipe: Recipe | None, ruleset: RuleSet, source: str
) -> Spec:
    """For which images and how many classes: as the options say, else the recipe's data, else the rule set."""
    from flyweight.cli import job
    from flyweight.data.registry import choose
    from flyweight.images.spec import Spec

    if recipe is not None and (shape is None or classes is None):
        # the path matters only where it decides which data set it is
        found = choose(recipe.data.name, recipe.data.path if recipe.data.name is None else None)
        # images of any size are looked at, for a rule that holds at another size says nothing
        known = found.spec or job.load_data(recipe.data, None)[0].spec
        shape, classes = shape or known.shape, classes or len(known.classes)
    if shape is None:
        if ruleset.input is None:
            raise FlyweightError(
                f"the rules {source} do not say for which images: say it with --input, such as 1,28,28"
            )
        shape = image_shape(ruleset.input, f"{source}: input")
    classes = classes or ruleset.classes
    if classes is None:
        raise FlyweightError(f"the rules {source} do not say for how many classes: say it with --classes, such as 10")
    return Spec.unnamed(classes, shape)
