"""What is to be judged, and the judging."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from pydantic import Field

from flyweight.analysis import Facts
from flyweight.images.spec import Spec
from flyweight.networks.custom import unheard
from flyweight.recipes.sections import ModelConfig
from flyweight.rules import Judgement
from flyweight.schema import Section


class Task(Section):
    """One network by one rule set. It can be written down, for a process of its own."""

    name: str = Field(description="as it was called by whoever asks")
    model: ModelConfig = Field(description="with paths that hold from anywhere")
    rules: str = Field(description="a built-in rule set, or the absolute path of one")
    channels: int = Field(ge=1)
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    classes: int = Field(ge=1)
    blocks: tuple[str, ...] = Field((), description="that stand for the rule set's, or auto; none: the rule set's")
    signal: int = Field(0, ge=0, le=1, description="1: its input is (channels, width), without a height")
    folder: str = Field(description="that modules which are not installed lie in")
    said: tuple[tuple[str, str], ...] = Field(
        (), description="absolute paths and how whoever asks called them: so they are told"
    )

    @classmethod
    def of(
        cls, name: str, model: ModelConfig, rules: str, spec: Spec, said: tuple[tuple[str, str], ...], **more: Any
    ) -> Task:
        """A task for images and classes such as these."""
        channels, height, width = spec.shape
        return cls(
            name=name, model=model, rules=rules, channels=channels, height=height, width=width,
            classes=len(spec.classes), folder=str(Path.cwd()), said=said, **more,
        )  # fmt: skip

    def told(self, text: str) -> str:
        """A message with the names that whoever asks used."""
        for path, name in self.said:
            text = text.replace(path, name)
        return text


def judge(task: Task, tell: Callable[[str], None] = unheard) -> tuple[Facts, Judgement]:
    """Build a network, analyse and judge it; what its code prints goes to standard error.

    Raises:
        FlyweightError: it cannot be built or run.
    """
    from flyweight import analysis, rules
    from flyweight.networks.build import build

    ruleset = rules.load_ruleset(task.rules)
    if task.blocks:
        ruleset = ruleset.with_blocks(rules.named_blocks(task.blocks))
    spec = Spec.unnamed(task.classes, (task.channels, task.height, task.width))
    with redirect_stdout(sys.stderr):
        shape = (task.channels, task.width) if task.signal else spec.shape
        facts = analysis.analyze(build(task.model, spec, tell), shape)
        return facts, rules.check(facts, ruleset)


def answered(task: Task, tell: Callable[[str], None] = unheard) -> dict[str, Any]:
    """The same as plain values: ``facts`` as `--json` prints them, and ``text`` as a person reads them."""
    from flyweight.rules import summary

    facts, judgement = judge(task, tell)
    return {"facts": summary.as_json(facts, judgement), "text": summary.render(facts, judgement)}
