"""Operators that move numbers around: reshapes, slices, padding, concatenation, resizing by repeating."""

from __future__ import annotations

from flyweight.analysis.positions import axes as lay
from flyweight.analysis.positions.axes import Dim, Layout, LostError, has_axis, size_of
from flyweight.analysis.positions.family import dims_of, effect_on_input, only_input, unmoved
from flyweight.analysis.positions.graph import Effect, Graph
from flyweight.analysis.positions.reads import SAME, WHOLE, Flip, Links, Nearest, Window
from flyweight.analysis.trace.trace import Node, Value


def reshaping(node: Node, graph: Graph) -> Effect:
    """``view`` and its like."""
    before = graph.layout(only_input(node, graph))
    shape = node.outputs[0].shape
    after = lay.reshape(before, shape)
    gone = lay.axes(before) - lay.axes(after)
    links: Links = {axis: WHOLE if axis in gone else SAME for axis in lay.axes(before)}
    return effect_on_input(node, graph, after, links)


def permuting(node: Node, graph: Graph) -> Effect:
    """``permute``, ``transpose`` and ``t``."""
    before = graph.layout(only_input(node, graph))
    order = list(range(len(before)))
    if "dims" in node.args:
        order = [index % len(before) for index in node.args["dims"]]
    elif len(before) > 1:
        a, b = (node.args.get("dim0", 0) % len(before), node.args.get("dim1", 1) % len(before))
        order[a], order[b] = order[b], order[a]
    return effect_on_input(node, graph, tuple(before[index] for index in order), unmoved(before))


def expanding(node: Node, graph: Graph) -> Effect:
    """``expand`` and ``repeat``: new or single entries repeated, never an axis of several pixels."""
    before, shape = graph.layout(only_input(node, graph)), node.outputs[0].shape
    offset = len(shape) - len(before)
    after, links = [lay.plain(size) for size in shape], unmoved(before)
    for index, dim in enumerate(before):
        if has_axis(dim) and size_of(dim) == shape[offset + index]:
            after[offset + index] = dim
        elif has_axis(dim) and size_of(dim) == 1:
            links[dim[0].axis] = WHOLE
        elif has_axis(dim):
            raise LostError
    return effect_on_input(node, graph, tuple(after), links)


def slicing(node: Node, graph: Graph) -> Effect:
    """``x[a:b:step]`` along one dimension."""
    before, shape = graph.layout(only_input(node, graph)), node.outputs[0].shape
    after, links = list(before), unmoved(before)
    dim = node.args["dim"] % len(before)
    atom = lay.single(before[dim])
    if atom is None:
        after[dim] = lay.plain(shape[dim])
        return effect_on_input(node, graph, tuple(after), links)
    start, step = node.args.get("start") or 0, node.args.get("step") or 1
    start = max(start + atom.size, 0) if start < 0 else min(start, atom.size)
    if atom.scale > 1 and step > 1:
        raise LostError
    after[dim] = (atom._replace(size=shape[dim]),)
    links[atom.axis] = Window(stride=step, padding=-start, unit=atom.scale)
    return effect_on_input(node, graph, tuple(after), links)


def splitting(node: Node, graph: Graph) -> Effect:
    """``split``, ``chunk`` and ``unbind`` along features; the last takes the dimension away."""
    before = graph.layout(only_input(node, graph))
    dim = node.args["dim"] % len(before)
    if has_axis(before[dim]):
        raise LostError
    layouts: list[Layout | None] = []
    for output in node.outputs:
        size = (lay.plain(output.shape[dim]),) if len(output.shape) == len(before) else ()
        layouts.append((*before[:dim], *size, *before[dim + 1 :]))
    return Effect(layouts, {graph.inputs(node)[0]: unmoved(before)})


def selecting(node: Node, graph: Graph) -> Effect:
    """``x[i]`` along features: the dimension disappears."""
    before = graph.layout(only_input(node, graph))
    dim = node.args["dim"] % len(before)
    if has_axis(before[dim]):
        raise LostError
    return effect_on_input(node, graph, (*before[:dim], *before[dim + 1 :]), unmoved(before))


def joining(node: Node, graph: Graph) -> Effect:
    """``cat`` and ``stack`` along features."""
    shape = node.outputs[0].shape
    dim = node.args["dim"] % len(shape)
    dims: list[Dim] = [lay.plain(size) for size in shape]
    links: dict[Value, Links] = {}
    for value in graph.inputs(node):
        layout = graph.layout(value)
        if len(layout) < len(shape):  # stacked
            layout = (*layout[:dim], (), *layout[dim:])
        if has_axis(layout[dim]):
            raise LostError
        for index, entry in enumerate(layout):
            if has_axis(entry):
                if has_axis(dims[index]) and dims[index] != entry:
                    raise LostError
                dims[index] = entry
        links[value] = unmoved(layout)
    return Effect([tuple(dims)], links)


def pads_constant(node: Node) -> bool:
    """Whether a padding puts one number around a map; others mirror or repeat pixels."""
    return "value" in node.args


