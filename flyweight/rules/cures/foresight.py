"""What would be if: the receptive field after a larger dilation, worked out on the graph without running anything."""

from __future__ import annotations

from math import prod

from flyweight.analysis import Convolution, Facts
from flyweight.analysis.findings.dead import live_links
from flyweight.analysis.positions.axes import HEIGHT, WIDTH
from flyweight.analysis.positions.field import UnknownFieldError, field_size
from flyweight.analysis.positions.reads import Window, of_window


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
