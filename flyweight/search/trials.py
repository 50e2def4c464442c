"""The trials of all workers: each is taken by one of them, given back where it dies, and finished once.

A trial waits, runs, and is finished; a worker that dies leaves it running. Whoever notices puts it back among those
that wait, under its own number and with its own run folder: it never leaves the study, so that it can neither be lost
nor be counted twice, and where two believe that it is theirs, the first to finish it decides. Optuna's own heartbeats
make a failed trial and a new one of it, and lose it where they are killed between the two, or before the first beat.

A worker is dead where it ran on this machine and its lock is free, or where it has not said anything for a minute.
"""

from __future__ import annotations

import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from flyweight.search.halving import Result, Rung, averaged
from flyweight.search.space import Candidate, candidate
from flyweight.search.storage import named

BEAT, GRACE = 10.0, 60.0
"""Seconds between two signs of life, and after how many without one a worker is taken for dead."""
DEATHS = 3
"""Workers that may die in a trial before it has failed."""
REPEATED = "repeated"


@dataclass(frozen=True)
class Taken:
    """A trial that is this worker's.

    Attributes:
        identity: of the trial in the storage.
        number: of the trial in the study.
        name: of its network.
        candidate: the network.
        rung: what to train it for.
        measured: what is known of the network from a shorter training.
    """

    identity: int
    number: int
    name: str
    candidate: Candidate
    rung: Rung
    measured: Mapping[str, float]

    @property
    def folder(self) -> str:
        """Name of its run folder: of one network there is one for each rung."""
        epochs, seed = self.rung
        return f"{self.name}-{epochs}-epoch{'s' if epochs > 1 else ''}{f'-seed-{seed}' if seed else ''}"


