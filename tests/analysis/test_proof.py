"""The proof can fail: a wrong formula and a wrong claim are contradicted."""

import faulty_networks
import torch
from analysis_networks import Net, conv

from flyweight import analysis
from flyweight.analysis.positions import family
from flyweight.analysis.positions.axes import HEIGHT, WIDTH
from flyweight.analysis.positions.field import field_size
from flyweight.analysis.positions.operators import follow
from flyweight.analysis.positions.reads import Window
from flyweight.analysis.proof.probe import _poisoned_convolution
from flyweight.analysis.proof.prove import prove
from flyweight.analysis.trace.recorder import record


def test_poisoned_convolution_marks_what_the_real_one_marks():
    generator = torch.Generator().manual_seed(0)
    for groups, transposed in ((1, False), (2, False), (4, False), (1, True), (2, True)):
        x = torch.rand(1, 4, 12, 11, generator=generator, dtype=torch.float64)
        x[0, 1, 3, 4] = torch.nan
        shape = (4, 6 // groups, 3, 2) if transposed else (8, 4 // groups, 3, 2)
        weight = torch.rand(shape, generator=generator, dtype=torch.float64)
        geometry = ([2, 1], [1, 0], [1, 2], transposed, [0, 0], groups)
        real = torch.ops.aten.convolution(x, weight, None, *geometry)
        assert torch.equal(_poisoned_convolution(x, weight, None, *geometry).isnan(), real.isnan())


def test_a_wrong_formula_is_contradicted(monkeypatch):
    class Blind(Window):
        """Takes every dilation for 1."""

        def reads(self, outputs):
            return Window(self.kernel, self.stride, self.padding, 1, self.unit).reads(outputs)

    monkeypatch.setattr(family, "Window", Blind)
    network = faulty_networks.Sound()
    found = analysis.analyze(network, (3, 32, 32)).receptive_field
    assert found.value == 67  # 75 without the 8 that the dilation adds
    assert found.status == "contradicted"


def test_a_wrong_claim_at_the_real_size_is_contradicted():
    network = Net(lambda net, x: net.a(x).reshape(1, 8, 16, 16), a=conv(3, 8))  # takes no other size
    graph = follow(record(network, (3, 16, 16)))
    node = graph.trace.nodes[0]
    [target] = node.outputs
    assert field_size(graph, target)[0] == {HEIGHT: 3, WIDTH: 3}
    assert prove(network, graph, target, {HEIGHT: 3, WIDTH: 3}).status == "proved"
    [(value, links)] = graph.effects[node].links.items()
    graph.effects[node].links[value] = links | {WIDTH: Window(5, padding=2)}
    proof = prove(network, graph, target, {HEIGHT: 3, WIDTH: 5})
    assert proof.status == "contradicted"
    assert proof.detail == "width: position 0 does not read line 2 of the image"
