"""For tests of a network's own: it obeys a rule set, or the test fails with what to do about it.

from flyweight.testing import assert_rules

def test_my_network():
assert_rules(Net(), "my_rules.yaml", (1, 28, 28))
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from flyweight.rules import Judgement, RuleSet


def assert_rules(
    model: nn.Module,
    rules: str | Path | RuleSet,
    shape: Sequence[int] | None = None,
    blocks: str | Sequence[str] | None = None,
) -> Judgement:
    """Assert that a network obeys a rule set.

    Args:
        model: any module that takes one float tensor (N, C, H, W), or (N, C, length).
        rules: a built-in rule set, the path of a YAML file, or a loaded one.
        shape: (C, H, W) of an image or (C, length) of a signal; none: what the rule set says.
        blocks: submodules that are its blocks, where they are called otherwise than in the rule set; or ``auto``.

    Returns:
        the verdicts, when no rule fails.

    Raises:
        AssertionError: a rule fails; each failure is a line with what was found, the layer and the cure.
        FlyweightError: the rule set is wrong, or the network cannot run.
    """
    __tracebackhide__ = True  # pytest shows the line of the test, not this one
    from flyweight import analysis
    from flyweight import rules as rule_sets
    from flyweight.errors import FlyweightError
    from flyweight.rules.reports import told

    ruleset = rules if isinstance(rules, rule_sets.RuleSet) else rule_sets.load_ruleset(rules)
    if blocks is not None:
        ruleset = ruleset.with_blocks(rule_sets.named_blocks(blocks))
    if shape is None:
        if ruleset.input is None:
            raise FlyweightError(f"{ruleset.title} does not say for which images: give a shape, such as (1, 28, 28)")
        shape = tuple(int(size) for size in ruleset.input.split(","))
    judgement = rule_sets.check(analysis.analyze(model, shape), ruleset)
    failed = [verdict for verdict in judgement.verdicts if verdict.passed is False]
    if failed:
        lines = "".join(f"\n  {verdict.name}: {told(verdict)}" for verdict in failed)
        raise AssertionError(f"{type(model).__name__} breaks {judgement.title}:{lines}")
    return judgement
