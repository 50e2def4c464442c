"""Each rule of the brief against a network that breaks it and nothing else; each cure carried out and measured."""

from dataclasses import replace

import faulty_networks as faulty
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from flyweight import analysis, rules
from flyweight.analysis import analyzer
from flyweight.analysis.proof.prove import Proof
from flyweight.errors import FlyweightError
from flyweight.rules.cures.lighten import parameter_edits

SHAPE = (3, 32, 32)


def judge(network, source="brief", **how):
    return rules.check(analysis.analyze(network, SHAPE), rules.load_ruleset(source), **{"cures": False, **how})


def failed(report):
    return {verdict.name.split()[0]: verdict for verdict in report.verdicts if not verdict.passed}


def only_failure(network):
    # without the bonuses, for whose cures this is not the place
    ruleset = replace(rules.load_ruleset("brief"), bonuses=())
    report = rules.check(analysis.analyze(network, SHAPE), ruleset)
    assert not report.passed
    [verdict] = [verdict for verdict in report.verdicts if not verdict.passed]
    assert all(other.layer is None and other.cure is None for other in report.verdicts if other.passed)
    return verdict


def test_sound_network_passes_and_misses_the_bonus():
    report = judge(faulty.Sound())
    assert report.passed
    assert [verdict.name.split()[0] for verdict in report.verdicts] == ["R1", "R1", "R1", "R2", "R3", "R4", "R5", "R7"]
    [bonus] = report.bonuses
    assert not bonus.passed
    assert bonus.detail == "c1.2.0 (stride 2), c2.2.0 (stride 2)"


def test_margins_are_told():
    report = judge(faulty.Sound())
    details = {verdict.name: verdict.detail for verdict in report.verdicts}
    assert details["R2 receptive field more than 44"] == "75x75, must be more than 44: 31 more"
    # C1 to C3 31,288; C4 2 * (9216 + 64) + 18432 + 128; classifier 640
    assert details["R7 fewer than 200,000 parameters"] == "69,048, must be fewer than 200,000: 130,952 to spare"


@pytest.mark.parametrize(
    ("network", "rule", "layer", "detail"),
    [
        (faulty.TooManyParameters, "R7", "c4.1.0", "203,856, must be fewer than 200,000: 3,857 too many"),
        (
            faulty.PlainList,
            "R7",
            "extra",
            "69,048, and 73,728 in extra that are neither registered, trained nor saved",
        ),
        (faulty.SmallField, "R2", "c1.0.0", "43x43, must be more than 44: 2 too few"),
        (faulty.MaxPooling, "R1 no max", "pool3", "1 found, 0 allowed: pool3"),
        (faulty.StrideOnePooling, "R1 no max", "pool3", "1 found, 0 allowed: pool3"),
        (faulty.ShiftedMaximum, "R1 no max", "maximum", "1 found, 0 allowed: maximum"),
        (faulty.ShortBlock, "R1 three", "c4", "c4 has 2, must have 3: c4.0.0, c4.1.0"),
        (faulty.LongBlock, "R1 three", "c2", "c2 has 4, must have 3: c2.0.0, c2.1.0, c2.2.0, c2.3.0"),
        (
            faulty.BlockEndsPlain,
            "R1 blocks",
            "c2.2.0",
            "the last convolution of c2, c2.2.0, has stride 1 and dilation 1",
        ),
        (faulty.NoSeparable, "R3", "c4.2.0", "0 found, at least 1 needed"),
        (faulty.FalseSeparable, "R3", "c4.2.0", "0 found, at least 1 needed"),
        (faulty.NoDilation, "R4", "c4.0.0", "0 found, at least 1 needed"),
        (faulty.FlattenedHead, "R5", "fc", "fc flattens a map of 64x8x8 without averaging it"),
        (faulty.CroppedHead, "R5", "slice", "slice leaves 1x1 of a map of 64x8x8 to be averaged"),
        (faulty.SwallowedMap, "R5", "last", "last leaves one place of a map of 64x8x8: pool has nothing to average"),
    ],
)
def test_planted_fault_fails_its_rule_alone_and_names_the_layer(network, rule, layer, detail):
    verdict = only_failure(network())
    assert verdict.name.startswith(rule)
    assert (verdict.layer, verdict.detail) == (layer, detail)
    assert verdict.cure
    assert "\n" not in verdict.detail + verdict.cure


