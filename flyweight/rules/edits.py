"""What would be if: the effect of small edits to a network, worked out on its graph without building it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from flyweight.analysis.facts import Convolution, Facts
from flyweight.analysis.findings.dead import live_links
from flyweight.analysis.findings.weights import used_parameters
from flyweight.analysis.positions.axes import HEIGHT, WIDTH
from flyweight.analysis.positions.field import UnknownFieldError, field_size
from flyweight.analysis.positions.graph import Graph
from flyweight.analysis.positions.reads import Window, of_window
from flyweight.analysis.trace.trace import Node


@dataclass(frozen=True)
class Edit:
    """One edit of one layer.

    Attributes:
        layer: name of the convolution.
        text: what to do, as an order.
        parameters: of the whole network afterwards.
        receptive_field: (height, width) afterwards; None when it was not asked or is unknown.
    """

    layer: str
    text: str
    parameters: int
    receptive_field: tuple[int, int] | None = None


def separable_edits(facts: Facts) -> list[Edit]:
    """Each dense convolution of more than one tap made depthwise separable, the biggest saving first.

    ``taps * inputs * outputs`` weights become ``taps * inputs + inputs * outputs``
    (Howard et al. 2017, "MobileNets", section 3.1).
    """
    edits = []
    for convolution in _dense(facts):
        taps, pairs = prod(convolution.kernel), convolution.inputs * convolution.outputs
        saved = taps * pairs - (taps * convolution.inputs + pairs)
        if saved > 0 and convolution.inputs > 1:
            text = f"make {convolution.name} depthwise separable"
            edits.append(Edit(convolution.name, text, facts.parameters - saved))
    return sorted(edits, key=lambda edit: edit.parameters)


def _dense(facts: Facts) -> Iterator[Convolution]:
    return (c for c in facts.convolutions if c.groups == 1 and not c.pointwise and not c.transposed)


def narrowing_edit(facts: Facts, limit: int) -> Edit | None:
    """The narrowing of one convolution's output that brings the parameters under a limit with the least change.

    Least is the smallest part of the layer's channels. Layers whose output is added to another or concatenated are left
    alone: others would have to follow.
    """
    edits: list[tuple[float, Edit]] = []
    for convolution in facts.convolutions:
        cost = channel_cost(facts, convolution)
        if not cost:
            continue
        fewer = (facts.parameters - limit) // cost + 1
        if fewer <= convolution.outputs // 2:  # more would be another network
            left = convolution.outputs - fewer
            text = f"narrow {convolution.name} from {convolution.outputs} to {left} channels"
            edit = Edit(convolution.name, text, facts.parameters - fewer * cost)
            edits.append((fewer / convolution.outputs, edit))
    return min(edits, key=lambda entry: entry[0], default=(0.0, None))[1]


def channel_cost(facts: Facts, convolution: Convolution) -> int | None:
    """Parameters that one output channel of a dense convolution costs: its own, its norm's and its readers'.

    None where the width is not free: added to something else, concatenated, or the network's own output.
    """
    if convolution.groups != 1 or convolution.transposed:
        return None
    graph, channels = facts.graph, convolution.outputs
    cost = convolution.parameters // channels
    mine, free = {convolution.node.outputs[0]}, True

    def passes(node: Node) -> bool:
        nonlocal cost, free
        free &= mine.issuperset(graph.inputs(node))
        used = sum(used_parameters(graph, node).values())
        if _passes_channels(graph, node):
            cost += used // channels if used >= channels else 0
            mine.add(node.outputs[0])
            return True
        if _reads_channels(graph, node):
            bias = node.outputs[0].shape[1] if node.args.get("bias") is not None or "mat1" in node.args else 0
            cost += (used - bias) // channels
        else:
            free = False
        return False

    for _ in graph.forth(convolution.node.outputs[0], passes):
        if not free:
            return None
    return cost if free and mine.isdisjoint(graph.trace.outputs) else None


def _passes_channels(graph: Graph, node: Node) -> bool:
    """Whether an operator treats each channel by itself, so that one fewer going in is one fewer coming out."""
    if graph.ops[node].kind == "convolution":
        return node.args["groups"] == node.args["weight"].shape[0] > 1 and not node.args["transposed"]
    return graph.ops[node].per_channel


def _reads_channels(graph: Graph, node: Node) -> bool:
    """Whether an operator has the same number of weights for each channel that goes in."""
    if graph.ops[node].kind == "convolution":
        return node.args["groups"] == 1
    return graph.ops[node].kind == "product" and len(node.outputs[0].shape) == 2


def field_if_dilated(facts: Facts, convolution: Convolution, extra: int) -> tuple[int, int] | None:
    """Receptive field (height, width) before the global pooling if a convolution's dilation were larger by `extra`.

    By the same backward arithmetic with that one link changed, so it is exact on branches as well. Of other
    convolutions only what sees more than padding counts.
    """
    effect = facts.graph.effects.get(convolution.node)
    if effect is None or convolution.transposed:
        return None
    instead = live_links(facts.graph, (other for other in facts.convolutions if other is not convolution))
    instead[convolution.node] = {
        value: {axis: of_window(link, Window.dilated, extra) for axis, link in links.items()}
        for value, links in effect.links.items()
    }
    try:
        sizes = [field_size(facts.graph, target, instead)[0] for target in facts.head.targets]
    except UnknownFieldError:
        return None
    largest = max(sizes, key=lambda size: prod(size.values()), default={})
    return (largest.get(HEIGHT, 1), largest[WIDTH]) if WIDTH in largest else None


def reaches(convolution: Convolution, dilation: int) -> bool:
    """Whether the outer taps see the map with a dilation and the padding that keeps its size."""
    pairs = zip(convolution.kernel, convolution.input_size, strict=True)
    return all(dilation * (side - 1) // 2 < size for side, size in pairs)


def dilates_alike(facts: Facts, convolution: Convolution) -> bool:
    """Whether a convolution has one dilation, on a map that is not split: then a sum with it means what it says."""
    own = set(convolution.node.args["dilation"])
    return not convolution.transposed and own == set(convolution.dilation) and len(own) == 1


def dilation_edits(facts: Facts, extra: int = 1) -> list[Edit]:
    """Each convolution of more than one tap with its dilation larger by `extra`, the largest field first.

    Left out: those whose outer taps would then see only padding, or that are a part of a split map.
    """
    edits = []
    for convolution in facts.convolutions:
        dilation = convolution.dilation[0] + extra
        if prod(convolution.kernel) == 1 or not dilates_alike(facts, convolution) or not reaches(convolution, dilation):
            continue
        sizes = field_if_dilated(facts, convolution, extra)
        if sizes is None:
            continue
        text = f"give {convolution.name} dilation {dilation} (padding larger by {_padding(convolution, extra)})"
        edits.append(Edit(convolution.name, text, facts.parameters, sizes))
    return sorted(edits, key=lambda edit: -prod(edit.receptive_field or (0, 0)))


def _padding(convolution: Convolution, extra: int) -> str:
    grown = [extra * (side - 1) // 2 for side in convolution.kernel]
    return str(grown[0]) if len(set(grown)) == 1 else "x".join(map(str, grown))


def field_edit(facts: Facts, minimum: int) -> Edit | None:
    """The smallest step in one convolution's dilation that takes both axes above a minimum.

    Among equal steps the one that overshoots least.
    """
    for extra in range(1, 9):
        enough = [e for e in dilation_edits(facts, extra) if e.receptive_field and min(e.receptive_field) > minimum]
        if enough:
            return enough[-1]
    return None


def reviving_edit(facts: Facts, minimum: int) -> Edit | None:
    """The smallest dilation, of one convolution of which one tap alone sees the map, that takes both axes above it."""
    for convolution in facts.convolutions:
        if prod(convolution.live) > 1 or prod(convolution.kernel) == 1 or not dilates_alike(facts, convolution):
            continue
        for dilation in range(1, max(convolution.dilation)):
            sizes = field_if_dilated(facts, convolution, dilation - max(convolution.dilation))
            if sizes is not None and min(sizes) > minimum and reaches(convolution, dilation):
                text = f"give {convolution.name} dilation {dilation} and padding {_padding(convolution, dilation)}"
                return Edit(convolution.name, text, facts.parameters, sizes)
    return None
