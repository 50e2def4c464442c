"""What the trials have found: which networks nobody beats, and which are trained longer or with another seed."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import mean, median
from typing import Literal, NamedTuple

from flyweight.search.space import Candidate

Aim = Literal["macs", "memory", "latency"]
ENOUGH = 3
"""Networks trained on two rungs, from which on it is believed what the higher one changes."""
FACTOR = 3
"""One network in so many goes on to a training that is so many times as long, or to another seed."""
LONGER, AGAIN = 1.1, 1.05
"""What lacks more than this factor to beat the network to beat is trained no longer, and not again with another seed.

Of 31 networks that searches had trained to the end, the three that had more than 1.05 times the errors of the network
to beat after two epochs had 1.08 to 1.13 times its errors after six, and each took the time of eight short trainings.
With what :func:`drift_of` adds, about a twentieth there, 1.05 is 1.1.
"""
UNITS: dict[Aim, str] = {"macs": "MACs", "memory": "bytes of activations", "latency": "ms for one image"}
"""What may be minimised beside the errors, in which unit."""


class Rung(NamedTuple):
    """One training of a network; a higher one is longer, or as long with another seed.

    Attributes:
        epochs: of the training.
        seed: added to that of the recipe.
    """

    epochs: int
    seed: int = 0


@dataclass(frozen=True)
class Result:
    """A finished trial.

    Attributes:
        number: of the trial.
        name: of its network.
        candidate: the network.
        epochs: that it was trained for.
        accuracy: on the held-out images, in percent; see :func:`averaged`.
        cost: what is minimised, in its unit.
        parameters: of the network.
        seconds: that its epochs took.
        folder: name of its run folder.
        seed: of the training, added to that of the recipe.
        luck: percentage points of accuracy that may be luck; see :func:`averaged`.
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
    seed: int = 0
    luck: float = 0.0

    @property
    def rung(self) -> Rung:
        """What it was trained for."""
        return Rung(self.epochs, self.seed)

    @property
    def counted(self) -> float:
        """The accuracy by which it is compared, in percent."""
        return self.accuracy - self.luck

    def beats(self, other: Result) -> bool:
        """No worse in either, and better in one."""
        no_worse = self.counted >= other.counted and self.cost <= other.cost
        return no_worse and (self.counted > other.counted or self.cost < other.cost)


def ladder(epochs: int, count: int, factor: int, seeds: int = 1) -> tuple[Rung, ...]:
    """The trainings of a network, the shortest first: each a `factor`-th of the next, at least one epoch.

    Args:
        epochs: of the longest.
        count: how many lengths at most.
        factor: one network in so many goes on to the next.
        seeds: trainings of the longest length, each with another seed.
    """
    lengths = sorted({max(1, round(epochs / factor**place)) for place in range(count)})
    return (*map(Rung, lengths[:-1]), *(Rung(epochs, seed) for seed in range(seeds)))


def averaged(results: Sequence[Result]) -> list[Result]:
    """The same trials, each with the mean over its network's seeds, from the first to its own.

    Of many networks the luckiest leads. The standard deviation between seeds, pooled over all networks that were
    trained with several, divided by the root of their number is `luck`: what was trained with one seed counts that
    much less than what was trained with three.
    """
    reached: dict[tuple[str, int], dict[int, float]] = defaultdict(dict)
    for one in results:
        reached[one.name, one.epochs][one.seed] = one.accuracy
    groups = [list(group.values()) for group in reached.values() if len(group) > 1]
    squares = sum((accuracy - mean(group)) ** 2 for group in groups for accuracy in group)
    deviation = math.sqrt(squares / sum(len(group) - 1 for group in groups)) if groups else 0.0
    found = []
    for one in results:
        own = [accuracy for seed, accuracy in reached[one.name, one.epochs].items() if seed <= one.seed]
        found.append(replace(one, accuracy=round(mean(own), 4), luck=deviation / math.sqrt(len(own))))
    return found


