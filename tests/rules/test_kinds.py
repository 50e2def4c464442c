"""Every kind of rule has a planted fault, which is found with its layer; and a network beside it that passes."""

import json

import faulty_networks as faulty
import published_shapes as public
import pydantic
import pytest
import torch
from torch import nn

from flyweight import analysis, recipes, rules
from flyweight.cli import app
from flyweight.errors import FlyweightError
from flyweight.rules import Score, listing
from flyweight.rules.rule import Evidence
from flyweight.rules.ruleset import KINDS, json_schema

SHAPE = (3, 32, 32)
BLOCKS = ("c1", "c2", "c3", "c4")


def rule(kind, **settings):
    return KINDS[kind].model_validate({"name": kind, "kind": kind, **settings})


def activated(activation):
    network = faulty.Sound()
    network.c2[1][2] = activation
    return network


def with_norm(norm):
    network = faulty.Sound()
    network.c3[1][1] = norm
    return network


# kind, settings, a network that breaks it, the layer at fault, what is told of it, a network that passes
PLANTED = [
    ("convolutions_per_block", {"count": 3}, faulty.ShortBlock, "c4", "c4 has 2, must have 3", faulty.Sound),
    ("blocks_end_strided_or_dilated", {"blocks": ["c1", "c2", "c3"]}, faulty.BlockEndsPlain, "c2.2.0", "has stride 1",
     faulty.Sound),
    ("blocks_end_strided", {"blocks": ["c1", "c2", "c3"]}, faulty.Sound, "c3.2.0", "has stride 1, must have 2",
     faulty.NoDilation),
    ("no_max_pooling", {}, faulty.MaxPooling, "pool3", "1 found, 0 allowed", faulty.Sound),
    ("no_down_sampling", {}, faulty.AveragePooling, "pool2", "pool2 (average pooling)", None),
    ("receptive_field_above", {"minimum": 44}, faulty.SmallField, "c4.2.0", "43x43, must be more than", faulty.Sound),
    ("receptive_field_at_most", {"maximum": 74}, faulty.Sound, "c4.2.0", "75x75, must be at most 74: 1 too many",
     faulty.SmallField),
    ("receptive_field_within", {"minimum": 44, "maximum": 80}, faulty.SmallField, "c4.2.0", "must be more than 43",
     faulty.Sound),
    ("depthwise_separable", {"at_least": 2}, faulty.Sound, "c4.2.0", "1 found, at least 2 needed", None),
    ("dilated", {"at_least": 1}, faulty.NoDilation, "c4.2.0", "0 found, at least 1 needed", faulty.Sound),
    ("layer_count", {"of": "strided", "exactly": 2}, faulty.NoDilation, "c3.2.0", "must be exactly 2: 1 too many",
     faulty.Sound),
    ("layer_count", {"of": "LayerNorm", "at_most": 0}, lambda: with_norm(nn.LayerNorm((32, 8, 8))), "c3.1.1",
     "1 LayerNorm (c3.1.1), must be at most 0: 1 too many", faulty.Sound),
    ("layer_count", {"of": "convolution", "at_least": 12, "at_most": 12}, faulty.LongBlock, "c4.2.0",
     "must be at least 12 and at most 12: 1 too many", faulty.Sound),
    ("depth", {"at_least": 13}, faulty.ShortBlock, "c4.1.0", "12 layers on the longest way, must be at least 13",
     faulty.Sound),
    ("global_average_pooling", {}, faulty.FlattenedHead, "fc", "fc flattens a map of 64x8x8", faulty.Sound),
    ("operators_among", {"operators": "tflite-micro-int8"}, lambda: activated(nn.Mish()), "c2.1.2", "c2.1.2 (mish)",
     faulty.Sound),
    ("operators_among", {"operators": "onnx-int8"}, lambda: with_norm(nn.GroupNorm(4, 32)), "c3.1.1",
     "c3.1.1 (group_norm)", faulty.Sound),
    ("parameters_below", {"limit": 69_048}, faulty.Sound, "c4.2.0", "69,048, must be fewer than 69,048: 1 too many",
     faulty.SmallField),
    ("macs_below", {"limit": 6_204_032}, faulty.Sound, "c4.2.0", "6,204,032, must be fewer", faulty.SmallField),
    # two maps of 8x32x32 at C1's second convolution, 16x16x16 and 8x32x32 at its third
    ("peak_activation_bytes", {"limit": 16_383}, faulty.Sound, "c1.1.0",
     "16,384 bytes at c1.1.0 (c1.0.0 8,192 and c1.1.0 8,192), must be at most 16,383: 1 too many", None),
    # 69,048 - 640 of the norms; 8 bytes for each of 320 channels, 32 between a separable pair, 10 logits; the runtime
    ("flash_bytes", {"limit": 80_000, "runtime_bytes": 9_000}, faulty.Sound, "c4.2.0", "80,304 bytes, 9,000 of them",
     faulty.SmallField),
    ("file_size_below", {"limit": 200_000}, faulty.Sound, "c4.2.0", "bytes without the file's head, must be fewer",
     faulty.SmallField),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "settings", "broken", "layer", "words", "sound"), PLANTED)
