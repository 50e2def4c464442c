"""Which networks go on to a longer training, and what the front is."""

import pytest

from flyweight.recipes.network import Network, Row
from flyweight.search.halving import (
    Result,
    Rung,
    averaged,
    best,
    compared,
    drift_of,
    front,
    ladder,
    promoted,
    ranked,
)
from flyweight.search.space import Candidate

ANY = Candidate(Network(blocks=((Row(width=4),),)))


def result(name, accuracy, cost, epochs=1, number=0, seed=0):
    return Result(number, name, ANY, epochs, accuracy, cost, 1, 1.0, name, seed)


def lengths(*epochs):
    return tuple(map(Rung, epochs))


def test_lengths_are_thirds_of_one_another():
    assert ladder(6, 3, 3) == lengths(1, 2, 6)
    assert ladder(27, 3, 3) == lengths(3, 9, 27)
    assert ladder(1, 3, 3) == lengths(1)
    assert ladder(12, 1, 3) == lengths(12)
    assert ladder(6, 2, 3, 3) == (*lengths(2, 6), Rung(6, 1), Rung(6, 2))


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
    rungs, results = lengths(1, 3, 9), [result(name, 50 + at, 10) for at, name in enumerate("abcdef")]
    begun = [(one.name, Rung(1)) for one in results]
    assert promoted(results[:2], begun, rungs, 3, "") is None
    found, rung = promoted(results, begun, rungs, 3, "")
    assert (found.name, rung) == ("f", Rung(3))
    found, _ = promoted(results, [*begun, ("f", Rung(3))], rungs, 3, "")
    assert found.name == "e"
    assert promoted(results, [*begun, ("f", Rung(3)), ("e", Rung(3))], rungs, 3, "") is None


def test_the_reference_goes_on_whatever_it_reached():
    results = [result(name, 50 + at, 10) for at, name in enumerate("abc")]
    begun = [*((one.name, Rung(1)) for one in results), ("c", Rung(3))]
    assert promoted(results, begun, lengths(1, 3), 3, "a") == (results[0], Rung(3))
    assert promoted(results[:2], begun, lengths(1, 3), 3, "a") is None
    # where it leads, the best of the others goes on all the same
    begun = [(one.name, Rung(1)) for one in results]
    assert promoted(results, begun, lengths(1, 3), 3, "c") == (results[1], Rung(3))
    assert promoted(results, [*begun, ("b", Rung(3))], lengths(1, 3), 3, "c") == (results[2], Rung(3))


def test_a_longer_training_goes_first():
    short = [result(name, 50 + at, 10) for at, name in enumerate("abcdef")]
    long = [result(name, 60, 10 + at, 3) for at, name in enumerate("abc")]
    results = [*short, *long]
    found, rung = promoted(results, [(one.name, one.rung) for one in results], lengths(1, 3, 9), 3, "")
    assert (found.name, rung) == ("a", Rung(9))


def test_the_best_of_the_longest_are_trained_with_other_seeds():
    rungs = ladder(6, 1, 3, seeds=2)
    results = [result(name, 50 + at, 10, 6) for at, name in enumerate("abc")]
    begun = [(one.name, one.rung) for one in results]
    assert promoted(results[:2], begun, rungs, 3, "a") is None
    assert promoted(results, begun, rungs, 3, "a") == (results[2], Rung(6, 1))
    assert promoted(results, [*begun, ("c", Rung(6, 1))], rungs, 3, "a") == (results[0], Rung(6, 1))
    assert promoted(results, [*begun, ("c", Rung(6, 1)), ("a", Rung(6, 1))], rungs, 3, "a") is None


def test_what_can_hardly_beat_the_reference_is_not_trained_on_but_for_the_best():
    rungs = ladder(6, 2, 3, seeds=2)
    # 1.2, 1.14 and 1.12 times the errors, then a dear one as good
    short = [result(*one, 2) for one in (("reference", 80, 10), ("a", 76, 10), ("b", 77.2, 10), ("c", 77.6, 10))]
    short += [result("dear", 80, 10.9, 2), result("d", 70, 10, 2)]
    begun = [(one.name, one.rung) for one in short]
    assert promoted(short, begun, rungs, 3, "reference") == (short[4], Rung(6))
    # the two best of six: of them b lacks too much, and somebody goes on already
    begun += [("dear", Rung(6)), ("reference", Rung(6))]
    assert promoted(short, begun, rungs, 3, "reference") is None
    assert promoted(short[:4], begun[:4], rungs, 3, "reference") == (short[3], Rung(6))
    long = [result(*one, 6) for one in (("reference", 90, 10), ("c", 89, 10), ("dear", 89.4, 10))]
    begun += [("c", Rung(6))]
    assert promoted([*short, *long], begun, rungs, 3, "reference") is None
    close = result("close", 89.6, 10, 6)
    assert promoted([*short, *long, close], begun, rungs, 3, "reference") == (close, Rung(6, 1))
    begun += [("close", Rung(6, 1))]
    assert promoted([*short, *long, close], begun, rungs, 3, "reference") == (long[0], Rung(6, 1))


def test_of_several_seeds_the_mean_counts_and_of_one_a_standard_deviation_less():
    results = [result("a", 80, 10, 6), result("b", 80.6, 10, 6), result("a", 81, 10, 6, seed=1), result("b", 70, 10, 2)]
    deviation = 0.5**0.5  # of 80 and 81
    found = averaged(results)
    assert [one.accuracy for one in found] == [80, 80.6, 80.5, 70]
    assert [one.luck for one in found] == pytest.approx([deviation, deviation, 0.5, deviation])
    # b's 80.6 of one seed is not believed against a's 80.5 of two
    assert [(one.name, one.seed) for one in front(compared(found))] == [("a", 1)]
    assert averaged(results[:2]) == results[:2]
    assert averaged([]) == []


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
    assert drift_of([*reference, *fallen[:4]], Rung(1), "reference") == 1.0
    results = [*reference, *fallen, cheap, dear]
    assert drift_of(results, Rung(1), "reference") == pytest.approx(1.2)
    assert drift_of(results, Rung(3), "reference") == 1.0
    begun = [(one.name, one.rung) for one in results]
    assert [one.name for one in ranked([reference[0], cheap, dear], "reference")] == ["cheap", "reference", "dear"]
    # the cheap one is expected to have 1.19 times the errors, the dear one has 1.1 times the cost
    assert promoted(results, begun, lengths(1, 3), 3, "reference") == (dear, Rung(3))
