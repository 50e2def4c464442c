"""Which networks go on to a longer training, and what the front is."""

import pytest

from flyweight.recipes.network import Network, Row
from flyweight.search.halving import Result, best, compared, drift_of, front, promoted, ranked, rungs
from flyweight.search.space import Candidate

ANY = Candidate(Network(blocks=((Row(width=4),),)))


def result(name, accuracy, cost, epochs=1, number=0):
    return Result(number, name, ANY, epochs, accuracy, cost, 1, 1.0, name)


def test_lengths_are_thirds_of_one_another():
    assert rungs(6, 3, 3) == (1, 2, 6)
    assert rungs(27, 3, 3) == (3, 9, 27)
    assert rungs(1, 3, 3) == (1,)
    assert rungs(12, 1, 3) == (12,)


def test_the_front_is_what_nothing_beats_and_of_equals_the_first():
    results = [result("a", 80, 10), result("b", 70, 5), result("c", 75, 12), result("d", 80, 10, number=1)]
    assert [one.name for one in front(results)] == ["a", "b"]
    assert [one.name for one in ranked(results)] == ["a", "b", "d", "c"]
    for one in results:
        assert (one in front(results)) == (one.number == 0 and not any(other.beats(one) for other in results))


def test_what_beats_the_reference_comes_first_and_then_what_lacks_least():
    results = [
        result("large", 82, 15),  # 1.5 times the cost
        result("reference", 80, 10),
        result("small", 78, 5),  # 1.1 times the errors
        result("tiny", 40, 1),  # three times the errors
        result("cheaper", 80, 9.9),
        result("better", 81, 10),
        result("worse", 78, 11),  # 1.1 times both
    ]
    names = [one.name for one in ranked(results, "reference")]
    assert names == ["better", "cheaper", "reference", "small", "worse", "large", "tiny"]
    assert ranked([result("a", 100, 0), result("b", 100, 0, number=1)], "a")[0].name == "a"


def test_one_in_three_goes_on_and_none_twice():
    steps, results = (1, 3, 9), [result(name, 50 + at, 10) for at, name in enumerate("abcdef")]
    begun = [(one.name, 1) for one in results]
    assert promoted(results[:2], begun, steps, 3, "") is None
    found, epochs = promoted(results, begun, steps, 3, "")
    assert (found.name, epochs) == ("f", 3)
    found, _ = promoted(results, [*begun, ("f", 3)], steps, 3, "")
    assert found.name == "e"
    assert promoted(results, [*begun, ("f", 3), ("e", 3)], steps, 3, "") is None


def test_the_reference_goes_on_whatever_it_reached():
    results = [result(name, 50 + at, 10) for at, name in enumerate("abc")]
    begun = [*((one.name, 1) for one in results), ("c", 3)]
    assert promoted(results, begun, (1, 3), 3, "a") == (results[0], 3)
    assert promoted(results[:2], begun, (1, 3), 3, "a") is None


def test_a_longer_training_goes_first():
    short = [result(name, 50 + at, 10) for at, name in enumerate("abcdef")]
    long = [result(name, 60, 10 + at, 3) for at, name in enumerate("abc")]
    found, epochs = promoted([*short, *long], [(one.name, one.epochs) for one in (*short, *long)], (1, 3, 9), 3, "")
    assert (found.name, epochs) == ("a", 9)


def test_networks_are_bred_from_those_that_were_trained_longest():
    results = [result("a", 50, 10), result("a", 60, 10, 3), result("b", 55, 10), result("c", 56, 10)]
    assert [one.name for one in best(results)] == ["a", "c", "b"]
    assert [one.name for one in compared(results)] == ["a"]
    assert compared([]) == []


@pytest.mark.parametrize("worse", [(79, 10), (80, 11), (79, 11)])
def test_what_is_worse_in_one_and_better_in_none_is_beaten(worse):
    assert result("a", 80, 10).beats(result("b", *worse))
    assert not result("b", *worse).beats(result("a", 80, 10))


def test_who_goes_on_is_chosen_by_what_longer_trainings_have_made_of_the_others():
    reference = [result("reference", 80, 10), result("reference", 90, 10, 3)]
    # each has 1.0 times the reference's errors after one epoch, and 1.2 times after three
    fallen = [result(name, accuracy, 11, epochs) for name in "abc" for accuracy, epochs in ((80, 1), (88, 3))]
    cheap, dear = result("cheap", 80.2, 9), result("dear", 84, 11)
    assert drift_of([*reference, *fallen[:4]], 1, "reference") == 1.0
    results = [*reference, *fallen, cheap, dear]
    assert drift_of(results, 1, "reference") == pytest.approx(1.2)
    assert drift_of(results, 3, "reference") == 1.0
    begun = [(one.name, one.epochs) for one in results]
    assert [one.name for one in ranked([reference[0], cheap, dear], "reference")] == ["cheap", "reference", "dear"]
    # the cheap one is expected to have 1.19 times the errors, the dear one has 1.1 times the cost
    assert promoted(results, begun, (1, 3), 3, "reference") == (dear, 3)
