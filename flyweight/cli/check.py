"""`flyweight check`: networks, or those of recipes, against a rule set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flyweight.cli.console import answer, answer_json, say
from flyweight.cli.options import PLAIN, JsonOption, Marking, command, input_shape
from flyweight.errors import FlyweightError

if TYPE_CHECKING:
    from flyweight.cli.marking import Where
    from flyweight.images.spec import Spec
    from flyweight.marking.marks import Claim
    from flyweight.marking.task import Task
    from flyweight.recipes.sections import Recipe
    from flyweight.rules import RuleSet

app = command(
    "check",
    "check dilated",
    "check my_network.py:Net --input 1,64,64 --classes 5",
    "check submissions/*.py --html marks.html --claim receptive_field=109",
    "check my_recipe.yaml  # its network by its own rules, for its own data",
    "check course --json",
)


YAML = (".yaml", ".yml")
"""How the names of recipes' files end; the name of a built-in recipe is its network's."""


@app.default
def check(
    *networks: Annotated[str, Parameter(required=True)],
    shape: Annotated[
        str | None,
        Parameter(
            name="--input",
            help="Channels, height and width of an image, or channels and length of a signal;"
            " by default those of the recipe's data, else of the rule set.",
        ),
    ] = None,
    classes: Annotated[int | None, Parameter(help="How many; by default as many as the data or rule set has.")] = None,
    rules: Annotated[
        str | None, Parameter(help="A built-in rule set or a YAML file of yours; by default the recipe's, else brief.")
    ] = None,
    blocks: Annotated[
        str | None, Parameter(help="The blocks of the rules by what the network calls them: layer1,layer2,... or auto.")
    ] = None,
    as_json: JsonOption = False,
    marking: Marking = PLAIN,
) -> int:
    """Check networks against a rule set: parameters, MACs, receptive field, layers; what fails, where, and the cure.

    Exit code 0 when every rule passes, 1 when one fails, 2 when the call is wrong or one of several networks could not
    be checked. Of a file only what the network needs is run: no training, no download.

    Args:
        networks: Built-in networks, recipes, or yours: net.py, net.py:Net, net.py:Net(width=8), net.py:make_model(),
            notebook.ipynb:Net, package.module:Net.
    """
    from flyweight.cli import marking as marks
    from flyweight.marking.marks import parse_claim

    if classes is not None and classes < 1:
        raise FlyweightError(f"--classes {classes}: there must be at least 1")
    asked = None if shape is None else input_shape(shape, "--input")
    claims = [parse_claim(text) for text in marking.claim]
    where = marks.where(marking, len(networks), as_json)
    tasks, broken = [], {}
    for network in dict.fromkeys(networks):
        try:
            tasks.append(_task(network, asked, classes, rules, blocks))
        except FlyweightError as error:
            if len(networks) == 1:
                raise
            broken[network] = str(error)
    if asked is not None:
        for note in dict.fromkeys(filter(None, (_size_note(task.name, asked) for task in tasks))):
            say(note)
    if len(networks) == 1 and not (where.apart or where.files):
        return _one(tasks[0], claims, where)
    return marks.run(tasks, broken, claims, where)


def _one(task: Task, claims: list[Claim], where: Where) -> int:
    """A single network, in this process."""
    from flyweight.cli import marking
    from flyweight.marking import marks
    from flyweight.marking.task import answered

    try:
        found = answered(task, lambda note: say(task.told(note)))
    except FlyweightError as error:
        raise type(error)(task.told(str(error))) from error
    mark = marks.Mark.of(task, found, 0.0)
    if where.as_json:
        answer_json(marking.as_json(mark, claims))
    elif where.markdown:
        answer(marking.as_markdown([mark]))
    else:
        answer("\n".join([mark.text, *(marks.claim_line(mark, claim) for claim in claims)]))
    return 0 if mark.outcome == "pass" else 1


def _task(
    network: str, asked: tuple[int, ...] | None, classes: int | None, rules: str | None, blocks: str | None
) -> Task:
    """What is to be judged, with paths that hold from anywhere."""
    from flyweight import rules as rule_sets
    from flyweight.cli import job
    from flyweight.marking.task import Task
    from flyweight.recipes.sections import ModelConfig

    recipe = _recipe(network)
    source = rules or ("brief" if recipe is None else recipe.rules)
    if source is None:
        raise FlyweightError(f"{network} asks for no rules: name some with --rules, such as --rules brief")
    ruleset = rule_sets.load_ruleset(source)
    named: tuple[str, ...] = ()
    if blocks is not None:
        found = rule_sets.named_blocks(blocks)
        ruleset.with_blocks(found)
        named = (found,) if isinstance(found, str) else tuple(map(str, found))
    spec, sizes = _spec(asked, classes, recipe, ruleset, source)
    more = {"blocks": named, "signal": int(len(sizes) == 2)}
    if source not in rule_sets.known_rulesets():
        source = str(Path(source).resolve())
    if recipe is not None:
        return Task.of(network, recipe.model, source, spec, (), **more)
    model = ModelConfig(network=job.own_network(Path(), network))
    return Task.of(network, model, source, spec, _names(model.network, network), **more)


def _names(absolute: str, said: str) -> tuple[tuple[str, str], ...]:
    """A reference and its file, each with the name that it was given, so that messages use that."""
    from flyweight.networks.reference import is_reference, parse

    if absolute == said or not is_reference(said):
        return ()
    return (absolute, said), (parse(absolute).source, parse(said).source)


def _size_note(network: str, asked: tuple[int, ...]) -> str:
    """A line where a training would see another size than the one that is judged; empty where it would not."""
    if len(asked) == 2:  # a signal, on which nothing is trained here
        return ""
    recipe = _recipe(network)
    trained = _trained_at(asked) if recipe is None else _trained_by(recipe, asked)
    if asked[1:] == trained[1:]:
        return ""
    sizes = ["x".join(map(str, shape[1:])) for shape in (asked, trained)]
    of = "images of that size in a folder" if recipe is None else f"the images of {recipe.name}"
    return (
        f"note: judged at {sizes[0]}, as --input says; flyweight train brings {of} to {sizes[1]}, unless data.size says"
        " otherwise"
    )


def _trained_by(recipe: Recipe, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape at which a recipe trains, as far as that is known without a look at its images."""
    from flyweight.data.registry import choose

    fixed = None if recipe.data.name is None else choose(recipe.data.name).spec
    if fixed is not None:
        return fixed.shape
    side = recipe.data.size
    return _trained_at(shape) if side is None else (shape[0], side, side)