def test_global_maximum_is_a_max_pooling_and_no_average():
    found = failed(judge(faulty.MaximumHead(), cures=True))
    assert set(found) == {"R1", "R5"}
    assert found["R5"].layer == "amax"
    assert found["R5"].cure == "replace amax by the mean over the same dimensions: no more parameters"


def test_maximum_in_two_steps_is_found_too():
    class TwoSteps(faulty.Sound):
        def forward(self, x):
            return self.fc(self.features(x).amax(3).amax(2))

    assert set(failed(judge(TwoSteps()))) == {"R1", "R5"}


def test_missing_block_says_which_there_are():
    verdict = failed(judge(faulty.MissingBlock()))["R1"]
    assert verdict.layer == "c1"
    assert verdict.detail == "there is no submodule 'c1': the network has stem, c2, c3, c4 and 2 more"


# --- the cures, carried out


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_cure_for_parameters_narrow():
    network = faulty.TooManyParameters()
    cure = only_failure(network).cure
    # a channel of c4.1 costs 9*112 of its own, 2 of its norm and 9*144 of its reader: 2,306; two of them are enough
    assert cure == "narrow c4.1.0 from 60 to 58 channels: 199,244 parameters, 4,612 fewer"
    network.c4 = nn.Sequential(faulty.conv(32, 112), faulty.conv(112, 58), faulty.conv(58, 144))
    assert parameters(network) == 199_244
    assert judge(network).passed


def test_cure_for_parameters_depthwise_separable():
    network = faulty.TooManyParameters()
    # what is tried next, if narrowing were to break another rule
    assert [edit.text for edit in parameter_edits(analysis.analyze(network, SHAPE), 200_000)][:2] == [
        "narrow c4.1.0 from 60 to 58 channels",
        "make c2.2.0 depthwise separable",
    ]
    network.c2[2] = nn.Sequential(
        nn.Conv2d(16, 16, 3, 2, 1, groups=16, bias=False), nn.Conv2d(16, 32, 1, bias=False), nn.BatchNorm2d(32)
    )
    assert parameters(network) == 199_904
    assert judge(network).passed


def test_cure_for_parameters_that_are_not_registered():
    network = faulty.PlainList()
    assert only_failure(network).cure == (
        "hold layers of extra in nn.ModuleList, tensors in nn.Parameter: 142,776 parameters, 73,728 more"
    )
    layers = network.__dict__.pop("extra")
    network.extra = nn.ModuleList(layers)
    assert parameters(network) == 69_048 + 73_728
    assert judge(network).passed


def test_widths_that_are_added_are_narrowed_together():
    class Tied(faulty.Sound):
        """Every wide layer is added to another: narrowing one alone would not fit."""

        def __init__(self):
            super().__init__()
            self.c4 = nn.ModuleList([faulty.conv(32, 120), faulty.conv(120, 120), faulty.conv(120, 120)])
            self.fc = nn.Linear(120, 10, bias=False)

        def features(self, x):
            x = self.c4[0](self.c3(self.c2(self.c1(x))))
            x = x + self.c4[1](x)
            return x + self.c4[2](x)

    cure = "narrow c4.0.0 and c4.1.0 and c4.2.0 from 120 to 88 channels: 197,432 parameters, 129,536 fewer"
    assert only_failure(Tied()).cure == cure
    # 31,288, 9*32*88 + 176, twice 9*88*88 + 176, 880
    assert 31_288 + 9 * 32 * 88 + 176 + 2 * (9 * 88 * 88 + 176) + 880 == 197_432


def test_cure_for_parameters_when_one_layer_is_not_enough():
    network = faulty.Sound()
    network.c4 = nn.Sequential(faulty.conv(32, 240), faulty.conv(240, 240), faulty.conv(240, 240))
    network.fc = nn.Linear(240, 10, bias=False)
    # a channel of c4.1 costs 9 * (240 + 240) + 2 = 4,322; 218 of its 240 would have to go: another network
    cure = "make c4.1.0, c4.2.0, c4.0.0 depthwise separable: 162,616 parameters, 978,432 fewer"
    assert only_failure(network).cure == cure
    network.c4 = nn.Sequential(faulty.separable(32, 240), faulty.separable(240, 240), faulty.separable(240, 240))
    assert parameters(network) == 162_616
    assert judge(network).passed


