"""The brief's own network, layer by layer."""

import pytest

from flyweight import analysis
from flyweight.data.cifar10 import SPEC
from flyweight.networks.build import build
from flyweight.recipes.sections import ModelConfig


@pytest.fixture(scope="module")
def course():
    return analysis.analyze(build(ModelConfig(network="course"), SPEC), (3, 32, 32))


# (kind, output, parameters) of each row of torchsummary's table for the original network
COURSE = [
    ("Conv2d", (16, 32, 32), 3 * 16 * 9),
    ("ReLU", (16, 32, 32), 0),
    ("BatchNorm2d", (16, 32, 32), 32),
    ("Dropout", (16, 32, 32), 0),
    ("Conv2d", (16, 32, 32), 2304),
    ("ReLU", (16, 32, 32), 0),
    ("BatchNorm2d", (16, 32, 32), 32),
    ("Dropout", (16, 32, 32), 0),
    ("Conv2d", (16, 30, 30), 2304),
    ("ReLU", (16, 30, 30), 0),
    ("BatchNorm2d", (16, 30, 30), 32),
    ("Dropout", (16, 30, 30), 0),
    ("Conv2d", (32, 30, 30), 4608),
    ("ReLU", (32, 30, 30), 0),
    ("BatchNorm2d", (32, 30, 30), 64),
    ("Dropout", (32, 30, 30), 0),
    ("Conv2d", (32, 30, 30), 9216),
    ("ReLU", (32, 30, 30), 0),
    ("BatchNorm2d", (32, 30, 30), 64),
    ("Dropout", (32, 30, 30), 0),
    ("Conv2d", (32, 15, 15), 9216),
    ("ReLU", (32, 15, 15), 0),
    ("BatchNorm2d", (32, 15, 15), 64),
    ("Dropout", (32, 15, 15), 0),
    ("Conv2d", (32, 15, 15), 288),
    ("Conv2d", (48, 15, 15), 1536),
    ("ReLU", (48, 15, 15), 0),
    ("BatchNorm2d", (48, 15, 15), 96),
    ("Dropout", (48, 15, 15), 0),
    ("Conv2d", (48, 15, 15), 20736),
    ("ReLU", (48, 15, 15), 0),
    ("BatchNorm2d", (48, 15, 15), 96),
    ("Dropout", (48, 15, 15), 0),
    ("Conv2d", (48, 8, 8), 20736),
    ("ReLU", (48, 8, 8), 0),
    ("BatchNorm2d", (48, 8, 8), 96),
    ("Dropout", (48, 8, 8), 0),
    ("Conv2d", (64, 8, 8), 27648),
    ("ReLU", (64, 8, 8), 0),
    ("BatchNorm2d", (64, 8, 8), 128),
    ("Dropout", (64, 8, 8), 0),
    ("Conv2d", (64, 8, 8), 36864),
    ("ReLU", (64, 8, 8), 0),
    ("BatchNorm2d", (64, 8, 8), 128),
    ("Dropout", (64, 8, 8), 0),
    ("Conv2d", (64, 8, 8), 36864),
    ("ReLU", (64, 8, 8), 0),
    ("BatchNorm2d", (64, 8, 8), 128),
    ("Dropout", (64, 8, 8), 0),
    ("AvgPool2d", (64, 1, 1), 0),
    ("Conv2d", (10, 1, 1), 640),
]


def test_course_table_is_that_of_torchsummary(course):
    assert [(layer.kind, layer.output_shape, layer.parameters) for layer in course.layers] == COURSE


def test_course_totals(course):
    assert course.parameters == course.trainable_parameters == sum(row[2] for row in COURSE) == 174_352
    assert course.macs == 32_282_272 == sum(layer.macs for layer in course.layers)
    assert course.receptive_field.value == 51
    assert course.receptive_field.status == "proved"
    assert course.receptive_field.before == "pool"
    assert not course.unknown
    assert not course.dead_taps
    assert not course.unreached


def test_course_receptive_field_of_each_convolution(course):
    fields = [layer.receptive_field for layer in course.layers if layer.kind == "Conv2d"]
    # + 2 * (product of the strides before) * dilation for each 3x3, + 0 for the pointwise, none after the pooling
    expected = [3, 5, 9, 11, 13, 15, 19, 19, 23, 27, 35, 43, 51]
    assert fields == [*[(size, size) for size in expected], None]


def test_course_layers_are_counted_as_people_count_them(course):
    assert len(course.convolutions) == 14
    assert len(course.convolution_layers) == 13
    separable = [layer for layer in course.convolution_layers if layer.separable]
    assert [layer.name for layer in separable] == ["c3.conv1.0.depthwise"]
    assert [layer.name for layer in course.convolution_layers if layer.strided] == ["c2.conv3.0", "c3.conv3.0"]
    assert [layer.name for layer in course.convolution_layers if layer.dilated] == ["c1.conv3.0"]
    assert [(pooling.name, pooling.kind, pooling.whole) for pooling in course.poolings] == [("pool", "average", True)]
