import pytest
import torch
from torch import nn

from flyweight import analysis, rules
from flyweight.data.cifar10 import SPEC
from flyweight.errors import FlyweightError
from flyweight.images.spec import Spec
from flyweight.networks import build as builder
from flyweight.networks import builtin
from flyweight.networks.build import TableNetwork
from flyweight.networks.convolutions import PhaseConv2d
from flyweight.recipes.network import Network, Row
from flyweight.recipes.sections import ModelConfig
from flyweight.runs.allowing import allow
from flyweight.runs.card import Card, load_trained, save_model

NAMES = list(builtin.NETWORKS)


def build(name, classes=10):
    torch.manual_seed(0)
    return builder.build(ModelConfig(network=name), Spec.unnamed(classes, SPEC.shape))


# The contract: what holds for every network in the table, and must hold for the next one.


@pytest.mark.parametrize("name", NAMES)
def test_shape_and_finite_logits(name):
    network = build(name, classes=7)
    logits = network(torch.randn(2, 3, 32, 32))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient(name):
    network = build(name)
    network(torch.randn(4, 3, 32, 32)).square().mean().backward()
    without = [
        key for key, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert without == []


@pytest.mark.parametrize("name", NAMES)
def test_pictures_of_a_batch_do_not_see_each_other_in_eval_mode(name):
    network = build(name).eval()
    x = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(network(x)[1:2], network(x[1:2]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_weights_survive_saving_and_loading(name, tmp_path):
    network = build(name).eval()
    card = Card(
        network=name, dropout=None, classes=tuple("abcdefghij"), input_shape=(3, 32, 32), mean=(0.5,) * 3,
        std=(0.2,) * 3, data="digits", fingerprint="0", epochs=1,
    )  # fmt: skip
    save_model(tmp_path, network, card)
    loaded = load_trained(tmp_path)
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded.model(x), network(x))
    assert loaded.card.mean == card.mean


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_builds_the_same_weights(name):
    assert all(torch.equal(a, b) for a, b in zip(build(name).parameters(), build(name).parameters(), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_the_brief_holds(name):
    """R1 to R5 and the parameters of R7; R6 is in test_config and test_augment, the accuracy in docs/results.md."""
    report = rules.check(analysis.analyze(build(name), (3, 32, 32)), rules.load_ruleset("brief"), cures=False)
    assert [verdict.name for verdict in report.verdicts if not verdict.passed] == []
    assert report.passed


def test_the_bonus_holds_for_the_two_dilated_ones():
    def bonus(name):
        report = rules.check(analysis.analyze(build(name), (3, 32, 32)), rules.load_ruleset("brief"), cures=False)
        return all(verdict.passed for verdict in report.bonuses)

    assert [name for name in NAMES if bonus(name)] == ["dilated", "nano-dilated"]


def test_dilateds_phases_are_those_of_a_network_with_stride_four_and_their_mean_is_the_whole():
    network = build("dilated").eval()
    x = torch.randn(2, 3, 32, 32)
    whole = network(x)
    convolutions = [module for module in network.modules() if isinstance(module, PhaseConv2d)]
    assert [module.phase.stride for module in convolutions].count(2) == 2
    # batch norm stays in eval mode: in training its statistics are those of the phase
    for module in convolutions:
        module.train()
    phases = torch.cat([network(x).round(decimals=4)[None] for _ in range(300)]).unique(dim=0)
    assert len(phases) == 16
    torch.testing.assert_close(phases.mean(0), whole, atol=2e-4, rtol=1e-4)


def test_phases_begin_after_the_last_stride_and_not_at_a_residual_layer():
    def row(width, **options):
        return Row(width=width, **options)

    network = Network(
        blocks=(
            (row(8, stride=2), row(8, residual=True), row(8, residual=True)),
            (row(8, dilation=2, residual=True), row(8, dilation=2), row(8, dilation=2, residual=True)),
            (row(8, dilation=4), row(8, dilation=4, padding=0), row(8, dilation=2)),
            (row(8, dilation=2), row(8, dilation=6), row(8, dilation=2)),
        )
    )
    torch.manual_seed(0)
    built = TableNetwork(network, 10, 3).eval()
    x = torch.randn(2, 3, 32, 32)
    whole = built(x)
    phased = {name: module for name, module in built.named_modules() if isinstance(module, PhaseConv2d)}
    assert [name for name, module in phased.items() if module.phase.stride > 1] == ["c2.conv2.0"]
    for module in phased.values():
        module.train()
    phases = torch.cat([built(x).round(decimals=5)[None] for _ in range(60)]).unique(dim=0)
    assert len(phases) == 4
    torch.testing.assert_close(phases.mean(0), whole, atol=2e-5, rtol=1e-4)


def test_a_map_with_fewer_places_than_phases_is_told_before_a_step_draws_an_empty_one():
    start = (Row(width=8, stride=2), Row(width=8), Row(width=8, dilation=4, padding=0))
    end = (Row(width=8, dilation=4), Row(width=8, dilation=4))
    table = Network(blocks=((*start, Row(width=8, dilation=4, padding=0)), end))
    fits, small = (Spec.unnamed(10, (3, size, size)) for size in (40, 38))
    assert any(isinstance(module, PhaseConv2d) for module in builder.build(_own(table), fits).modules())
    with pytest.raises(FlyweightError, match="row 4 of c1 leaves a map of 3x3, .* 4x4 phases: set model.phases"):
        builder.build(_own(table), small)
    builder.build(_own(table, phases="all"), small)


@pytest.mark.parametrize(
    ("name", "least", "where"),
    [
        # C2 ends with stride 2 on the half, and a 3x3 without padding needs three places
        ("sprint2", 9, "row 1 of c3"),
        # 8x8 places are averaged: 31 less the two rows and columns that C1 shrinks by, halved twice to 15 and 8
        ("course", 31, "its pooling"),
    ],
)
def test_images_that_are_too_small_are_told_with_the_least_that_fits(name, least, where):
    def made(size):
        network = builder.build(ModelConfig(network=name, phases="all"), Spec.unnamed(10, (3, size, size)))
        return network.eval()(torch.zeros(1, 3, size, size))

    assert made(least).shape == (1, 10)
    with pytest.raises(FlyweightError) as told:
        made(least - 1)
    size = f"{least - 1}x{least - 1}"
    assert f"images of {size} pixels are too small for this network: {where} would leave" in str(told.value)
    assert f"; {least}x{least} is the least it takes" in str(told.value)


def test_no_size_is_promised_that_none_was_found_for():
    table = Network(blocks=((Row(width=8, stride=600), Row(width=8, padding=0)),))
    with pytest.raises(FlyweightError, match="row 2 of c1 would leave nothing. Enlarge"):
        builder.build(_own(table), Spec.unnamed(10, (3, 32, 32)))


def _own(table, **options):
    return ModelConfig(network="own", table=table, **options)


def test_only_a_network_without_strides_has_phases_and_only_if_the_recipe_wants_them():
    def phased(name, **options):
        network = builder.build(ModelConfig(network=name, **options), SPEC)
        return any(isinstance(module, PhaseConv2d) for module in network.modules())

    assert [name for name in NAMES if phased(name)] == ["dilated", "nano-dilated"]
    assert not phased("dilated", phases="all")


def test_parameters_by_hand():
    # sprint: the rows of the table, 9 * in * out a dense layer, 9 * in + in * out a separable one, 2 * out a norm
    dense = 9 * (3 * 32 + 4 * 32 * 32 + 32 * 64 + 2 * 64 * 64)
    separable = 9 * 64 + 64 * 64 + 9 * 64 + 64 * 96 + 9 * 96 + 96 * 96 + 9 * 96 + 96 * 160
    norms = 2 * (5 * 32 + 4 * 64 + 2 * 96 + 160)
    assert sum(p.numel() for p in build("sprint").parameters()) == dense + separable + norms + 160 * 10


def test_dropout_of_the_recipe_replaces_the_networks_own():
    def probabilities(dropout):
        network = builder.build(ModelConfig(network="course", dropout=dropout), SPEC)
        return {module.p for module in network.modules() if isinstance(module, nn.Dropout)}

    assert probabilities(None) == {0.1}
    assert probabilities(0.0) == {0.0}


def test_a_reference_with_arguments_travels_with_its_weights(tmp_path):
    text = "from torch import nn\ndef make(width, num_classes):\n    return nn.Sequential(nn.Conv2d(3, width, 3),"
    (tmp_path / "net.py").write_text(f"{text} nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))\n")
    network = f"{tmp_path}/net.py:make(width=5)"
    built = builder.build(ModelConfig(network=network), SPEC)
    card = Card(
        network=network, dropout=None, classes=tuple("abcdefghij"), input_shape=(3, 32, 32), mean=(0.5,) * 3,
        std=(0.2,) * 3, data="digits", fingerprint="0", epochs=1,
    )  # fmt: skip
    save_model(tmp_path, built, card)
    x = torch.randn(2, 3, 32, 32)
    allow(tmp_path)
    assert torch.equal(load_trained(tmp_path).model(x), built.eval()(x))


MINE = """
from torch import nn
from neighbour import WIDTH
class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, WIDTH, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, 10))
class Other:
    pass
"""


def test_a_network_of_the_users_own_may_import_its_neighbours(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "neighbour.py").write_text("WIDTH = 5\n")
    network = builder.build(ModelConfig(network=f"{tmp_path}/mine.py:Net"), SPEC)
    assert network(torch.randn(1, 3, 32, 32)).shape == (1, 10)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("sprnt", "did you mean 'sprint'"),
        ("missing.py:Net", "there is no file 'missing.py'"),
        ("{folder}/mine.py:Nett", "did you mean 'Net'"),
        ("{folder}/mine.py:Other", "no nn.Module named 'Other'"),
        ("{folder}/broken.py:Net", "importing it failed: ZeroDivisionError"),
        ("{folder}/needy.py:Net", "cannot be built: Net needs width, without default"),
    ],
)
def test_a_wrong_network_is_one_line(tmp_path, reference, words):
    (tmp_path / "mine.py").write_text(MINE.replace("from neighbour import WIDTH", "WIDTH = 5"))
    (tmp_path / "broken.py").write_text("WIDTH = 1 / 0\nclass Net:\n    width = WIDTH\n")
    (tmp_path / "needy.py").write_text(
        "from torch import nn\nclass Net(nn.Module):\n    def __init__(self, width): super().__init__()\n"
    )
    with pytest.raises(FlyweightError) as error:
        builder.build(ModelConfig(network=reference.format(folder=tmp_path)), SPEC)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def described(blocks, **options):
    return ModelConfig.model_validate({"network": "mine", "table": {"blocks": blocks, **options}})


def test_a_recipe_holds_rows_of_any_number_of_blocks_and_any_kernels():
    blocks = [
        [{"width": 8, "kernel": 5}],
        [{"width": 8, "kind": "separable", "kernel": 7, "residual": True}, {"width": 12, "kernel": 1}],
    ]
    network = builder.build(described(blocks), Spec.unnamed(3, (1, 28, 20)))
    assert network(torch.randn(2, 1, 28, 20)).shape == (2, 3)
    # 25 * 8, 49 * 8 + 8 * 8, 8 * 12 weights, two a channel of the norms, 12 * 3 of the classifier
    assert sum(p.numel() for p in network.parameters()) == 200 + 392 + 64 + 96 + 2 * (8 + 8 + 12) + 36
    assert [name for name, _ in network.named_children()] == ["c1", "c2", "pool", "classifier"]


def test_the_rows_of_a_built_in_network_written_down_build_the_same_network():
    for name in NAMES:
        written = ModelConfig(network="mine", table=builtin.NETWORKS[name]).model_dump(mode="json")
        torch.manual_seed(0)
        copy = builder.build(ModelConfig.model_validate(written), SPEC)
        torch.manual_seed(0)
        own = builder.build(ModelConfig(network=name), SPEC)
        assert str(copy) == str(own)
        assert all(torch.equal(a, b) for a, b in zip(copy.parameters(), own.parameters(), strict=True))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"width": 8, "kind": "seperable"}, "did you mean 'separable'"),
        ({"width": 8, "residual": True}, "row 1 of c1: a residual layer adds its input"),
        ({"width": 3, "residual": True, "padding": 0}, "row 1 of c1: a residual layer adds its input"),
    ],
)
def test_a_row_that_cannot_be_built_is_one_line(row, words):
    with pytest.raises(FlyweightError, match=words):
        builder.build(described([[row]]), SPEC)


def test_rows_need_a_name_of_their_own():
    with pytest.raises(FlyweightError, match="a name of their own"):
        builder.build(ModelConfig(network="sprint", table=builtin.NETWORKS["nano"]), SPEC)


@pytest.mark.parametrize("argument", ["num_classes", "classes", "n_classes"])
def test_a_network_of_the_users_own_is_told_how_many_classes_there_are(tmp_path, argument):
    (tmp_path / "told.py").write_text(
        "from torch import nn\nclass Net(nn.Sequential):\n"
        f"    def __init__(self, {argument}):\n"
        f"        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, {argument}))\n"
    )
    network = builder.build(ModelConfig(network=f"{tmp_path}/told.py:Net"), Spec.unnamed(7, SPEC.shape))
    assert network(torch.randn(2, *SPEC.shape)).shape == (2, 7)
