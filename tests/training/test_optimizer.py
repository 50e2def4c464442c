import pytest
import torch
from torch import nn

from flyweight.data.cifar10 import SPEC
from flyweight.networks.build import build
from flyweight.recipes import sections
from flyweight.recipes.sections import ModelConfig
from flyweight.training import optimizer


def settings(**values):
    return sections.TrainConfig(**values)


def quadratic_steps(optimizers, parameters, steps=5):
    """Descend from each parameter to a fixed target."""
    torch.manual_seed(1)
    target = torch.randn_like(parameters[0])
    for _ in range(steps):
        for parameter in parameters:
            parameter.grad = 2 * (parameter.detach() - target)
        for each in optimizers:
            each.step()


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (6, 6)])
def test_singular_values_become_about_one_and_the_directions_stay(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    result = optimizer.orthogonalized(matrix, steps=5)
    values = torch.linalg.svdvals(result)
    assert 0.5 < values.min() <= values.max() < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    turned = left.T @ result @ right.T
    torch.testing.assert_close(turned, torch.diag(turned.diagonal()), atol=1e-4, rtol=0)


def test_nothing_comes_of_nothing():
    assert torch.equal(optimizer.orthogonalized(torch.zeros(3, 4)), torch.zeros(3, 4))


@pytest.mark.parametrize("shape", [(8, 20), (20, 8)])
def test_muon_descends_as_torchs_own(shape):
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(value) for value in torch.randn(shape).repeat(2, 1, 1))
    options = {"lr": 0.1, "momentum": 0.6, "weight_decay": 0.05}
    mine = optimizer.Muon([{"params": [ours], "orthogonal": True, **options}])
    library = torch.optim.Muon([theirs], nesterov=True, ns_steps=3, **options)
    quadratic_steps([mine, library], [ours, theirs])
    # theirs iterates in bfloat16, whose rounding the polynomial enlarges
    torch.testing.assert_close(ours, theirs, atol=0.03, rtol=0)


def test_what_is_no_matrix_descends_by_sgd():
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(value) for value in torch.randn(5, 3).repeat(2, 1, 1))
    options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    mine = optimizer.Muon([{"params": [ours], "orthogonal": False, **options}])
    quadratic_steps([mine, torch.optim.SGD([theirs], nesterov=True, **options)], [ours, theirs])
    torch.testing.assert_close(ours, theirs)


def test_kernels_of_convolutions_keep_their_layout():
    layer = nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last)
    muon = optimizer.Muon(
        [{"params": [layer.weight], "orthogonal": True, "lr": 0.1, "momentum": 0.6, "weight_decay": 0.0}]
    )
    before = layer.weight.detach().clone()
    layer(torch.randn(2, 4, 5, 5)).sum().backward()
    muon.step()
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)
    change = (layer.weight - before).flatten(1)
    # the gradient of a sum has rank one: one direction, and as far as the learning rate says
    assert torch.linalg.svdvals(change.detach())[0] == pytest.approx(0.1, rel=0.35)


def test_each_parameter_is_in_one_group_and_the_classifier_is_no_hidden_matrix():
    network = build(ModelConfig(network="sprint"), SPEC)
    for name in ("sgd", "adamw", "muon"):
        made = optimizer.build(network, settings(optimizer=name))
        held = [id(parameter) for group in made.param_groups for parameter in group["params"]]
        assert sorted(held) == sorted(id(parameter) for parameter in network.parameters())
    matrices = {id(parameter) for parameter in made.param_groups[0]["params"]}
    names = [name for name, parameter in network.named_parameters() if id(parameter) in matrices]
    assert len(names) == 12
    assert not [name for name in names if "depthwise" in name or "classifier" in name]


def test_norms_and_biases_do_not_decay():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    decayed, free = optimizer.build(network, settings()).param_groups
    assert [tuple(parameter.shape) for parameter in decayed["params"]] == [(4, 3, 3, 3), (2, 4)]
    assert [tuple(parameter.shape) for parameter in free["params"]] == [(4,), (4,), (4,), (2,)]
    assert (decayed["weight_decay"], free["weight_decay"]) == (5e-4, 0.0)


def test_learning_rates_and_decays_are_those_of_the_recipe():
    made = optimizer.build(
        build(ModelConfig(network="sprint"), SPEC),
        settings(optimizer="muon", learning_rate=0.3, muon_learning_rate=0.07),
    )
    assert [group["lr"] for group in made.param_groups] == [0.07, 0.3, 0.3]
    assert [group["weight_decay"] for group in made.param_groups] == [0.05, 5e-4, 0.0]


