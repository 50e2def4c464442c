"""The loop of one worker: take a trial or propose one, train it, write down what it has found."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from flyweight.errors import DivergedError
from flyweight.recipes.sections import Recipe
from flyweight.search import told
from flyweight.search.halving import Aim, Result, Rung, best, promoted
from flyweight.search.legal import Judge
from flyweight.search.propose import ExhaustedError, Proposer
from flyweight.search.space import Candidate
from flyweight.search.storage import named
from flyweight.search.training import InUseError, Trainer, cost
from flyweight.search.trials import Taken, Trials
from flyweight.training.history import Observer

PAUSE = 0.5
"""Seconds between two looks, while all that is left is other workers'."""
REDRAWN = 5.0
"""Seconds between two pictures: small networks are trained faster than they are drawn."""


@dataclass(frozen=True)
class Plan:
    """What is searched for.

    Attributes:
        out: the folder.
        recipe: how to train the winners: as it was asked for, on all images.
        prefix: of the names of new networks.
        aim: what is minimised beside the errors.
        rungs: the trainings of a network, the shortest first.
        factor: one network in so many is trained longer, or with another seed.
        known: names and networks that the search begins with; the first is what the others are compared with.
        most: trials in all; none: until the time is up.
        seconds: that this worker takes at most; none: any.
    """

    out: Path
    recipe: Recipe
    prefix: str
    aim: Aim
    rungs: tuple[Rung, ...]
    factor: int
    known: Sequence[tuple[str, Candidate]]
    most: int | None
    seconds: float | None

    @property
    def reference(self) -> str:
        """Name of the network that the others are compared with; empty: there is none."""
        return self.known[0][0] if self.known else ""


class Clock:
    """The time of one worker; when it is up, the training under way is asked to stop, as Ctrl-C would."""

    def __init__(self, seconds: float | None) -> None:
        self.until = None if seconds is None else time.monotonic() + seconds
        self.rung = False

    @property
    def up(self) -> bool:
        """Whether no more trials are begun."""
        return self.until is not None and time.monotonic() >= self.until

    def look(self) -> None:
        """In a training: ask it to stop where the time is up."""
        if self.up and not self.rung:
            self.rung = True
            signal.raise_signal(signal.SIGINT)


class Timed:
    """The observer of a training that is over when the worker's time is."""

    def __init__(self, observer: Observer, clock: Clock) -> None:
        self.observer, self.clock = observer, clock

    def start(self, epoch: int, epochs: int, step: int, steps: int, images: int) -> None:
        """An epoch begins."""
        self.observer.start(epoch, epochs, step, steps, images)

    def step(self, step: int, loss: float | None) -> None:
        """So many steps are done."""
        self.observer.step(step, loss)
        self.clock.look()

    def epoch(self, line: str) -> None:
        """An epoch has ended: a line each would be too many."""

    def note(self, message: str) -> None:
        """Something that the user should know."""
        self.observer.note(message)


