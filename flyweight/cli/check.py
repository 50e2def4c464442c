"""`flyweight check`: a network against a rule set."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import Annotated

from cyclopts import Parameter

from flyweight.cli.console import answer, answer_json
from flyweight.cli.options import JsonOption, command, image_shape
from flyweight.errors import FlyweightError

app = command("check", "check dilated", "check my_network.py:Net --input 1,64,64 --classes 5", "check course --json")


@app.default
def check(
    network: str,
    /,
    *,
    shape: Annotated[
        str | None,
        Parameter(name="--input", help="Channels, height and width of an image; by default what the rule set says."),
    ] = None,
    classes: Annotated[int | None, Parameter(help="How many; by default as many as the rule set says.")] = None,
    rules: Annotated[str, Parameter(help="A built-in rule set or a YAML file of yours.")] = "brief",
    as_json: JsonOption = False,
) -> int:
    """Check a network against a rule set: parameters, MACs, receptive field, layers; what fails, where, and the cure.

    Exit code 0 when every rule passes, 1 when one fails, 2 when the call is wrong.

    Args:
        network: A built-in network or path/to/file.py:ClassName (built without arguments, or with num_classes alone).
    """
    from flyweight import analysis
    from flyweight import rules as rule_sets
    from flyweight.images.spec import Spec
    from flyweight.networks.build import build
    from flyweight.recipes.sections import ModelConfig
    from flyweight.rules import summary

    if classes is not None and classes < 1:
        raise FlyweightError(f"--classes {classes}: there must be at least 1")
    asked = None if shape is None else image_shape(shape, "--input")
    ruleset = rule_sets.load_ruleset(rules)
    if asked is None:
        if ruleset.input is None:
            raise FlyweightError(f"the rules {rules} do not say for which images: say it with --input, such as 1,28,28")
        asked = image_shape(ruleset.input, f"{rules}: input")
    classes = classes or ruleset.classes
    if classes is None:
        raise FlyweightError(f"the rules {rules} do not say for how many classes: say it with --classes, such as 10")
    with redirect_stdout(sys.stderr):  # a network of the user's may print
        facts = analysis.analyze(build(ModelConfig(network=network), Spec.unnamed(classes, asked)), asked)
    verdict = rule_sets.check(facts, ruleset)
    if as_json:
        answer_json(summary.as_json(facts, verdict))
    else:
        answer(summary.render(facts, verdict))
    return 0 if verdict.passed else 1