class Trials:
    """The trials of a study, as one worker sees them.

    Args:
        study: of the search.
        out: its folder on this machine.
        grace: seconds without a sign of life after which a worker is taken for dead.

    Attributes:
        worker: what this one is called: its machine, and its lock there.
        alone: nobody has worked in the folder before.
    """

    def __init__(self, study: optuna.Study, out: Path, grace: float = GRACE) -> None:
        self.study, self.grace = study, grace
        self.storage = study._storage  # Optuna hands it out nowhere else
        workers = out / "workers"
        workers.mkdir(parents=True, exist_ok=True)
        self._place = workers / f"{uuid.uuid4().hex}.lock"
        self._lock = FileLock(self._place)
        self._lock.acquire()
        self.worker = f"{socket.gethostname()}:{self._place.resolve()}"
        self.alone = len(list(workers.iterdir())) == 1
        self._seen: dict[int, tuple[Any, float]] = {}

    def close(self) -> None:
        """This worker has ended well: nothing of it is running."""
        self._lock.release()
        self._place.unlink(missing_ok=True)

    def all(self) -> list[FrozenTrial]:
        """Every trial, in the order of their numbers."""
        return self.study.get_trials(deepcopy=False)

    def results(self) -> list[Result]:
        """Of all that are finished, each with the mean over the seeds of its network."""
        return averaged([_result(trial) for trial in self.all() if trial.state is TrialState.COMPLETE])

    def add(self, name: str, one: Candidate, rung: Rung, choices: Mapping[str, tuple[Any, ...]], **attrs: Any) -> None:
        """Put a trial among those that wait, whole at once.

        Args:
            name: of the network.
            one: the network.
            rung: what to train it for.
            choices: what each of its numbers could have been, by the name of the number without its place.
            attrs: more to keep with it.
        """
        values = {**one.choices(), **rung._asdict()}
        possible: dict[str, BaseDistribution] = {
            key: CategoricalDistribution(choices[key.rpartition(".")[2]]) for key in values
        }
        kept = {"name": name, **rung._asdict(), "network": one.as_json(), **attrs}
        waiting = TrialState.WAITING
        self.study.add_trial(optuna.create_trial(state=waiting, params=values, distributions=possible, user_attrs=kept))

    def take(self, most: int | None) -> Taken | None:
        """The next one that waits, among the first `most`; none: there is none.

        Of two equal trials, which two workers may have proposed at the same moment, the later one is put aside.
        """
        counted, first = 0, set()
        for trial in self.all():
            if trial.user_attrs.get(REPEATED) is not None:
                continue
            same = named(trial)
            if same in first and trial.state is TrialState.WAITING:
                self._put_aside(trial)
                continue
            first.add(same)
            counted += 1
            if most is not None and counted > most:
                return None
            if trial.state is TrialState.WAITING and self._mine(trial):
                return _taken(trial)
        return None

    def _put_aside(self, trial: FrozenTrial) -> None:
        with suppress(optuna.exceptions.UpdateFinishedTrialError):  # where another worker has done so
            self.storage.set_trial_user_attr(trial._trial_id, REPEATED, True)
            self.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)

    def _mine(self, trial: FrozenTrial) -> bool:
        try:
            if not self.storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING):
                return False
            self.storage.set_trial_user_attr(trial._trial_id, "worker", self.worker)
        except optuna.exceptions.UpdateFinishedTrialError:
            return False
        return True

    def counted(self) -> int:
        """Trials of this search, whatever their state."""
        return sum(trial.user_attrs.get(REPEATED) is None for trial in self.all())

    def running(self) -> list[FrozenTrial]:
        """Those that a worker has taken and not finished."""
        return [trial for trial in self.all() if trial.state is TrialState.RUNNING]

    def requeue(self) -> list[tuple[int, str | None]]:
        """Put back what a dead worker has left; the number of each such trial, and why where it has failed instead.

        A trial whose workers have died again and again has failed: it may be what kills them.
        """
        changed: list[tuple[int, str | None]] = []
        for trial in [trial for trial in self.running() if self._lost(trial)]:
            deaths = trial.user_attrs.get("deaths", 0) + 1
            if deaths >= DEATHS:
                reason = f"{deaths} workers have died in it"
                if self._fail(trial._trial_id, reason):
                    changed.append((trial.number, reason))
                continue
            with suppress(optuna.exceptions.UpdateFinishedTrialError):
                self.storage.set_trial_user_attr(trial._trial_id, "deaths", deaths)
            if self._back(trial._trial_id):
                changed.append((trial.number, None))
        return changed

    def give_back(self, taken: Taken) -> None:
        """Put a trial back that is to be gone on with later."""
        self._back(taken.identity)

    def _back(self, identity: int) -> bool:
        try:
            return self.storage.set_trial_state_values(identity, TrialState.WAITING)
        except optuna.exceptions.UpdateFinishedTrialError:  # it was not dead, and has just finished
            return False

    def _lost(self, trial: FrozenTrial) -> bool:
        worker, beat = trial.user_attrs.get("worker"), trial.user_attrs.get("beat")
        lock = self._lock_of(worker)
        if worker != self.worker and lock is not None:
            try:
                with FileLock(lock, timeout=0):
                    return True
            except Timeout:
                return False
        now = time.monotonic()
        sign = (worker, beat)
        before, since = self._seen.get(trial._trial_id, (None, now))
        if before != sign:
            self._seen[trial._trial_id] = (sign, now)
            return False
        return now - since > self.grace

    def _lock_of(self, worker: Any) -> Path | None:
        """The lock of a worker of this machine, in this search's folder or another one's.

        A storage of somebody else's may name any file: only what is named as a lock counts.
        """
        host, _, place = (worker if isinstance(worker, str) else "").partition(":")
        lock = Path(place)
        if lock.parent.name != self._place.parent.name or not re.fullmatch(r"[0-9a-f]{32}\.lock", lock.name):
            lock = self._place.parent / lock.name
        return lock if host == socket.gethostname() and lock.is_file() and not lock.is_symlink() else None

    def finish(self, taken: Taken, accuracy: float, cost: float, **attrs: float | str) -> bool:
        """Write down what a trial has found, once; whether it was this worker who did."""
        try:
            for key, value in attrs.items():
                self.storage.set_trial_user_attr(taken.identity, key, value)
            return self.storage.set_trial_state_values(taken.identity, TrialState.COMPLETE, [accuracy, cost])
        except optuna.exceptions.UpdateFinishedTrialError:
            return False

    def fail(self, taken: Taken, reason: str) -> None:
        """A trial that came to no result."""
        self._fail(taken.identity, reason)

    def _fail(self, identity: int, reason: str) -> bool:
        try:
            self.storage.set_trial_user_attr(identity, "reason", reason)
            return self.storage.set_trial_state_values(identity, TrialState.FAIL)
        except optuna.exceptions.UpdateFinishedTrialError:
            return False

    @contextmanager
    def alive(self, taken: Taken) -> Iterator[None]:
        """Give signs of life while a trial is worked on."""
        over = threading.Event()

        def beat() -> None:
            number = 0
            while not over.wait(min(BEAT, self.grace / 3)):
                number += 1
                try:
                    self.storage.set_trial_user_attr(taken.identity, "beat", f"{self.worker} {number}")
                except Exception:  # finished by another, or a database that is away for a moment: the end of the trial
                    continue  # tells

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _taken(trial: FrozenTrial) -> Taken:
    name, rung = named(trial)
    network = candidate(trial.user_attrs["network"])
    return Taken(trial._trial_id, trial.number, name, network, rung, trial.user_attrs.get("measured", {}))


def _result(trial: FrozenTrial) -> Result:
    attrs, (accuracy, cost) = trial.user_attrs, trial.values
    name, (epochs, seed) = named(trial)
    return Result(
        number=trial.number,
        name=name,
        candidate=candidate(attrs["network"]),
        epochs=epochs,
        accuracy=accuracy,
        cost=cost,
        parameters=attrs["parameters"],
        seconds=attrs["seconds"],
        folder=attrs["folder"],
        seed=seed,
    )