def test_a_planted_fault_is_found_with_its_layer(kind, settings, broken, layer, words, sound):
    judge = rule(kind, **settings)
    verdict = judge.judge(Evidence(analysis.analyze(broken(), SHAPE, prove_field=kind.startswith("rec"))), BLOCKS)
    assert (verdict.passed, verdict.layer) == (False, layer), verdict
    assert words in verdict.detail
    if sound is not None:
        assert judge.judge(Evidence(analysis.analyze(sound(), SHAPE)), BLOCKS).passed


@pytest.fixture(scope="module")
def facts():
    return analysis.analyze(nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), (1, 32, 48))


def trained(facts, **more):
    recipe = recipes.load("sprint", [f"train.{key}={value}" for key, value in more.items()])
    return Evidence(facts, recipe.augment, Score(86.0, "digits", least=81.5, file_bytes=4000), recipe.train)


def test_kinds_about_a_training_say_what_to_set(facts):
    start = rule("no_pretrained_weights").judge(trained(facts, start="nano"), ())
    assert (start.passed, start.cure) == (False, "--set train.start=null")
    taught = rule("no_pretrained_weights").judge(trained(facts, teacher="nano"), ())
    assert (taught.passed, taught.cure) == (False, "--set train.teacher=null")
    assert rule("no_pretrained_weights", teacher="allowed").judge(trained(facts, teacher="nano"), ()).passed
    assert rule("no_pretrained_weights").judge(trained(facts), ()).passed
    assert rule("no_pretrained_weights").judge(Evidence(facts), ()) is None
    low = rule("accuracy_at_least", minimum=85, by="lower_end").judge(trained(facts), ())
    assert (low.passed, low.detail) == (
        False, "86.00 % at the last epoch, at least 81.50 % by its 95 % interval: 3.50 points too few",
    )  # fmt: skip
    assert rule("accuracy_at_least", minimum=85).judge(trained(facts), ()).passed
    size = rule("file_size_below", limit=4000).judge(trained(facts), ())
    assert (size.passed, size.detail) == (False, "4,000 bytes, must be fewer than 4,000: 1 too many")


def test_every_kind_is_planted():
    apart = {"augmentations", "accuracy_at_least", "no_pretrained_weights"}  # of a training: elsewhere and above
    assert {entry[0] for entry in PLANTED} | apart == set(KINDS)


@pytest.mark.parametrize(("settings", "words"), [
    ({}, "say at_least, at_most or exactly"),
    ({"exactly": 1, "at_most": 2}, "exactly says both"),
    ({"at_least": 3, "at_most": 2}, "no network has both"),
])  # fmt: skip
def test_bounds_that_mean_nothing_are_refused(settings, words):
    with pytest.raises(pydantic.ValidationError, match=words):
        rule("depth", **settings)


def test_a_random_network_passes_nothing_that_its_runs_decide():
    class Coin(faulty.Sound):
        def features(self, x):
            return super().features(x) * torch.rand(())

    judged = rules.check(analysis.analyze(Coin(), SHAPE), rules.load_ruleset("brief"))
    assert [v.name[:2] for v in judged.verdicts if v.passed] == ["R7"]  # its parameters are the same in each
    assert all(v.cure is None for v in judged.verdicts)


# --- blocks


class Split(nn.Module):
    """Four blocks in eight submodules by other names: what makes the map smaller stands by itself."""

    def __init__(self):
        super().__init__()
        sound = faulty.Sound()
        for number, block in enumerate((sound.c1, sound.c2, sound.c3), 1):
            setattr(self, f"conv{number}", block[:2])
            setattr(self, f"trans{number}", block[2])
        self.trans3[0].stride, self.trans3[0].dilation, self.trans3[0].padding = (2, 2), (1, 1), (1, 1)
        self.conv4, self.fc = sound.c4, sound.fc

    def forward(self, x):
        for number in (1, 2, 3):
            x = getattr(self, f"trans{number}")(getattr(self, f"conv{number}")(x))
        return self.fc(self.conv4(x).mean((2, 3)))


