"""What the benchmark computes from its measurements, and that both sides run."""

import dataclasses
import io

import pytest
import torch
from PIL import Image

from flyweight.bench import benchmark, comparisons, costs, figure, sides
from flyweight.bench.peers import course_loop, resnet8_loop
from flyweight.data.cifar10 import SPEC
from flyweight.errors import FlyweightError
from flyweight.networks.build import build
from flyweight.recipes.sections import ModelConfig
from flyweight.report import figures

COMPARISON = comparisons.Comparison("training, course, dropout", peer=(100.0, 300.0, 200.0), ours=(800.0, 900.0, 100.0))
TARGET = comparisons.TimeToTarget((100.0, 200.0, 300.0), (85.0, 85.1, 85.2), 100.0, 50.0)
AUGMENTATION = costs.Augmentation((20.0, 30.0, 40.0), (100.0, 110.0), (600.0,))
GROWTH = costs.Growth(
    images={5000: (90.0, 500.0, 80.0), 10000: (110.0,)},
    networks={"sprint": (500.0,), "dilated": (900.0, 1100.0)},
    macs={"sprint": 14.0, "dilated": 31.0},
    memory={5000: 700.0, 10000: 800.0},
    memory_by_epochs={2: 700.0, 8: 701.0},
)
MACHINE = {"processor": "a processor", "threads": 2, "torch": "2"}


def whole():
    asked = [dataclasses.replace(COMPARISON, name=f"inference, sprint, batch 1, {way}") for way in ("float32", "auto")]
    return benchmark.Benchmark(MACHINE, [COMPARISON], TARGET, AUGMENTATION, asked, GROWTH)


def test_a_ratio_is_of_the_medians():
    assert COMPARISON.ratio == 800 / 200
    assert COMPARISON.as_json()["ratio"] == 4
    assert "4.00 x" in COMPARISON.line()


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
    assert comparisons.seconds_to(85.0, history) == seconds


def test_time_to_the_target_is_counted_in_epochs_of_both_peers():
    assert (TARGET.as_json()["course_epochs"], TARGET.as_json()["resnet8_epochs"]) == (2, 4)
    assert "2.00 course epochs of 100 s, 4.00 ResNet-8 epochs of 50 s" in TARGET.text()


def test_a_seed_that_misses_the_target_leaves_no_ratio():
    missed = dataclasses.replace(TARGET, seconds=(100.0, None, 300.0))
    assert missed.as_json()["course_epochs"] is None
    assert "never" in missed.text()
    assert "not reached" in missed.text()


def test_the_share_of_the_augmentation_is_of_a_whole_step():
    assert AUGMENTATION.share == 100 * 30 / 600
    assert "5.0 % of a training step" in AUGMENTATION.text()


def test_growth_is_linear_where_an_image_costs_the_same():
    # 90 and 110 lie 10 % off their mean
    assert GROWTH.deviation == pytest.approx(10)
    assert "linear within 10.0 %" in GROWTH.text()


def test_everything_is_in_the_text_the_json_and_the_figure():
    text = whole().text()
    for part in ("4.00 x", "course epochs", "augmentation", "10,000", "701 MiB after 8"):
        assert part in text
    content = whole().as_json()
    assert all(content[part] for part in ("machine", "training", "target", "augmentation", "inference", "growth"))
    with Image.open(io.BytesIO(figures.png(figure.draw(whole())))) as drawn:
        assert min(drawn.size) > 600


@pytest.mark.parametrize(
    "part", [{"training": [COMPARISON]}, {"target": dataclasses.replace(TARGET, seconds=(None,))}, {"growth": GROWTH}]
)
def test_a_part_alone_is_told_and_drawn(part):
    alone = benchmark.Benchmark(MACHINE, **part)
    assert alone.text()
    assert figures.png(figure.draw(alone))


def test_a_side_that_fails_is_one_line():
    with pytest.raises(FlyweightError, match=r"course_loop.* failed with exit code 2: .*--no-such-option"):
        sides.peer("course_loop", 1, 128, "--no-such-option")


@pytest.mark.early
def test_both_sides_train_on_the_digits_where_cifar10_cannot_be_had(monkeypatch, tmp_path):
    monkeypatch.setenv("FLYWEIGHT_CACHE", str(tmp_path))
    monkeypatch.setenv("FLYWEIGHT_DATA", str(tmp_path / "nowhere"))
    compared = comparisons.throughput(1, 64, 32, True, lambda line: None, "digits")
    assert min(*compared.peer, *compared.ours) > 0


def test_the_peers_network_is_the_course_network():
    ours, theirs = build(ModelConfig(network="course"), SPEC).eval(), course_loop.CourseNetwork()
    theirs.eval().load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(theirs(x), ours(x))


def test_the_second_peer_is_mlperf_tinys_network():
    network = resnet8_loop.ResNet8()
    # trainable parameters in the log of its reference
    assert sum(parameter.numel() for parameter in network.parameters()) == 78_186
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.early
@pytest.mark.cifar10
def test_inference_of_both_sides_is_measured():
    # as many images at once as are not yet few, and one
    pairs = costs.inference(1, lambda line: None, networks=("sprint",), batches=((16, 2), (1, 5)))
    assert [pair.name for pair in pairs] == [
        f"inference, sprint, batch {size}, {way}" for size in (16, 1) for way in ("float32", "auto")
    ]
    assert all(min(*pair.peer, *pair.ours) > 1 for pair in pairs)


@pytest.mark.long
@pytest.mark.cifar10
def test_both_sides_run():
    assert comparisons.throughput(1, 512, 64, True, lambda line: None).ratio > 1
    rows = sides.peer("resnet8_loop", 1, 320)
    assert rows[0]["images_per_second"] > 0
