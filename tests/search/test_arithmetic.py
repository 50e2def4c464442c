"""Facts of a table by arithmetic are those that the analysis finds in the network that is built of it."""

import random

import pytest

from flyweight import analysis, rules
from flyweight.images.spec import Spec
from flyweight.networks.build import build
from flyweight.networks.builtin import NETWORKS
from flyweight.recipes.network import Network, Row
from flyweight.recipes.sections import ModelConfig
from flyweight.search.arithmetic import facts
from flyweight.search.legal import EXCESS, Judge
from flyweight.search.space import Candidate, Space

SHAPES = [(3, 16, 16), (1, 14, 14), (3, 12, 20)]


def a_table(rng: random.Random, channels: int) -> Network:
    """Any rows that can be built, rules or no rules; narrow, so that 200 of them take seconds."""
    blocks, width = [], channels
    for _ in range(rng.randint(2, 4)):
        rows = []
        for _ in range(rng.randint(1, 3)):
            padding = rng.choice((None, None, None, 0, 1))
            row = Row(
                width=rng.choice((width, rng.randint(1, 12))),
                kind=rng.choice(("dense", "separable")),
                kernel=rng.choice((1, 3, 3, 3, 5, 7)),
                stride=rng.choice((1, 1, 1, 2, 3)),
                dilation=rng.choice((1, 1, 2, 4)),
                padding=padding,
            )
            keeps = row.width == width and row.stride == 1 and 2 * row.zeros == row.dilation * (row.kernel - 1)
            rows.append(row.model_copy(update={"residual": keeps and rng.random() < 0.7}))
            width = row.width
        blocks.append(tuple(rows))
    return Network(blocks=tuple(blocks))


def tables(count: int):
    rng, found = random.Random(0), 0
    while found < count:
        shape = rng.choice(SHAPES)
        network = a_table(rng, shape[0])
        by_hand = facts(network, shape, 7)
        # what leaves less than 2x2 is never proposed
        if by_hand is None or min(by_hand.map_size) < 2:
            continue
        found += 1
        built = build(ModelConfig(network="drawn", table=network), Spec.unnamed(7, shape))
        yield by_hand, analysis.analyze(built, shape)


def ruleset(rng: random.Random) -> rules.RuleSet:
    brief = rules.load_ruleset("brief")
    # limits that about half of the tables keep
    limits = {
        "convolutions_per_block": {"count": rng.randint(1, 4), "blocks": ("c1", "c2")},
        "receptive_field_above": {"minimum": rng.randint(5, 60)},
        "depthwise_separable": {"at_least": rng.randint(0, 4)},
        "dilated": {"at_least": rng.randint(0, 3)},
        "parameters_below": {"limit": rng.randint(500, 9000)},
        "blocks_end_strided_or_dilated": {"blocks": ("c1",)},
    }
    chosen = [rule.model_copy(update=limits.get(rule.kind, {})) for rule in brief.rules]
    macs = rules.KINDS["macs_below"](name="M", kind="macs_below", limit=rng.randint(10**4, 3 * 10**6))
    return rules.RuleSet("tried", ("c1",), (*chosen, macs, *brief.bonuses), ())


@pytest.mark.early
@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.long)])
def test_arithmetic_equals_the_analysis_on_random_tables(count):
    rng, judged = random.Random(1), {True: 0, False: 0}
    for by_hand, found in tables(count):
        field = found.receptive_field
        assert by_hand.parameters == found.parameters
        assert by_hand.macs == found.macs
        assert by_hand.field == (field.live or (field.height, field.width))
        layers = [layer for block in by_hand.blocks.values() for layer in block]
        # the classifier, a convolution of one pixel, is no row
        assert [(layer.separable, layer.dilated, layer.strided) for layer in layers] == [
            (layer.separable, layer.dilated, layer.strided) for layer in found.convolution_layers[:-1]
        ]
        chosen = ruleset(rng)
        excess = {
            rule.name: EXCESS[rule.kind](rule, by_hand, chosen.blocks) for rule in chosen.rules if rule.kind in EXCESS
        }
        proofs = {verdict.name: verdict.passed for verdict in rules.check(found, chosen, cures=False).verdicts}
        assert {name: not value for name, value in excess.items()} == {name: proofs[name] for name in excess}
        for value in excess.values():
            judged[not value] += 1
    assert min(judged.values()) > 1.5 * count  # both verdicts were put to the test


@pytest.mark.parametrize(("name", "kib"), [("sprint", 24), ("sprint2", 24), ("strided", 36), ("dilated", 384)])
def test_the_peak_of_the_activations(name, kib):
    assert facts(NETWORKS[name], (3, 32, 32), 10).peak_bytes == kib * 1024


@pytest.mark.parametrize("name", ["sprint", "sprint2", "nano", "strided", "dilated"])
def test_the_built_in_networks_lie_in_the_default_space_and_obey_the_brief(name):
    brief = rules.load_ruleset("brief")
    space = Space()
    assert space.holds(NETWORKS[name])
    assert space.narrowed(brief).holds(NETWORKS[name])
    assert (space.narrowed(brief).blocks, space.narrowed(brief).rows) == ((4,), (3,))
    assert Judge(brief, space, Spec.unnamed(10, (3, 32, 32))).excess(Candidate(NETWORKS[name])) == 0


def test_what_cannot_be_built_has_no_facts():
    row = Row(width=8)
    assert facts(Network(blocks=((row, row.model_copy(update={"width": 9, "residual": True})),)), (3, 8, 8), 2) is None
    assert facts(Network(blocks=((Row(width=8, kernel=7, dilation=4, padding=0),),)), (3, 16, 16), 2) is None


def test_what_leaves_a_phase_of_a_map_empty_has_no_facts():
    rows = (Row(width=8), Row(width=8, dilation=2, padding=0), Row(width=8, dilation=2, padding=0))
    network = Network(blocks=(rows,))
    assert facts(network, (1, 10, 10), 2) is not None
    # 1x1 is left, which has no place for the second of the two phases of a row
    assert facts(network, (1, 9, 9), 2) is None
    assert facts(network, (1, 9, 9), 2, one_phase=False) is not None
