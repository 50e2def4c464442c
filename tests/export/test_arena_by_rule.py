"""The rule about memory and the plan of the C export come to the same bytes, each by its own way."""

import random

import pytest
from c_programs import Random

from flyweight import schema
from flyweight.analysis import activation_peak
from flyweight.analysis.positions.operators import follow
from flyweight.analysis.trace.recorder import record
from flyweight.export.c import plan
from flyweight.export.c.integers import Addition
from flyweight.images.spec import Spec
from flyweight.networks import builtin
from flyweight.networks.build import build
from flyweight.recipes.network import Network
from flyweight.recipes.sections import ModelConfig


def rows(seed):
    """A random table: dense and separable layers, strides, dilations, sums."""
    rng = random.Random(seed)
    blocks, width = [], 3
    for _ in range(rng.randint(1, 3)):
        block = []
        for _ in range(rng.randint(1, 4)):
            outputs = rng.choice([4, 8, 12, width])
            same = outputs == width
            row = {"width": outputs, "kind": rng.choice(["dense", "separable"]), "kernel": rng.choice([1, 3, 5])}
            if row["kernel"] == 1:
                row["kind"] = "dense"
            if same and rng.random() < 0.7:
                row["residual"] = True
            else:
                row["stride"] = rng.choice([1, 1, 2])
            if row["kernel"] > 1:
                row["dilation"] = rng.choice([1, 2])
            block.append(row)
            width = outputs
        blocks.append(block)
    return schema.parse(Network, {"blocks": blocks}, "the tests")


@pytest.mark.parametrize("source", [*range(20), *builtin.NETWORKS])
def test_the_arena_is_what_the_rule_says(source, monkeypatch):
    table = rows(source) if isinstance(source, int) else builtin.NETWORKS[source]
    network = build(ModelConfig(network="rows", table=table), Spec.unnamed(10, (3, 32, 32)))
    graph, integers = follow(record(network, (3, 32, 32))), Random().network(table)
    assert plan.least(integers, in_place=False) == activation_peak(graph).numbers
    both = activation_peak(graph, add_in_place=True, pointwise_in_place=True)
    assert plan.least(integers) == both.numbers
    monkeypatch.setattr(plan, "_may_replace", lambda step, source: isinstance(step, Addition))
    assert plan.least(integers) == activation_peak(graph, add_in_place=True).numbers
