"""What a report is about."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from flyweight import analysis, rules
from flyweight.data import findings
from flyweight.data.dataset import Dataset, silent
from flyweight.data.scan import Scan, scan
from flyweight.evaluation.scores import Evaluation
from flyweight.recipes.sections import Recipe
from flyweight.report import augmentations
from flyweight.runs.card import Trained
from flyweight.runs.folder import Run
from flyweight.runs.names import WEIGHTS


@dataclass(frozen=True)
class Subject:
    """A run and all that is known of it.

    Attributes:
        run: whose training has ended.
        recipe: of the run.
        trained: its network.
        dataset: what it was trained on.
        scores: of the network on the test split.
        ruleset: of the recipe; none: it asks for no rules.
    """

    run: Run
    recipe: Recipe
    trained: Trained
    dataset: Dataset
    scores: Evaluation
    ruleset: rules.RuleSet | None

    @property
    def split(self) -> str:
        """What the accuracy is of, in a word."""
        return self.dataset.tested

    @cached_property
    def facts(self) -> analysis.Facts:
        """Of the network at the size of the data's images."""
        return analysis.analyze(self.trained.model, self.trained.card.input_shape)

    @cached_property
    def judgement(self) -> rules.Judgement | None:
        """Of the network and its training; None where there are no rules."""
        if self.ruleset is None:
            return None
        weights = self.run.folder / WEIGHTS
        score = rules.Score(
            self.scores.accuracy,
            self.dataset.name,
            least=self.scores.interval[0],
            file_bytes=weights.stat().st_size if weights.is_file() else None,
        )
        return rules.check(self.facts, self.ruleset, self.recipe.augment, score, self.recipe.train)

    @cached_property
    def transforms(self) -> list[augmentations.Augmentation]:
        """Of the training images."""
        return augmentations.listed(self.recipe.augment, self.dataset)

    @cached_property
    def scan(self) -> Scan | None:
        """Of the data; None where the images are always the same and were looked through by others."""
        return None if self.dataset.origin is None else scan(self.dataset, silent)

    @property
    def found(self) -> list[tuple[str, str]]:
        """(label, text) of what the scan found that bears on the result."""
        if self.scan is None:
            return []
        return [row for row in findings.facts(self.scan) if row[0] in ("classes", "left out", "equal", "nearly equal")]
