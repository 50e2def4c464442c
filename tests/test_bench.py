import importlib.util

import pytest
import torch

from flyweight import bench
from flyweight.config import ModelConfig
from flyweight.errors import FlyweightError
from flyweight.model import build


def test_a_ratio_is_of_the_medians():
    comparison = bench.Comparison("x", "images/s", peer=(100.0, 300.0, 200.0), ours=(800.0, 900.0, 100.0))
    assert comparison.ratio == 800 / 200
    assert comparison.as_json()["ratio"] == 4
    assert "4.00 x" in comparison.line()


@pytest.mark.parametrize(
    ("accuracies", "seconds"),
    [
        ([80, 84, 86, 87], 30),  # the third epoch ends after 30 s and all that follow stay above
        ([80, 86, 84, 87], 40),  # the second does not count: the third fell below again
        ([85], 10),
        ([86, 84.99], None),
    ],
)
def test_the_time_counts_to_the_first_epoch_of_those_that_stay_above(accuracies, seconds):
    history = [{"test_accuracy": accuracy, "seconds": 10} for accuracy in accuracies]
    assert bench.seconds_to(85.0, history) == seconds


def test_a_seed_that_misses_the_target_leaves_no_ratio():
    assert bench.TimeToTarget((100.0, 200.0, 300.0), (85.0, 85.1, 85.2), 100.0).ratio == 2
    missed = bench.TimeToTarget((100.0, None), (85.0, 84.0), 100.0)
    assert missed.ratio is None
    assert "never" in missed.line()
    assert "not reached" in missed.line()


def test_without_the_checkout_there_is_no_peer(monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "PEER", tmp_path / "course_loop.py")
    with pytest.raises(FlyweightError, match="run the benchmark from a source checkout"):
        bench.peer_epochs(1, 128, 64, True)


def test_the_peers_network_is_the_course_network():
    spec = importlib.util.spec_from_file_location("course_loop", bench.PEER)
    course_loop = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(course_loop)
    ours, theirs = build(ModelConfig(network="course")).eval(), course_loop.CourseNetwork().eval()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(theirs(x), ours(x))


@pytest.mark.long
@pytest.mark.cifar10
def test_both_sides_run():
    comparison = bench.throughput(1, 512, 64, True, lambda line: None)
    assert comparison.ratio > 1
