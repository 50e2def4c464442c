"""What a training tells while it goes on: rows of its history, and who listens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Observer(Protocol):
    """Who is told how a training goes; the command line draws a progress bar with it."""

    def start(self, epoch: int, epochs: int, step: int, steps: int, images: int) -> None:
        """An epoch (from 0) begins at a step; ``images`` go into each step."""

    def step(self, step: int, loss: float | None) -> None:
        """So many steps of the epoch are done; the loss is told now and then."""

    def epoch(self, line: str) -> None:
        """An epoch has ended; the line is the one in the log."""

    def note(self, message: str) -> None:
        """Something that the user should know."""


@dataclass
class Epoch:
    """A row of the history.

    Losses are means an image: in training of what was minimised (with smoothed labels, class weights, a teacher's
    answers), in the test of cross-entropy alone. Accuracies are in percent, the learning rate is the last step's (muon:
    that of the dense layers' weights); the seconds are those of the training and the test pass together, the images a
    second those of the training alone.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_correct: int
    test_total: int
    test_accuracy: float
    learning_rate: float
    seconds: float
    images_per_second: float

    def line(self, epochs: int, split: str) -> str:
        """The row as a line of the log."""
        return (
            f"Epoch {self.epoch}/{epochs} | train: loss {self.train_loss:.4f}, accuracy {self.train_accuracy:.2f}% |"
            f" {split}: average loss {self.test_loss:.4f},"
            f" accuracy {self.test_correct}/{self.test_total} ({self.test_accuracy:.2f}%) |"
            f" learning rate {self.learning_rate:.6f} | {self.seconds:.1f} s, {self.images_per_second:,.0f} images/s"
        )
