"""Operators that move numbers around: reshapes, slices, padding, concatenation, resizing by repeating."""

from __future__ import annotations

from flyweight.analysis.positions import axes as lay
from flyweight.analysis.positions.axes import Atom, Dim, Layout, LostError, has_axis, size_of
from flyweight.analysis.positions.family import Family, Single, dims_of, number, unmoved, unsplit
from flyweight.analysis.positions.graph import Effect, Graph
from flyweight.analysis.positions.reads import WHOLE, Between, Flip, Links, Nearest, TransposedWindow, Window
from flyweight.analysis.trace.trace import Node, Value


def reshaping(node: Node, graph: Graph) -> Effect:
    """``view`` and its like."""
    one = Single(node, graph)
    one.after = list(lay.reshape(one.before, one.shape))
    one.links.update(dict.fromkeys(lay.axes(one.before) - lay.axes(tuple(one.after)), WHOLE))
    return one.effect()


def permuting(node: Node, graph: Graph) -> Effect:
    """``permute``, ``transpose`` and ``t``."""
    one = Single(node, graph)
    rank = len(one.before)
    order = list(range(rank))
    if "dims" in node.args:
        order = [index % rank for index in node.args["dims"]]
    elif rank > 1:
        a, b = node.args.get("dim0", 0) % rank, node.args.get("dim1", 1) % rank
        order[a], order[b] = order[b], order[a]
    one.after = [one.before[index] for index in order]
    return one.effect()


def expanding(node: Node, graph: Graph) -> Effect:
    """``expand`` and ``repeat``: new or single entries repeated, never an axis of several pixels."""
    one = Single(node, graph)
    one.after = [lay.plain(size) for size in one.shape]
    for index, dim in enumerate(one.before, len(one.shape) - len(one.before)):
        if not has_axis(dim):
            continue
        if size_of(dim) == one.shape[index]:
            one.after[index] = dim
        elif size_of(dim) == 1:
            one.links[dim[0].axis] = WHOLE
        else:
            raise LostError
    return one.effect()


def slicing(node: Node, graph: Graph) -> Effect:
    """``x[a:b:step]`` along one dimension."""
    one = Single(node, graph)
    dim, size = one.dim(), size_of(one.before[one.dim()])
    start, step = node.args.get("start") or 0, node.args.get("step") or 1
    start = max(start + size, 0) if start < 0 else min(start, size)
    one.slide(dim, stride=step, padding=-start)
    return one.effect()


def splitting(node: Node, graph: Graph) -> Effect:
    """``split``, ``chunk`` and ``unbind`` along features; the last takes the dimension away."""
    one = Single(node, graph)
    dim = one.features(one.dim())
    layouts: list[Layout | None] = []
    for output in node.outputs:
        size = (lay.plain(output.shape[dim]),) if len(output.shape) == len(one.before) else ()
        layouts.append((*one.before[:dim], *size, *one.before[dim + 1 :]))
    return Effect(layouts, {one.value: one.links})


def selecting(node: Node, graph: Graph) -> Effect:
    """``x[i]`` along features: the dimension disappears."""
    one = Single(node, graph)
    del one.after[one.features(one.dim())]
    return one.effect()


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
        lay.lay_over(dims, enumerate(layout))
        links[value] = unmoved(layout)
    return Effect([tuple(dims)], links)


def padding(node: Node, graph: Graph) -> Effect:
    """Zeros, mirrored, repeated or opposite pixels around a map; on the infinite plane all only shift it."""
    one = Single(node, graph)
    pad = node.args.get("pad", node.args.get("padding"))
    if pad is None:
        raise LostError
    for index, before in enumerate(pad[::2]):
        one.slide(len(one.shape) - 1 - index, padding=before)
    return one.effect(edges="value" not in node.args)


def flipping(node: Node, graph: Graph) -> Effect:
    """``flip`` of some dimensions."""
    one = Single(node, graph)
    for dim in dims_of(node, len(one.before), "dims"):
        atom = lay.single(one.before[dim])
        if atom is not None:
            if atom.scale > 1 or lay.extent(one.before, atom.axis) != atom.size:
                raise LostError
            one.links[atom.axis] = Flip(atom.size)
    return one.effect()


