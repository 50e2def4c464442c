"""Rules about a training: how its images are augmented, and what it reaches. Before a training they are not judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, field_validator

from flyweight.recipes.sections import AugmentConfig
from flyweight.rules.rule import Evidence, Rule, Verdict
from flyweight.schema import suggestion


class Augmentations(Rule):
    """Training images are augmented by all of `transforms`.

    Attributes:
        transforms: numbers of a recipe's section `augment`, of which none may be 0: probabilities and strengths.
        cutout_size: side of the hole in pixels; none: any.
    """

    kind: Literal["augmentations"]
    transforms: tuple[str, ...] = Field(min_length=1)
    cutout_size: int | None = Field(None, ge=1)

    @field_validator("transforms")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = list(AugmentConfig.model_fields)
        for name in names:
            if name not in known:
                raise ValueError(
                    f"a recipe's section augment has no {name!r}{suggestion(name, known)}, only {', '.join(known)}"
                )
        return names

    def judge(self, evidence: Evidence, blocks: Sequence[str]) -> Verdict | None:
        """See :class:`Rule`."""
        chosen = evidence.augment
        if chosen is None:
            return None
        off = [name for name in self.transforms if not getattr(chosen, name)]
        if off:
            return self.fails(f"off in the recipe: {', '.join(off)}")
        detail = ", ".join(f"{name} {getattr(chosen, name):g}" for name in self.transforms)
        if self.cutout_size is None:
            return self.passes(detail)
        height, width = evidence.facts.input_shape[1:]
        side = chosen.hole(height, width)
        detail += f"; the hole is {side}x{side} pixels"
        if side != self.cutout_size:
            return self.fails(f"{detail}, must be {self.cutout_size}x{self.cutout_size}")
        return self.passes(detail)


class AccuracyAtLeast(Rule):
    """The last epoch recognises at least `minimum` percent of the test images.

    Attributes:
        minimum: accuracy in percent.
        data: name of the data set that it must be measured on, elsewhere it does not count; none: any.
    """

    kind: Literal["accuracy_at_least"]
    minimum: float = Field(ge=0, le=100)
    data: str | None = None

    def judge(self, evidence: Evidence, blocks: Sequence[str]) -> Verdict | None:
        """See :class:`Rule`."""
        if evidence.score is None:
            return None
        accuracy, data = evidence.score.accuracy, evidence.score.data
        reached = f"{accuracy:.2f} % at the last epoch"
        if self.data is not None and data != self.data:
            return Verdict(self.name, None, f"{reached}, of {data}: only {self.data} counts")
        margin = accuracy - self.minimum
        if margin < 0:
            return self.fails(f"{reached}: {-margin:.2f} points too few")
        return self.passes(f"{reached}: {margin:.2f} points to spare")
