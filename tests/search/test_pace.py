"""Training steps beside those of another network."""

from types import SimpleNamespace

import pytest
from conftest import synthetic

from flyweight.networks.builtin import NETWORKS
from flyweight.recipes.network import Network
from flyweight.recipes.sections import ModelConfig, TrainConfig
from flyweight.search import pace
from flyweight.search.space import Candidate, Space

TRAIN = TrainConfig(precision="float32", batch_size=32)
SMALL = Network.model_validate({"blocks": [[{"width": 8, "stride": 2}, {"width": 8}]]})
LARGE = Network.model_validate({"blocks": [[{"width": 64}, {"width": 64}, {"width": 64}]]})


@pytest.fixture(scope="module")
def spec():
    return synthetic(10, 3, 32, 32).spec


def test_a_network_whose_steps_take_longer_is_told_apart(spec):
    small, large = (ModelConfig(network="drawn", table=table) for table in (SMALL, LARGE))
    assert pace.ratio(large, small, spec, TRAIN) > 2
    assert pace.ratio(small, large, spec, TRAIN) < 0.5


def test_the_fastest_of_steps_in_turn_count_and_those_that_warm_up_do_not(spec, monkeypatch):
    taken = []

    def steps(model, *_):
        # what another program takes, and what is made in the first step, slow both
        seconds = iter([90.0, 9.0, 3.0, 9.0, 9.0, 9.0] if model.network == "one" else [1.0, 4.0, 4.0, 2.0, 4.0, 4.0])

        def step():
            taken.append(model.network)
            return next(seconds)

        return step

    monkeypatch.setattr(pace, "_step", steps)
    assert pace.ratio(ModelConfig(network="one"), ModelConfig(network="other"), spec, TRAIN) == 1.5
    assert taken == ["one", "other"] * 6


@pytest.mark.parametrize(("limit", "given", "allowed"), [(1.5, 1.4, True), (1.5, 1.6, False), (None, 99.0, True)])
def test_the_spaces_limit_decides(spec, monkeypatch, limit, given, allowed):
    judge = SimpleNamespace(space=Space(step_time=limit), spec=spec)
    monkeypatch.setattr(pace, "ratio", lambda *_: given)
    one = Candidate(NETWORKS["sprint"])
    assert pace.Pace(one, TRAIN, judge).allows(one) is allowed
    # nothing to be compared with
    assert pace.Pace(None, TRAIN, judge).allows(one)
