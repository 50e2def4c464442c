import pytest
import torch

from flyweight.recipes.sections import TrainConfig
from flyweight.training.schedule import one_cycle


def learning_rates(steps, **settings):
    """Of each step of a training."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    schedule = one_cycle(optimizer, TrainConfig(**settings), steps)
    found = []
    for _ in range(steps):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


def test_the_schedule_is_the_recipes():
    # from 1/10 to 1 in the first half of 10 steps, then down to 1/10/4 at the eleventh, which is never taken
    found = learning_rates(10, warmup=0.6, start_divisor=10, end_divisor=4)
    assert found[0] == pytest.approx(0.1)
    assert found[1] - found[0] == pytest.approx(0.9 / 5.6)
    assert max(found) == pytest.approx(1, abs=0.1)
    assert found[9] - found[8] == pytest.approx((0.025 - 1) / 4.4)
    bent = learning_rates(10, warmup=0.6, start_divisor=10, end_divisor=4, anneal="cos")
    assert bent[0] == pytest.approx(0.1)
    assert bent[1] < found[1]
    assert bent[9] < found[9]


def test_its_defaults_are_those_of_torch_but_linear():
    found = learning_rates(100)
    assert found[0] == pytest.approx(1 / 25)
    # one step before 1 / 25 / 10,000
    assert 1 / 25 / 1e4 < found[-1] < 0.02