class Worker:
    """One process of a search.

    Args:
        plan: what is searched for.
        trials: of all workers.
        proposer: of new networks.
        trainer: of trials.
        tell: prints a line.
        observe: makes the observer of one training.
    """

    def __init__(
        self,
        plan: Plan,
        trials: Trials,
        proposer: Proposer,
        trainer: Trainer,
        tell: Callable[[str], None],
        observe: Callable[[], AbstractContextManager[Observer]],
    ) -> None:
        self.plan, self.trials, self.proposer, self.trainer = plan, trials, proposer, trainer
        self.judge: Judge = proposer.judge
        self.tell, self.observe = tell, observe
        self.proposing = 0.0
        self.finished = 0
        self._front: list[str] = []
        self._drawn = -REDRAWN

    def run(self) -> None:
        """Search until there are enough trials or the time is up.

        Raises:
            KeyboardInterrupt: somebody asked to stop; what was begun waits for the next worker.
            FlyweightError: there is no legal network, or the storage is gone.
        """
        clock, waiting = Clock(self.plan.seconds), False
        while not clock.up:
            for number, failed in self.trials.requeue():
                then = "it is taken up again" if failed is None else f"it has failed: {failed}"
                self.tell(f"trial {number}: its worker is gone, and {then}")
            taken = self.trials.take(self.plan.most)
            if taken is not None:
                waiting = False
                self._work(taken, clock)
            elif self.plan.most is None or self.trials.counted() < self.plan.most:
                try:
                    self._propose()
                except ExhaustedError as error:
                    self.tell(str(error))
                    return
            elif self.trials.running():
                if not waiting:
                    self.tell("all trials are taken; waiting for those of other workers, should one of them die")
                waiting = True
                time.sleep(PAUSE)
            else:
                return

    def _propose(self) -> None:
        """Put one more trial among those that wait: a known network, a longer training, or a new network."""
        began = time.perf_counter()
        plan, results = self.plan, self.trials.results()
        begun = [named(trial) for trial in self.trials.all()]
        names = {name for name, _ in begun}
        longer = promoted(results, begun, plan.rungs, plan.factor, plan.reference)
        first = next(((name, one) for name, one in plan.known if name not in names), None)
        if longer is not None:
            result, rung = longer
            self._add(result.name, result.candidate, rung, measured={"cost": result.cost})
        elif first is not None:
            self._add(*first, plan.rungs[0])
        else:
            parents = [result.candidate for result in best(results, plan.reference)] or [one for _, one in plan.known]
            tried = {name.removeprefix(f"{plan.prefix}-") for name in names} | {one.key for _, one in plan.known}
            one = self.proposer.propose(parents[: max(4, len(parents) // 3)], tried)
            self._add(f"{plan.prefix}-{one.key}", one, plan.rungs[0])
        self.proposing += time.perf_counter() - began

    def _add(self, name: str, one: Candidate, rung: Rung, **attrs: object) -> None:
        self.trials.add(name, one, rung, self.judge.space.choices(self.plan.rungs), **attrs)

    def _work(self, taken: Taken, clock: Clock) -> None:
        facts = self.judge.facts(taken.candidate)
        assert facts is not None
        with self.trials.alive(taken):
            try:
                spent = taken.measured.get("cost") or cost(self.plan.aim, taken.candidate, facts, self.judge.spec)
                with self.observe() as observer:
                    history = self.trainer.train(taken, Timed(observer, clock))
            except InUseError:
                time.sleep(PAUSE)  # it is another worker's after all, who will finish it
                return
            except DivergedError as error:
                self.trials.fail(taken, str(error))
                self.tell(f"trial {taken.number}: {taken.name}: {error}")
                return
            except KeyboardInterrupt:
                self.trials.give_back(taken)
                if clock.rung:
                    return
                raise
            except BaseException:
                self.trials.give_back(taken)
                raise
        seconds = sum(row.seconds for row in history)
        ours = self.trials.finish(
            taken,
            history[-1].test_accuracy,
            spent,
            parameters=facts.parameters,
            seconds=round(seconds, 2),
            folder=taken.folder,
        )
        self.trainer.clear(taken)
        if ours:
            self.finished += 1
            self._tell(taken, history[-1].test_accuracy, spent, seconds)

    def _tell(self, taken: Taken, accuracy: float, spent: float, seconds: float) -> None:
        plan, results = self.plan, self.trials.results()
        epochs, seed = taken.rung
        length = f"{epochs} epoch{'s' if epochs > 1 else ''}{f', seed {seed}' if seed else ''}"
        self.tell(
            f"trial {taken.number}: {taken.name}, {length}: {accuracy:.2f} %, {told.cost_text(plan.aim, spent)}"
            f" {plan.aim}, {seconds:.1f} s"
        )
        if time.monotonic() >= self._drawn + REDRAWN:
            self.write(results)
            self._drawn = time.monotonic()
        lines = told.table(results, plan.aim, plan.reference)
        if lines != self._front:
            self._front = lines
            self.tell("\n".join(lines))

    def write(self, results: Sequence[Result]) -> list[Path]:
        """Draw the picture and write the recipes of the front."""
        known = [name for name, _ in self.plan.known]
        return told.write(self.plan.out, results, self.plan.aim, known, self.plan.recipe) if results else []