def _trained_at(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of what `flyweight train` makes of images of such a one, where nothing else is asked for."""
    import numpy as np

    from flyweight.data.target import side_of

    side = side_of(np.array([shape[2]]), np.array([shape[1]]))
    return shape[0], side, side


def _recipe(network: str) -> Recipe | None:
    """The recipe where a file of one was named."""
    from flyweight import recipes
    from flyweight.cli import job
    from flyweight.schema import is_file

    if is_file(Path(network) / "config.yaml"):
        raise FlyweightError(f"{network} is a run folder: check its recipe's network, {Path(network) / 'config.yaml'}")
    if not network.endswith(YAML):
        return None
    return job.absolute(recipes.load(network), Path(network).parent, pinned=False)


def _spec(
    shape: tuple[int, ...] | None, classes: int | None, recipe: Recipe | None, ruleset: RuleSet, source: str
) -> tuple[Spec, tuple[int, ...]]:
    """For which images and how many classes: as the options say, else the recipe's data, else the rule set.

    Returns:
        what the network is built for, and the sizes of its input: of a signal, (channels, length).
    """
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
        shape = input_shape(ruleset.input, f"{source}: input")
    classes = classes or ruleset.classes
    if classes is None:
        raise FlyweightError(f"the rules {source} do not say for how many classes: say it with --classes, such as 10")
    # a signal is an image of one line for whom builds the network
    return Spec.unnamed(classes, shape if len(shape) == 3 else (shape[0], 1, shape[1])), shape