def rolling(node: Node, graph: Graph) -> Effect:
    """``roll``: a shift, the shorter way round; what is pushed out at one border comes in at the other."""
    one = Single(node, graph)
    dims, shifts = node.args["dims"], node.args["shifts"]
    if not dims:
        raise LostError  # it rolls the flattened map
    for dim, shift in zip(dims, shifts, strict=True):
        size = max(1, size_of(one.before[dim]))
        one.slide(dim % len(one.before), padding=(shift + (size - 1) // 2) % size - (size - 1) // 2)
    return one.effect(edges=any(has_axis(one.before[dim]) for dim in dims))


def nearest(node: Node, graph: Graph) -> Effect:
    """Nearest-neighbour resizing of the last two dimensions by a whole factor or to a given size."""
    one = Single(node, graph)
    for dim, name in ((-2, "scales_h"), (-1, "scales_w")):
        factor = node.args.get(name)
        if factor is not None and has_axis(one.before[dim]) and factor * size_of(one.before[dim]) != one.shape[dim]:
            raise LostError
        one.resize(dim, Nearest)
    return one.effect()


def nearest_exact(node: Node, graph: Graph) -> Effect:
    """The nearest of one tap, from the middle of the pixel; which it is stands in no formula of whole numbers here."""
    effect = nearest(node, graph)
    return Effect(effect.layouts, {}, known=False)


def between(taps: int, count: int = 2) -> Family:
    """Linear and cubic resizing of the last `count` dimensions."""

    def effect(node: Node, graph: Graph) -> Effect:
        one = Single(node, graph)
        names = {1: ("scales",), 2: ("scales_h", "scales_w")}[count]
        for dim, name in zip(range(-count, 0), names, strict=True):
            factor, size = node.args.get(name), size_of(one.before[dim])
            if factor is not None and has_axis(one.before[dim]) and factor * size != one.shape[dim]:
                raise LostError
            one.resize(dim, lambda before, after: Between(before, after, taps, bool(node.args["align_corners"])))
        return one.effect(edges=True)

    return effect


def unread(node: Node, graph: Graph) -> Effect:
    """A map of another size of which it is not followed what each position reads (smoothed shrinking)."""
    one = Single(node, graph)
    for dim in (-2, -1):
        one.resize(dim, Nearest)
    return Effect([tuple(one.after)], {}, known=False)


def _windows(node: Node, count: int = 2) -> list[dict[str, int]]:
    names = {"kernel": "kernel_size", "stride": "stride", "padding": "padding", "dilation": "dilation"}
    return [{ours: number(node.args[theirs], index) for ours, theirs in names.items()} for index in range(count)]


def unfolding(node: Node, graph: Graph) -> Effect:
    """``im2col``: the window around each place becomes features, and the places one dimension."""
    one = Single(node, graph)
    *_, height, width = one.before
    sides = []
    for dim, options in zip((height, width), _windows(node), strict=True):
        atom = unsplit(single_atom(dim))
        span = options["dilation"] * (options["kernel"] - 1) + 1
        size = (atom.size + 2 * options["padding"] - span) // options["stride"] + 1
        one.links[atom.axis] = Window(**options)
        sides.append(atom._replace(size=size))
    one.features(-3)
    one.after = [*one.before[:-3], lay.plain(one.shape[-2]), lay.join([a for a in sides if a.size > 1])]
    return one.effect()


def folding(node: Node, graph: Graph) -> Effect:
    """``col2im``: features become the window around each place, and windows that overlap are added."""
    one = Single(node, graph)
    options = _windows(node)
    counts = [
        (size + 2 * o["padding"] - o["dilation"] * (o["kernel"] - 1) - 1) // o["stride"] + 1
        for size, o in zip(node.args["output_size"], options, strict=True)
    ]
    split = lay.reshape(one.before, [*(size_of(dim) for dim in one.before[:-1]), *counts])
    one.features(-2)
    sides = []
    for dim, o, size in zip(split[-2:], options, one.shape[-2:], strict=True):
        atom = unsplit(single_atom(dim))
        one.links[atom.axis] = TransposedWindow(**o)
        sides.append((atom._replace(size=size),))
    one.after = [*one.before[:-2], lay.plain(one.shape[-3]), *sides]
    return one.effect()


def single_atom(dim: Dim) -> Atom:
    """The part of an axis that a dimension is.

    Raises:
        LostError: it is none, or mixes it with something else.
    """
    atom = lay.single(dim)
    if atom is None:
        raise LostError
    return atom


def pixel_shuffle(node: Node, graph: Graph) -> Effect:
    """Features to pixels: each pixel becomes a square of `factor` by `factor`."""
    one = Single(node, graph)
    one.after[one.features(-3)] = lay.plain(one.shape[-3])
    for dim in (-2, -1):
        one.resize(dim, Nearest)
    return one.effect()


def pixel_unshuffle(node: Node, graph: Graph) -> Effect:
    """Pixels to features: a square of pixels becomes one, its places become features."""
    one = Single(node, graph)
    factor = node.args["downscale_factor"]
    *lead, channels, height, width = one.value.shape
    split = lay.reshape(one.before, [*lead, channels, height // factor, factor, width // factor, factor])
    *outer, c, h_high, h_low, w_high, w_low = split
    one.after = [*outer, lay.join([*c, *h_low, *w_low]), h_high, w_high]
    return one.effect()


def channel_shuffle(node: Node, graph: Graph) -> Effect:
    """Features change places."""
    one = Single(node, graph)
    one.features(1)
    return one.effect()


def gated_linear(node: Node, graph: Graph) -> Effect:
    """``glu``: one half of the features times the sigmoid of the other."""
    one = Single(node, graph)
    dim = one.features(one.dim())
    one.after[dim] = lay.plain(one.shape[dim])
    return one.effect()


def write_through_view(node: Node, graph: Graph) -> Effect:
    """A part of a tensor was overwritten: the layout stays, what is read is not known."""
    shape = node.outputs[0].shape
    for value in (node.args["base"], node.args["written"]):
        if value.shape == shape and graph.layouts.get(value) is not None:
            return Effect([graph.layout(value)], {}, known=False)
    return Effect([lay.of_image(shape) if len(shape) == 4 else None], {}, known=False)