def padding(node: Node, graph: Graph) -> Effect:
    """Zeros, mirrored or repeated pixels around a map; on the infinite plane all three only shift it."""
    before, shape = graph.layout(only_input(node, graph)), node.outputs[0].shape
    after, links = list(before), unmoved(before)
    pad = node.args.get("pad", node.args.get("padding"))
    if pad is None:
        raise LostError
    for index in range(len(pad) // 2):
        dim = len(shape) - 1 - index
        atom = lay.single(before[dim])
        if atom is None:
            after[dim] = lay.plain(shape[dim])
        else:
            after[dim] = (atom._replace(size=shape[dim]),)
            links[atom.axis] = Window(padding=pad[2 * index], unit=atom.scale)
    return effect_on_input(node, graph, tuple(after), links, edges=not pads_constant(node))


def flipping(node: Node, graph: Graph) -> Effect:
    """``flip`` of some dimensions."""
    before = graph.layout(only_input(node, graph))
    links = unmoved(before)
    for dim in dims_of(node, len(before), "dims"):
        atom = lay.single(before[dim])
        if atom is not None:
            if atom.scale > 1 or lay.extent(before, atom.axis) != atom.size:
                raise LostError
            links[atom.axis] = Flip(atom.size)
    return effect_on_input(node, graph, before, links)


def rolling(node: Node, graph: Graph) -> Effect:
    """``roll`` along features; along the image it would wrap around, which no field describes."""
    before = graph.layout(only_input(node, graph))
    if any(has_axis(before[dim]) for dim in dims_of(node, len(before), "dims")):
        raise LostError
    return effect_on_input(node, graph, before, unmoved(before))


def nearest(node: Node, graph: Graph) -> Effect:
    """Nearest-neighbour resizing of the last two dimensions by a whole factor or to a given size."""
    before, shape = graph.layout(only_input(node, graph)), node.outputs[0].shape
    after, links = list(before), unmoved(before)
    for dim, name in ((len(shape) - 2, "scales_h"), (len(shape) - 1, "scales_w")):
        atom = lay.single(before[dim])
        if atom is None:
            after[dim] = lay.plain(shape[dim])
            continue
        factor = node.args.get(name)
        if atom.scale > 1 or (factor is not None and factor * atom.size != shape[dim]):
            raise LostError
        after[dim] = (atom._replace(size=shape[dim]),)
        links[atom.axis] = Nearest(atom.size, shape[dim])
    return effect_on_input(node, graph, tuple(after), links)


def pixel_shuffle(node: Node, graph: Graph) -> Effect:
    """Features to pixels: each pixel becomes a square of `factor` by `factor`."""
    before, shape = graph.layout(only_input(node, graph)), node.outputs[0].shape
    if has_axis(before[-3]):
        raise LostError
    after, links = [*before[:-3], lay.plain(shape[-3])], unmoved(before)
    for dim in (-2, -1):
        atom = lay.single(before[dim])
        if atom is None:
            after.append(lay.plain(shape[dim]))
        elif atom.scale > 1:
            raise LostError
        else:
            after.append((atom._replace(size=shape[dim]),))
            links[atom.axis] = Nearest(atom.size, shape[dim])
    return effect_on_input(node, graph, tuple(after), links)


def pixel_unshuffle(node: Node, graph: Graph) -> Effect:
    """Pixels to features: a square of pixels becomes one, its places become features."""
    before, shape = graph.layout(only_input(node, graph)), node.outputs[0].shape
    factor = node.args["downscale_factor"]
    channels, height, width = graph.inputs(node)[0].shape[-3:]
    lead = list(shape[:-3])
    split = lay.reshape(before, [*lead, channels, height // factor, factor, width // factor, factor])
    *outer, c, h_high, h_low, w_high, w_low = split
    after = (*outer, lay.join([*c, *h_low, *w_low]), h_high, w_high)
    return effect_on_input(node, graph, after, unmoved(before))


def channel_shuffle(node: Node, graph: Graph) -> Effect:
    """Features change places."""
    before = graph.layout(only_input(node, graph))
    if has_axis(before[1]):
        raise LostError
    return effect_on_input(node, graph, before, unmoved(before))


def gated_linear(node: Node, graph: Graph) -> Effect:
    """``glu``: one half of the features times the sigmoid of the other."""
    before, shape = graph.layout(only_input(node, graph)), node.outputs[0].shape
    dim = node.args["dim"] % len(before)
    if has_axis(before[dim]):
        raise LostError
    return effect_on_input(node, graph, (*before[:dim], lay.plain(shape[dim]), *before[dim + 1 :]), unmoved(before))


def write_through_view(node: Node, graph: Graph) -> Effect:
    """A part of a tensor was overwritten: the layout stays, what is read is not known."""
    shape = node.outputs[0].shape
    for value in (node.args["base"], node.args["written"]):
        if value.shape == shape and graph.layouts.get(value) is not None:
            return Effect([graph.layout(value)], {}, known=False)
    return Effect([lay.of_image(shape) if len(shape) == 4 else None], {}, known=False)