def test_cure_for_the_field():
    network = faulty.SmallField()
    assert only_failure(network).cure == (
        "give c1.0.0 dilation 2 and padding 2: receptive field 43x43 becomes 45x45, no more parameters"
    )
    network.c1[0] = faulty.conv(3, 8, dilation=2)
    report = judge(network)
    assert report.passed
    assert parameters(network) == parameters(faulty.SmallField())


def test_taps_that_see_only_padding_are_no_dilation_and_no_field():
    found = {
        verdict.name: verdict for verdict in judge(faulty.DeadDilation(), cures=True).verdicts if not verdict.passed
    }
    assert [name[:2] for name in found] == ["R1", "R2", "R4"]
    end, size, _ = found.values()
    assert end.detail.startswith(
        "the last convolution of c1, c1.2.0, has stride 1 and dilation 32, with which all taps but one see only"
        " padding; the last convolution of c2, c2.2.0, has"
    )
    # 3 + 3 * 4
    assert end.cure == (
        "give c1.2.0, c2.2.0, c3.2.0 dilation 2 and padding 2: receptive field 3x3 becomes 15x15, no more parameters"
    )
    assert size.detail == (
        "3x3 (195x195 with kernels of which one tap alone sees more than padding), must be more than 44: 42 too few"
    )
    # 3 + 2 * 21 = 45
    assert size.cure == (
        "give c1.2.0 dilation 21 and padding 21: receptive field 3x3 becomes 45x45, no more parameters"
    )


def test_cure_for_taps_that_see_only_padding():
    network = faulty.DeadDilation()
    network.c1[2] = faulty.conv(8, 16, dilation=2)
    assert failed(judge(network))["R2"].detail.startswith("7x7 (135x135")  # 195 - 64 + 4
    network.c1[2] = faulty.conv(8, 16, dilation=21)
    assert judge(network).verdicts[3].detail.startswith("45x45 (173x173")  # 195 - 64 + 42
    assert judge(network).verdicts[3].passed


def test_a_field_that_is_large_without_dead_taps_passes():
    network = faulty.Sound()
    network.c4[2] = faulty.conv(32, 64, dilation=8)  # on 8x8: 4 * 16 in place of 4 * 2, of which nothing is seen
    report = judge(network)
    assert report.passed
    assert report.verdicts[3].detail.startswith("67x67 (131x131 with")


def test_cure_for_max_pooling():
    network = faulty.MaxPooling()
    assert only_failure(network).cure == (
        "delete pool3 and give c3.2.0 before it stride 2: receptive field 103x103 becomes 99x99, 3,992,192 MACs in"
        " place of 4,434,560, no more parameters"
    )
    network.pool3 = nn.Identity()
    network.c3[2] = faulty.conv(32, 32, stride=2, dilation=2)
    assert judge(network).passed


def test_cure_for_max_pooling_takes_the_same_steps():
    network = faulty.MaxPooling()
    network.pool3 = nn.MaxPool2d(3)
    assert only_failure(network).cure.startswith(
        "delete pool3 and give c3.2.0 before it stride 3: receptive field 131x"
    )


def test_cure_for_max_pooling_without_steps():
    network = faulty.StrideOnePooling()
    assert only_failure(network).cure == (
        "delete pool3: it drops no pixels, so nothing has to stand in for it; receptive field 83x83 becomes 75x75, no"
        " more parameters"
    )
    network.pool3 = nn.Identity()
    assert judge(network).passed