def test_blocks_that_lie_between_down_samplings_are_found_and_told():
    judged = rules.check(analysis.analyze(Split(), SHAPE), rules.load_ruleset("brief-strict"), cures=False)
    assert [v.passed for v in judged.verdicts] == [True, True, True, True, True, False, True, True][
        : len(judged.verdicts)
    ]
    note = "(c1 is conv1 and trans1, c2 is conv2 and trans2, c3 is conv3 and trans3, c4 is conv4)"
    assert judged.verdicts[0].detail == f"c1 3, c2 3, c3 3, c4 3 {note}"


def test_blocks_may_be_lists_of_submodules(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "title: mine\nblocks: {one: [conv1, trans1], two: [conv2]}\n"
        "rules: [{name: n, kind: convolutions_per_block, count: 3}, {name: e, kind: blocks_end_strided, blocks: [1]}]\n"
    )
    judged = rules.check(analysis.analyze(Split(), SHAPE), rules.load_ruleset(path), cures=False)
    assert [(v.passed, v.detail) for v in judged.verdicts] == [
        (False, "two has 2, must have 3: conv2.0.0, conv2.1.0"), (True, "one stride 2"),
    ]  # fmt: skip


def test_blocks_by_place_and_by_other_names():
    brief = rules.load_ruleset("brief").with_blocks(("layer1", "layer2", "layer3", "stem"))
    judged = rules.check(analysis.analyze(public.ResNet(), SHAPE), brief, cures=False)
    assert judged.verdicts[0].detail.startswith("layer1 has 4, must have 3: layer1.0.conv1, layer1.0.conv2")
    assert "stem has 1, must have 3: stem.0" in judged.verdicts[0].detail
    assert judged.verdicts[2].detail.startswith("the last convolution of layer1, layer1.1.conv2, has stride 1")
    assert judged.verdicts[2].detail.count("the last") == 3  # all of them at once
    auto = rules.load_ruleset("brief").with_blocks("auto")
    judged = rules.check(analysis.analyze(public.ResNet(), SHAPE), auto, cures=False)
    assert judged.verdicts[0].detail.startswith("stem has 1, must have 3: stem.0; layer1 has 4")
    with pytest.raises(
        FlyweightError, match="2 blocks are named, and the rule .* speaks of block 3: name as many as c1"
    ):
        rules.load_ruleset("brief").with_blocks(("a", "b"))


def test_a_projection_counts_where_the_rule_set_says_so():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.c1 = nn.ModuleDict(
                {"a": nn.Conv2d(3, 4, 3, padding=1), "s": nn.Conv2d(3, 4, 1), "b": nn.Conv2d(4, 4, 3, padding=1)}
            )

        def forward(self, x):
            return (self.c1["b"](self.c1["a"](x)) + self.c1["s"](x)).mean((2, 3))

    facts = analysis.analyze(Block(), SHAPE)
    assert rule("convolutions_per_block", count=2).check(facts, ("c1",)).passed
    assert rule("convolutions_per_block", count=3, projections="counted").check(facts, ("c1",)).passed
    assert not rule("convolutions_per_block", count=1).check(analysis.analyze(nn.Flatten(), SHAPE), "auto").passed


# --- what there is


def test_the_schema_is_one_of_all_kinds():
    schema = json_schema()
    kinds = {
        definition["properties"]["kind"]["const"]
        for definition in schema["$defs"].values()
        if "kind" in definition["properties"]
    }
    assert kinds == set(KINDS)
    for name in rules.known_rulesets():
        rules.load_ruleset(name)


def test_the_command_lists_a_line_each(capsys):
    assert app.run_command(["rules"]) == 0
    out = capsys.readouterr().out
    for word in (*KINDS, *rules.known_rulesets()):
        assert sum(line.split()[:1] == [word] for line in out.splitlines()) == 1
    assert app.run_command(["rules", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "RuleSet"
    assert set(listing.as_json()["rulesets"]) == {"brief", "brief-strict", "mcu-64k", "mcu-256k", "mlperf-tiny"}


def test_the_built_in_networks_under_the_built_in_sets():
    from flyweight.data.cifar10 import SPEC
    from flyweight.networks.build import build
    from flyweight.recipes.sections import ModelConfig

    passed = {}
    for name in ("nano", "strided", "dilated"):
        found = analysis.analyze(build(ModelConfig(network=name), SPEC), SHAPE)
        passed[name] = [
            one for one in rules.known_rulesets() if rules.check(found, rules.load_ruleset(one), cures=False).passed
        ]
    # strided's weights take more than 192 KiB, dilated's maps 384 KiB; all three end a block dilated
    assert passed == {
        "nano": ["brief", "mcu-256k", "mcu-64k"],
        "strided": ["brief", "mcu-256k"],
        "dilated": ["brief"],
    }