def front(results: Iterable[Result]) -> list[Result]:
    """Those that no other one beats, the most accurate first; of equals the first trial."""
    found = sorted(results, key=lambda result: (-result.counted, result.cost, result.number))
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
        results: of trainings on one rung.
        reference: name of the network that all are compared with; empty: there is none.
        drift: what higher rungs make of errors as a multiple of the reference's: see :func:`drift_of`.
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
    return (100 - result.counted) / max(100 - reference.counted, 1e-9)


def drift_of(results: Sequence[Result], rung: Rung, reference: str) -> float:
    """How much more the others fall behind the reference in the longest trainings than on a rung.

    Cheap networks learn early, and of many the luckiest go on: what leads after two epochs may lose after six.

    Args:
        results: finished trials.
        rung: that they are on.
        reference: name of the network that all are compared with.

    Returns:
        The median of the errors after the longest trainings as multiples of the reference's, each divided by the same
        on the rung; 1 where fewer than three networks have been trained on both.
    """
    long = {one.name: one for one in compared(results) if one.rung > rung}
    short = {one.name: one for one in results if one.rung == rung}
    both = [name for name in long if name in short and name != reference]
    if len(both) < ENOUGH or reference not in long or reference not in short:
        return 1.0
    return median(
        _errors(long[name], long[reference]) / max(_errors(short[name], short[reference]), 1e-9) for name in both
    )


def longest(results: Iterable[Result]) -> list[Result]:
    """Of each network its longest training, with the last of its seeds."""
    found: dict[str, Result] = {}
    for result in results:
        if result.name not in found or result.rung > found[result.name].rung:
            found[result.name] = result
    return list(found.values())


def best(results: Sequence[Result], reference: str = "") -> list[Result]:
    """One result a network, those trained longest first, and within them the ranks: what new ones are bred from."""
    of_each = longest(results)
    lengths = sorted({result.epochs for result in of_each}, reverse=True)
    return [one for epochs in lengths for one in ranked((one for one in of_each if one.epochs == epochs), reference)]


def compared(results: Sequence[Result]) -> list[Result]:
    """The longest trainings, one a network: those that may be compared with one another and with nothing shorter."""
    most = max((result.epochs for result in results), default=0)
    return [result for result in longest(results) if result.epochs == most]


def promoted(
    results: Sequence[Result],
    begun: Iterable[tuple[str, Rung]],
    rungs: Sequence[Rung],
    factor: int,
    reference: str,
) -> tuple[Result, Rung] | None:
    """The network that is to be trained longer or with another seed now, and its next rung; none: no one has earned it.

    Of the trainings on a rung the best in each `factor` go on, as soon as there are so many. So does, besides, the
    network that all others are compared with. Beside it only what may still beat it goes on (:data:`LONGER`,
    :data:`AGAIN`), and the best one for longer in any case, so that a search has something to show.

    Args:
        results: finished trials.
        begun: name and rung of all trials, finished or not.
        rungs: the trainings of a network, the shortest first.
        factor: one in so many.
        reference: name of the network that the others are compared with; empty: there is none.
    """
    taken = set(begun)
    for place in reversed(range(len(rungs) - 1)):
        here = [result for result in results if result.rung == rungs[place]]
        quota = len(here) // factor
        drift = drift_of(results, rungs[place], reference)
        order = ranked(here, reference, drift)
        chosen = [result for result in order if result.name != reference][:quota]
        beaten = next((result for result in here if result.name == reference), None)
        if beaten is not None:
            longer = rungs[place + 1].epochs > rungs[place].epochs
            most = LONGER if longer else AGAIN
            hopeful = [result for result in chosen if _lack(result, beaten, drift)[0] <= most]
            chosen = hopeful or chosen[: int(longer)]
            chosen += [beaten] if chosen else []
        for result in chosen:
            if (result.name, rungs[place + 1]) not in taken:
                return result, rungs[place + 1]
    return None