def test_cure_for_the_bonus_where_an_average_shrinks_the_map():
    network = faulty.AveragePooling()
    report = judge(network, cures=True)
    assert report.passed
    assert report.verdicts[3].detail.startswith("46x46")
    [bonus] = report.bonuses
    # without the pooling alone the field would be 37: each layer after it is dilated by its step
    assert bonus.cure.startswith(
        "delete pool2; give c3.0.0, c3.1.0, c4.0.0, c4.1.0, c4.2.0 dilation 2 and padding 2; give c3.2.0 dilation 4 and"
        " padding 4: receptive field 46x46 becomes 45x45"
    )
    network.pool2 = nn.Identity()
    for layer, step in ((network.c3[0][0], 2), (network.c3[1][0], 2), (network.c3[2][0], 4)):
        layer.dilation = layer.padding = (step, step)
    for block in network.c4:
        block[0].dilation = block[0].padding = (2, 2)
    report = judge(network)
    assert report.passed
    assert report.bonuses[0].passed
    assert report.verdicts[3].detail.startswith("45x45")


def test_cure_for_a_short_block():
    network = faulty.ShortBlock()
    # 9 * 32 + 32 * 32 depthwise separable, 9 * 32 * 32 dense
    assert "3x3 convolution of 32 to 32 channels after c4.0.0: 1,312 weights" in only_failure(network).cure
    network.c4 = nn.Sequential(faulty.conv(32, 32), faulty.separable(32, 32), faulty.conv(32, 64))
    assert judge(network).passed


def test_cure_for_a_long_block():
    network = faulty.LongBlock()
    assert only_failure(network).cure.startswith(
        "take c2.0.0 away, which keeps the width: 2,304 weights fewer; 69,080 parameters"
    )
    network.c2 = network.c2[1:]
    assert judge(network).passed


def test_cure_for_a_block_that_is_two_too_long():
    network = faulty.LongestBlock()
    cure = "take c2.1.0 and c2.2.0 away, which keep the width: 4,608 weights fewer; 67,208 parameters"
    assert only_failure(network).cure.startswith(cure)
    network.c2 = nn.Sequential(network.c2[0], network.c2[3], network.c2[4])
    assert judge(network).passed


def test_cure_for_a_block_that_ends_plain():
    network = faulty.BlockEndsPlain()
    cure = only_failure(network).cure
    assert cure == (
        "give c2.2.0 stride 2: receptive field 47x47 becomes 75x75, 6,204,032 MACs in place of 17,957,504, no more"
        " parameters"
    )
    network.c2[2] = faulty.conv(16, 32, stride=2)
    report = judge(network)
    assert report.passed
    assert report.verdicts[3].detail.startswith("75x75")


def test_cure_for_no_separable_layer():
    network = faulty.NoSeparable()
    # 9 * 32 * 64 becomes 9 * 32 + 32 * 64
    assert only_failure(network).cure == "make c4.2.0 depthwise separable: 60,856 parameters, 16,096 fewer"
    network.c4[2] = faulty.separable(32, 64)
    assert parameters(network) == 60_856
    assert judge(network).passed


def test_cure_for_no_dilation():
    network = faulty.NoDilation()
    assert only_failure(network).cure == (
        "give c4.0.0 dilation 2 and padding 2: receptive field 91x91 becomes 107x107, no more parameters"
    )
    network.c4[0] = faulty.conv(32, 32, dilation=2)
    assert judge(network).verdicts[3].detail.startswith("107x107")
    assert judge(network).passed


def test_cure_for_a_flattened_head():
    network = faulty.FlattenedHead()
    cure = "put nn.AdaptiveAvgPool2d(1) before fc: it then needs 640 weights in place of 40,960"
    assert only_failure(network).cure == f"{cure}; 69,048 parameters, 40,320 fewer"
    assert parameters(network) - parameters(faulty.Sound()) == 40_960 - 640 == 40_320


def test_cure_for_a_map_that_a_kernel_swallows():
    network = faulty.SwallowedMap()
    # 8 + 2 * 3 - 7 places are left
    cure = only_failure(network).cure
    assert cure.startswith("give last padding 3: a map of 7x7 is left to average; 6,404,736 MACs")
    network.last.padding = (3, 3)
    assert judge(network).passed


def test_cure_for_a_map_that_strides_use_up():
    network = faulty.Sound()
    network.c4 = nn.Sequential(faulty.conv(32, 32), faulty.conv(32, 32), faulty.conv(32, 64, stride=8))
    verdict = only_failure(network)
    assert verdict.detail == "c4.2.0 leaves one place of a map of 32x8x8: pool has nothing to average"
    assert verdict.cure.startswith("give c4.2.0 stride 1: a map of 8x8 is left to average; ")
    network.c4[2][0].stride = (1, 1)
    assert judge(network).passed