def test_steps_and_decays_of_the_means_are_those_of_the_recipe():
    network = build(ModelConfig(network="sprint"), SPEC)
    assert optimizer.build(network, settings(optimizer="muon", muon_steps=5)).steps == 5
    made = optimizer.build(network, settings(optimizer="adamw", momentum=0.8, adamw_beta2=0.95))
    assert {group["betas"] for group in made.param_groups} == {(0.8, 0.95)}


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_a_layer_may_get_its_first_gradient_late(name):
    """One that is used from some step on, or that was frozen: each begins by itself, as in torch's own loops."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    made = optimizer.build(network, settings(optimizer=name))
    twins = [nn.Parameter(parameter.detach().clone()) for parameter in network.parameters()]
    of = dict(zip(network.parameters(), twins, strict=True))
    plain = {
        "sgd": lambda groups: torch.optim.SGD(groups, fused=False),
        "adamw": lambda groups: torch.optim.AdamW(groups, fused=False),
        "muon": lambda groups: optimizer.Muon(groups),
    }[name]
    groups = [{**group, "params": [of[parameter] for parameter in group["params"]]} for group in made.param_groups]
    theirs = plain([{key: value for key, value in group.items() if key != "fused"} for group in groups])
    for step in range(5):
        for number, (parameter, twin) in enumerate(of.items()):
            late = number in (2, 3) and step < 2
            parameter.grad = None if late else torch.randn_like(parameter)
            twin.grad = None if late else parameter.grad.clone()
        made.step()
        theirs.step()
        for parameter, twin in of.items():
            torch.testing.assert_close(parameter, twin)
    again = optimizer.build(network, settings(optimizer=name))
    again.load_state_dict(made.state_dict())
    again.step()


def test_a_network_of_one_layer_has_no_hidden_matrix():
    made = optimizer.build(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), settings(optimizer="muon"))
    assert [group["orthogonal"] for group in made.param_groups] == [False, False]


class HeadFirst(nn.Module):
    """The classifier is registered before the rest, and two layers share a weight."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.first, self.second, self.third = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)
        self.third.weight = self.second.weight


def test_the_classifier_is_the_linear_layer_and_a_shared_weight_moves_once():
    network = HeadFirst()
    found = optimizer.hidden_matrices(network)
    assert [id(weight) for weight in found] == [id(network.first.weight), id(network.second.weight)]
    # without a linear layer the last convolution makes the classes
    convolutions = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1))
    assert [id(weight) for weight in optimizer.hidden_matrices(convolutions)] == [id(convolutions[0].weight)]
    assert optimizer.hidden_matrices(nn.Flatten()) == []


def test_matrices_orthogonalised_together_are_those_orthogonalised_alone():
    for shape in ((5, 8, 3), (4, 3, 7)):
        matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        alone = torch.stack([optimizer.orthogonalized(matrix) for matrix in matrices])
        torch.testing.assert_close(optimizer.orthogonalized(matrices), alone)


def test_muon_takes_alike_matrices_together_and_each_of_them_gets_its_own_update(monkeypatch):
    shapes = [(4, 3, 3, 3), (8, 4, 1, 1), (4, 3, 3, 3), (8, 4, 1, 1), (2, 8, 1, 1)]

    def stepped():
        generator = torch.Generator().manual_seed(0)
        parameters = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
        made = optimizer.Muon(
            [{"params": parameters, "orthogonal": True, "lr": 0.1, "momentum": 0.6, "weight_decay": 0.1}]
        )
        for _ in range(3):
            for parameter in parameters:
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            made.step()
        return parameters

    alone = stepped()
    together = staticmethod(lambda updates: [[0, 2], [1, 3], [4]])
    monkeypatch.setattr(optimizer.Muon, "_by_shape", together)
    for one, other in zip(alone, stepped(), strict=True):
        torch.testing.assert_close(one, other)


def test_muon_reads_its_rates_from_tensors_where_it_is_given_some():
    def stepped(in_tensors):
        generator = torch.Generator().manual_seed(0)
        pairs = [torch.randn(shape, generator=generator).requires_grad_() for shape in ((4, 3, 3, 3), (10, 4), (4,))]
        options = {"momentum": 0.6, "weight_decay": 0.1}
        groups = [{"params": [one], "orthogonal": one.ndim == 4, "lr": 0.1, **options} for one in pairs]
        made = optimizer.Muon(groups)
        for step in range(4):
            for group in made.param_groups:
                group["lr"] = 0.1 / (step + 1)
            if in_tensors:
                made.rates = [torch.tensor(group["lr"]) for group in made.param_groups]
                for group in made.param_groups:
                    group["lr"] = 0.0
            for one in pairs:
                one.grad = torch.randn(one.shape, generator=generator)
            made.step()
        return pairs

    for number, tensor in zip(stepped(False), stepped(True), strict=True):
        torch.testing.assert_close(number, tensor)
