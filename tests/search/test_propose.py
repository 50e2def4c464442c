"""Networks that are proposed: inside the space, legal by proof, new, and different each time."""

import pytest

from flyweight import rules, schema
from flyweight.errors import FlyweightError
from flyweight.images.spec import Spec
from flyweight.recipes.network import Network, Row
from flyweight.search import propose as proposing
from flyweight.search.legal import Judge, known_cost, known_legal
from flyweight.search.propose import Proposer
from flyweight.search.space import Candidate, Space, candidate, known

SPEC = Spec.unnamed(10, (3, 32, 32))


def proposer(ruleset="brief", seed=0, **space):
    chosen = rules.load_ruleset(ruleset)
    return Proposer(Judge(chosen, schema.parse(Space, space, "the tests").narrowed(chosen), SPEC), seed)


def test_what_is_proposed_is_legal_new_and_in_the_space():
    one, tried = proposer(), set()
    first = [network for _, network in known(one.space)]
    for _ in range(12):
        found = one.propose(first, tried)
        assert found.key not in tried
        assert one.space.holds(found.network)
        assert candidate(found.as_json()) == found
        tried.add(found.key)
    assert (one.judge.proved, one.judge.refused.total()) == (12, 0)
    assert one.judge.drawn > 12
    assert one.judge.rejected.total() < one.judge.drawn


@pytest.mark.parametrize("aim", ["macs", "memory"])
def test_nothing_is_drawn_that_costs_much_more_than_the_network_to_beat(aim):
    def costs(**space):
        one = proposer(**space)
        reference = dict(known(one.space))["nano"]
        one.judge.compare(aim, reference)
        most = known_cost(aim, one.judge.facts(reference))
        drawn = [one.propose((dict(known(one.space))["strided"],), ()) for _ in range(6)]
        return [known_cost(aim, one.judge.facts(each)) / most for each in drawn]

    assert max(costs(cost=1.1)) <= 1.1 < max(costs(cost=None))


@pytest.mark.parametrize("space", [{"blocks": [True]}, {"strides": [True, 2]}, {"residuals": [1]}])
def test_a_yes_is_no_number_and_a_number_no_yes(space):
    with pytest.raises(FlyweightError, match="yes"):
        proposer(**space)


def test_the_same_seed_proposes_the_same_networks():
    assert proposer(seed=3).propose((), ()) == proposer(seed=3).propose((), ())
    assert proposer(seed=3).propose((), ()) != proposer(seed=4).propose((), ())


def test_drawn_and_bred_networks_are_legal_within_a_bound_of_tries():
    one = proposer()
    parents = [network for _, network in known(one.space)]
    drafts = [one._legal(one._fresh(), ()) for _ in range(20)], [one._legal(one._draft(parents), ()) for _ in range(20)]
    for drawn in drafts:
        assert sum(draft is not None for draft in drawn) >= 15
        assert all(one.judge.excess(draft) == 0 for draft in drawn if draft is not None)


def test_a_way_around_comes_back_where_it_fits_again():
    one = proposer()
    rows = [Row(width=32), Row(width=16), Row(width=16, residual=True), Row(width=16)]
    blocks = one._blocks(Candidate(Network(blocks=(tuple(rows),))))
    # nothing fits in the first two, whatever is wished there; in the last it fits, and is not wanted
    assert [row.residual for row in blocks[0]] == [True, True, True, False]
    blocks[0][1] = blocks[0][1].model_copy(update={"width": 32})
    made = one._made(blocks, Candidate(Network(blocks=(tuple(rows),))))
    assert [row.residual for row in made.network.blocks[0]] == [False, True, False, False]


def test_the_network_to_beat_can_be_named():
    judge = proposer("mcu-64k").judge
    assert [name for name, _ in known_legal(judge, "nano")] == ["nano", "sprint"]
    assert known_legal(judge, None)[0][0] == "sprint"


def test_a_space_without_a_legal_network_is_told_with_the_rule_that_is_in_the_way(monkeypatch):
    monkeypatch.setattr(proposing, "STARTS", 3)
    with pytest.raises(FlyweightError, match=r"no legal network.*R7 fewer than 200,000 parameters: \d") as raised:
        proposer(widths=[512], kinds=["dense"]).propose((), ())
    assert "\n" not in str(raised.value)


def test_when_all_networks_of_a_space_are_tried_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(proposing, "STARTS", 3)
    file = tmp_path / "rules.yaml"
    file.write_text("{title: t, rules: [{name: light, kind: parameters_below, limit: 90000}]}", encoding="utf-8")
    one = proposer(file, blocks=[1], rows=[1], widths=[8], kinds=["dense"], kernels=[3], strides=[1], dilations=[1],
                   paddings=["same"], residuals=[False])  # fmt: skip
    only = one.propose((), ())
    with pytest.raises(FlyweightError, match="has been tried"):
        one.propose((), {only.key})


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ({"kinds": ["dens"]}, r"there is no kind of layer 'dens' \(did you mean 'dense'\?\)"),
        ({"width": [4]}, r"no such key \(did you mean 'widths'\?\)"),
        ({"widths": []}, "at least 1 item"),
        ({"widths": [0]}, "at least 1"),
        ({"rows": [2, 2]}, "there twice"),
        ({"kernels": [4]}, "input should be 1, 3, 5 or 7"),
    ],
)
def test_a_space_that_says_something_wrong_is_told_in_a_line(space, told):
    with pytest.raises(FlyweightError, match=told) as raised:
        schema.parse(Space, space, "space.yaml")
    assert str(raised.value).startswith("space.yaml: ")
    assert "\n" not in str(raised.value)


def test_where_there_is_a_network_to_beat_what_promises_most_comes_first():
    one = proposer()
    sprint = dict(known(one.space))["sprint"]
    assert one.judge.promise(sprint) is None
    assert len(one._several((sprint,), ())) == 1
    one.judge.compare("macs", sprint)
    several = one._several((sprint,), ())
    promises = [one.judge.promise(legal) for legal in several]
    assert proposing.AMONG // 2 < len({legal.key for legal in several}) == len(several) <= proposing.AMONG
    assert promises == sorted(promises, reverse=True)


def test_what_was_too_slow_once_is_neither_proved_nor_timed_again():
    timed = []
    one = proposer("mcu-64k", blocks=[1], rows=[1], kinds=["dense"], kernels=[3], strides=[1], dilations=[1],
                   paddings=["same"], residuals=[False], widths=[8, 16, 24])  # fmt: skip
    one.fast = lambda legal: timed.append(legal.key)
    with pytest.raises(FlyweightError, match="a training step is fast enough on this machine: 3"):
        one.propose((), ())
    assert len(timed) == len(set(timed)) == one.judge.proved == 3


def test_a_network_promises_less_for_what_it_costs_beyond_the_one_to_beat():
    judge = proposer().judge
    networks = dict(known(judge.space))
    sprint, strided = (judge.facts(networks[name]) for name in ("sprint", "strided"))
    judge.compare("macs", networks["sprint"])
    assert judge.promise(networks["sprint"]) == sprint.parameters * sprint.macs
    times = strided.macs / sprint.macs
    assert judge.promise(networks["strided"]) == pytest.approx(strided.parameters * sprint.macs / times)
    judge.compare("memory", networks["sprint"])
    times = strided.peak_bytes / sprint.peak_bytes
    assert judge.promise(networks["strided"]) == pytest.approx(strided.parameters * strided.macs / max(1, times) ** 2)