def test_cure_for_a_cropped_head():
    # both slices, of the height and of the width
    cure = only_failure(faulty.CroppedHead()).cure
    assert cure == "leave slice out: the whole map is to be averaged; no more parameters"


# --- unknown is not a pass


def test_unknown_operator_fails_what_it_could_hide():
    class Spectral(faulty.Sound):
        def features(self, x):
            return super().features(torch.fft.fft2(x).real)

    found = failed(judge(Spectral()))
    assert set(found) == {"R1", "R2", "R5"}
    assert found["R2"].detail == "unknown: fft_c2c (_fft_c2c) is not understood"
    assert found["R2"].layer == "fft_c2c"
    assert "R7" not in found


@pytest.mark.parametrize(
    ("function", "layer", "maximum"),
    [
        (lambda x: x.reshape(1, 32, 16, 2, 16, 2).amax((3, 5)), "amax", True),
        (lambda x: torch.maximum(*x.chunk(2, 3)), "split", True),
        (lambda x: x.reshape(1, 32, 16, 2, 16, 2).mean((3, 5)), "mean", False),
        (lambda x: x.reshape(1, 32, 16, 2, 16, 2)[:, :, :, 0, :, 0], "select", False),
    ],
)
def test_positions_that_are_lost_may_have_been_pooled(function, layer, maximum):
    class Lost(faulty.AveragePooling):
        def __init__(self):
            super().__init__()
            self.pool2 = nn.Identity()

        def features(self, x):
            return self.c4(function(self.c3(self.c2(self.c1(x)))))

    report = judge(Lost())
    rule = report.verdicts[1]
    assert rule.passed is not maximum
    assert rule.detail == ("unknown: whether {} takes a maximum over space" if maximum else "none found").format(
        rule.layer
    )
    assert report.bonuses[0].detail == f"unknown: {layer} in {layer} is not understood and could pool or drop pixels"


def test_unproved_field_fails(monkeypatch):
    monkeypatch.setattr(analyzer, "prove", lambda *args: Proof("unproved", "no time"))
    found = failed(judge(faulty.Sound()))
    assert found["R2"].detail == "75x75, but unproved: no time"


def test_both_axes_must_be_large():
    class Wide(faulty.Sound):
        """C4 looks only sideways: 51 high."""

        def __init__(self):
            super().__init__()
            self.c3 = nn.Sequential(
                faulty.separable(32, 32), faulty.conv(32, 32, kernel=1), faulty.conv(32, 32, dilation=2)
            )
            layers = [nn.Conv2d(32, 32, (1, 3), padding=(0, 1)), nn.Conv2d(32, 32, 1), nn.Conv2d(32, 64, 1)]
            self.c4 = nn.Sequential(*layers)

    verdict = only_failure(Wide())
    assert verdict.detail == "43x51, must be more than 44: 2 too few"


# --- rule sets


