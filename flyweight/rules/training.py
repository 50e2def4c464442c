"""Rules about a training: how its images are augmented, and what it reaches. Before a training they are not judged."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from flyweight.recipes.sections import AugmentConfig
from flyweight.rules.rule import Blocks, Evidence, Rule, Verdict
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

    def judge(self, evidence: Evidence, blocks: Blocks) -> Verdict | None:
        """See :class:`Rule`."""
        chosen = evidence.augment
        if chosen is None:
            return None
        off = [name for name in self.transforms if not getattr(chosen, name)]
        if off:
            defaults = AugmentConfig()
            sets = " ".join(f"--set augment.{name}={getattr(defaults, name):g}" for name in off)
            return self.fails(f"off in the recipe: {', '.join(off)}", cure=f"turn them on: {sets}", short=len(off))
        detail = ", ".join(f"{name} {getattr(chosen, name):g}" for name in self.transforms)
        if self.cutout_size is None:
            return self.passes(detail)
        height, width = (1, *evidence.facts.input_shape[1:])[-2:]  # a signal is one line
        side = chosen.hole(height, width)
        detail += f"; the hole is {side}x{side} pixels"
        if side != self.cutout_size:
            cure = f"--set augment.cutout_size={self.cutout_size}"
            return self.fails(f"{detail}, must be {self.cutout_size}x{self.cutout_size}", cure=cure)
        return self.passes(detail)


class AccuracyAtLeast(Rule):
    """The last epoch recognises at least `minimum` percent of the test images.

    Attributes:
        minimum: accuracy in percent.
        data: name of the data set that it must be measured on, elsewhere it does not count; none: any.
        by: the accuracy itself, or the lower end of its 95 % interval, which few test images pull down.
    """

    kind: Literal["accuracy_at_least"]
    minimum: float = Field(ge=0, le=100)
    data: str | None = None
    by: Literal["accuracy", "lower_end"] = "accuracy"

    def judge(self, evidence: Evidence, blocks: Blocks) -> Verdict | None:
        """See :class:`Rule`."""
        if evidence.score is None:
            return None
        accuracy, data = evidence.score.accuracy, evidence.score.data
        reached = f"{accuracy:.2f} % at the last epoch"
        if self.by == "lower_end":
            if evidence.score.least is None:
                return None
            accuracy = evidence.score.least
            reached += f", at least {accuracy:.2f} % by its 95 % interval"
        if self.data is not None and data != self.data:
            return Verdict(self.name, None, f"{reached}, of {data}: only {self.data} counts")
        margin = accuracy - self.minimum
        if margin < 0:
            return self.fails(f"{reached}: {-margin:.2f} points too few", short=-margin)
        return self.passes(f"{reached}: {margin:.2f} points to spare")


class NoPretrainedWeights(Rule):
    """The training starts from random weights, and nobody teaches it.

    What a class of the user's own loads while it is built, no program can tell from weights that it draws.

    Attributes:
        teacher: whether another network's answers may be learnt beside the labels.
    """

    kind: Literal["no_pretrained_weights"]
    teacher: Literal["allowed", "forbidden"] = "forbidden"

    def judge(self, evidence: Evidence, blocks: Blocks) -> Verdict | None:
        """See :class:`Rule`."""
        train = evidence.train
        if train is None:
            return None
        if train.start is not None:
            return self.fails(f"it starts from the weights of {train.start}", cure="--set train.start=null")
        if train.teacher is not None and self.teacher == "forbidden":
            return self.fails(f"{train.teacher} teaches it", cure="--set train.teacher=null")
        return self.passes("it starts from random weights" + ", and no network teaches it" * (train.teacher is None))
