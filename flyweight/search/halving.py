"""What the trials have found: which networks nobody beats, and which are trained longer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from flyweight.search.space import Candidate

Aim = Literal["macs", "memory", "latency"]
ENOUGH = 3
"""Networks trained for two lengths, from which on it is believed what the longer one changes."""
FACTOR = 3
"""One network in so many goes on to a training that is so many times as long."""
UNITS: dict[Aim, str] = {"macs": "MACs", "memory": "bytes of activations", "latency": "ms for one image"}
"""What may be minimised beside the errors, in which unit."""


@dataclass(frozen=True)
class Result:
    """A finished trial.

    Attributes:
        number: of the trial.
        name: of its network.
        candidate: the network.
        epochs: that it was trained for.
        accuracy: on the held-out images, in percent.
        cost: what is minimised, in its unit.
        parameters: of the network.
        seconds: that its epochs took.
        folder: name of its run folder.
    """

    number: int
    name: str
    candidate: Candidate
    epochs: int
    accuracy: float
    cost: float
    parameters: int
    seconds: float
    folder: str

    def beats(self, other: Result) -> bool:
        """No worse in either, and better in one."""
        no_worse = self.accuracy >= other.accuracy and self.cost <= other.cost
        return no_worse and (self.accuracy > other.accuracy or self.cost < other.cost)


def rungs(epochs: int, count: int, factor: int) -> tuple[int, ...]:
    """Epochs of each training of a network, the shortest first: each a `factor`-th of the next, at least one.

    Args:
        epochs: of the longest.
        count: how many at most.
        factor: one network in so many goes on to the next.
    """
    return tuple(sorted({max(1, round(epochs / factor**place)) for place in range(count)}))


def front(results: Iterable[Result]) -> list[Result]:
    """Those that no other one beats, the most accurate first; of equals the first trial."""
    found = sorted(results, key=lambda result: (-result.accuracy, result.cost, result.number))
    kept: list[Result] = []
    for result in found:
        if not kept or result.cost < kept[-1].cost:
            kept.append(result)
    return kept


def ranked(results: Iterable[Result], reference: str = "", drift: float = 1.0) -> list[Result]:
    """What is most worth going on with comes first.

    With a network that all are compared with: what beats it, then what needs the smallest change to do so. A network
    with a twentieth more errors and one with a twentieth more cost lack equally much; of equals the one with the least
    errors times cost is first. Without one: the front, then the front of the others and so on; within a front the most
    accurate first.

    Args:
        results: of trainings of one length.
        reference: name of the network that all are compared with; empty: there is none.
        drift: what longer trainings make of errors as a multiple of the reference's: see :func:`drift_of`.
    """
    left, order = list(results), list[Result]()
    compared_with = next((result for result in left if result.name == reference), None)
    if compared_with is not None:
        return sorted(left, key=lambda result: _lack(result, compared_with, drift))
    while left:
        best = front(left)
        order += best
        left = [result for result in left if result not in best]
    return order


def _lack(result: Result, reference: Result, drift: float) -> tuple[float, float, int]:
    """How far a network is from beating another, as factors of errors and cost; 1: it does no worse in either."""
    errors = _errors(result, reference) * (1.0 if result is reference else drift)
    cost = result.cost / max(reference.cost, 1e-9)
    return max(errors, 1) * max(cost, 1), errors * cost, result.number


def _errors(result: Result, reference: Result) -> float:
    return (100 - result.accuracy) / max(100 - reference.accuracy, 1e-9)


def drift_of(results: Sequence[Result], epochs: int, reference: str) -> float:
    """How much more the others fall behind the reference in the longest trainings than in those of a length.

    Cheap networks learn early, and of many the luckiest go on: what leads after two epochs may lose after six.

    Args:
        results: finished trials.
        epochs: the length.
        reference: name of the network that all are compared with.

    Returns:
        The median of the errors after the longest trainings as multiples of the reference's, each divided by the same
        after those of the length; 1 where fewer than three networks have been trained for both.
    """
    long = {one.name: one for one in compared(results) if one.epochs > epochs}
    short = {one.name: one for one in results if one.epochs == epochs}
    both = [name for name in long if name in short and name != reference]
    if len(both) < ENOUGH or reference not in long or reference not in short:
        return 1.0
    return median(
        _errors(long[name], long[reference]) / max(_errors(short[name], short[reference]), 1e-9) for name in both
    )


def longest(results: Iterable[Result]) -> list[Result]:
    """Of each network its longest training."""
    found: dict[str, Result] = {}
    for result in results:
        if result.name not in found or result.epochs > found[result.name].epochs:
            found[result.name] = result
    return list(found.values())


def best(results: Sequence[Result], reference: str = "") -> list[Result]:
    """One result a network, those trained longest first, and within them the ranks: what new ones are bred from."""
    of_each = longest(results)
    steps = sorted({result.epochs for result in of_each}, reverse=True)
    return [one for epochs in steps for one in ranked((one for one in of_each if one.epochs == epochs), reference)]


def compared(results: Sequence[Result]) -> list[Result]:
    """The longest trainings: those that may be compared with one another and with nothing shorter."""
    most = max((result.epochs for result in results), default=0)
    return [result for result in results if result.epochs == most]


def promoted(
    results: Sequence[Result], begun: Iterable[tuple[str, int]], steps: Sequence[int], factor: int, reference: str
) -> tuple[Result, int] | None:
    """The network that is to be trained longer now, and for how many epochs; none: no one has earned it.

    Of the trainings of a length the best in each `factor` go on, as soon as there are so many. So does the network
    that all others are compared with.

    Args:
        results: finished trials.
        begun: name and epochs of all trials, finished or not.
        steps: epochs, the shortest training first.
        factor: one in so many.
        reference: name of the network that the others are compared with; empty: there is none.
    """
    taken = set(begun)
    for place in reversed(range(len(steps) - 1)):
        here = [result for result in results if result.epochs == steps[place]]
        quota = len(here) // factor
        chosen = ranked(here, reference, drift_of(results, steps[place], reference))[:quota]
        chosen += [result for result in here if result.name == reference and quota]
        for result in chosen:
            if (result.name, steps[place + 1]) not in taken:
                return result, steps[place + 1]
    return None