def write(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def test_rule_set_of_ones_own(tmp_path):
    path = write(
        tmp_path,
        "title: mine\nblocks: [c4]\nrules:\n"
        "  - {name: small, kind: parameters_below, limit: 69048}\n"
        "  - {name: quick, kind: macs_below, limit: 10000000}\n"
        "  - {name: three, kind: convolutions_per_block, count: 3}\n",
    )
    report = judge(faulty.Sound(), path)
    assert [verdict.passed for verdict in report.verdicts] == [False, True, True]
    assert report.verdicts[0].detail == "69,048, must be fewer than 69,048: 1 too many"
    assert report.verdicts[2].detail == "c4 3"
    assert report.bonuses == ()


def test_macs_limit_names_the_heaviest_layer(tmp_path):
    path = write(tmp_path, "title: t\nrules:\n  - {name: quick, kind: macs_below, limit: 1000}\n")
    [verdict] = judge(faulty.Sound(), path).verdicts
    assert verdict.layer == "c4.2.0"  # 64 positions of 9 * 32 * 64: 1,179,648


RULES = "title: t\nrules:\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RULES + "  - {name: a, kind: parameters_bellow, limit: 3}\n", "did you mean 'parameters_below'"),
        (
            "title: t\nrules:\n  - {name: a, kind: parameters_below, limmit: 3}\n",
            "did you mean 'limit'|this key is needed",
        ),
        (
            "title: t\nrules:\n  - {name: a, kind: parameters_below, limit: 3, extra: 1}\n",
            "extra: there is no such key",
        ),
        (
            "title: t\nrules:\n  - {name: a, kind: parameters_below, limit: none}\n",
            "limit: input should be a valid int",
        ),
        ("title: t\nrule:\n  - {name: a, kind: dilated}\n", "rules: this key is needed|did you mean 'rules'"),
        ("title: t\nrules: []\n", "rules: tuple should have at least 1 item"),
        ("title: t\nrules: [dilated]\n", "rules.0"),
        ("- a\n", "holds no keys"),
        ("a: [\n", "not valid YAML"),
    ],
)
def test_wrong_rule_set_is_one_line(tmp_path, text, message):
    with pytest.raises(FlyweightError, match=message) as caught:
        rules.load_ruleset(write(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert "mine.yaml" in str(caught.value)


def test_unknown_rule_set_names_the_known_ones():
    with pytest.raises(
        FlyweightError, match=r"no rule set 'breif' \(did you mean 'brief'\?\): the built-in ones are brief"
    ):
        rules.load_ruleset("breif")


def test_every_kind_has_its_own_name():
    for kind, rule in rules.KINDS.items():
        assert rule.model_fields["kind"].annotation.__args__ == (kind,)


def test_bonus_for_dilation_in_place_of_stride():
    class Dilated(faulty.Sound):
        def __init__(self):
            super().__init__()
            for block in (self.c1, self.c2):
                block[2][0].stride, block[2][0].dilation, block[2][0].padding = (1, 1), (4, 4), (0, 0)

    report = judge(Dilated())
    assert report.bonuses[0].passed
    # 5 + 8 = 13, + 4 + 8 = 25, + 2 + 2 + 4 = 33, + 6 = 39: all at step 1
    assert report.verdicts[3].detail == "39x39, must be more than 44: 6 too few"


def test_functional_networks_are_judged_alike():
    class Functional(faulty.Sound):
        def features(self, x):
            x = self.c3(self.c2(self.c1(x)))
            return self.c4(F.max_pool2d(x, 3, 1, 1))

    verdict = only_failure(Functional())
    assert verdict.layer == "max_pool2d"


@pytest.mark.parametrize("rule", ["convolutions_per_block, count: 3", "blocks_end_strided_or_dilated"])
@pytest.mark.parametrize("part", ["rules", "bonuses"])
def test_a_rule_about_blocks_needs_some(tmp_path, rule, part):
    other = "rules: [{name: small, kind: parameters_below, limit: 9}]\n" if part == "bonuses" else ""
    entry = f"{other}{part}: [{{name: three, kind: {rule}BLOCKS}}]\n"
    for blocks, top in (("", ""), (", blocks: []", ""), ("", "blocks: []\n")):
        path = write(tmp_path, f"title: mine\n{top}{entry.replace('BLOCKS', blocks)}")
        with pytest.raises(FlyweightError, match=r"mine\.yaml: the rule 'three' .* blocks: \[c1, c2, c3, c4\]$"):
            rules.load_ruleset(path)
    for blocks, top in ((", blocks: [c4]", ""), ("", "blocks: [c4]\n")):
        path = write(tmp_path, f"title: mine\n{top}{entry.replace('BLOCKS', blocks)}")
        assert len(getattr(rules.load_ruleset(path), part)) == 1


def test_a_limit_is_a_number(tmp_path):
    path = write(tmp_path, "title: mine\nrules: [{name: small, kind: parameters_below, limit: true}]\n")
    with pytest.raises(FlyweightError, match="limit: a yes or a no"):
        rules.load_ruleset(path)


@pytest.mark.parametrize("source", ["x" * 5000, "a\0b"])
def test_a_path_that_cannot_be_is_one_line(source):
    with pytest.raises(FlyweightError, match="no rule set"):
        rules.load_ruleset(source)
