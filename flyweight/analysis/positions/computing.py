"""Operators that make new numbers: element by element, of windows, of whole dimensions, of matrices.

One function a family: from an operator and the layouts before it, what it does to positions. It raises
:class:`~.axes.LostError` where positions can no longer be followed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from flyweight.analysis.positions import axes as lay
from flyweight.analysis.positions.axes import HEIGHT, PLAIN, Dim, Layout, LostError, has_axis, size_of
from flyweight.analysis.positions.family import Family, Single, dims_of, number, unsplit, window
from flyweight.analysis.positions.graph import Effect, Graph
from flyweight.analysis.positions.reads import SAME, WHOLE, Always, Bins, Coarse, Links, TransposedWindow, Window
from flyweight.analysis.trace.trace import Node, Value


def elementwise(node: Node, graph: Graph) -> Effect:
    """Each output reads the same position of every input; sizes of 1 are repeated."""
    return _element_by_element(node, graph, graph.inputs(node))


def overwriting(node: Node, graph: Graph) -> Effect:
    """``copy``: element by element of what is copied, while what was there before plays no part."""
    source = graph.argument(node, "src")
    return _element_by_element(node, graph, [source] if source else [])


def _element_by_element(node: Node, graph: Graph, values: Sequence[Value]) -> Effect:
    shape = node.outputs[0].shape
    dims: list[Dim] = [lay.plain(size) for size in shape]
    for value in values:
        # an axis stays where an operand has it in full; features and repeated pixels give way to it
        aligned = _aligned(graph.layout(value), shape)
        lay.lay_over(dims, ((index, dim) for index, dim in aligned if size_of(dim) == shape[index]))
    links: dict[Value, Links] = {}
    for value in values:
        links[value] = {}
        for index, dim in _aligned(graph.layout(value), shape):
            for atom in dim:
                if atom.axis != PLAIN:
                    links[value][atom.axis] = SAME if atom in dims[index] else Always()
    return Effect([tuple(dims), *[None] * (len(node.outputs) - 1)], links)


def _aligned(layout: Layout, shape: Sequence[int]) -> Iterable[tuple[int, Dim]]:
    return enumerate(layout, len(shape) - len(layout))


def convolution(node: Node, graph: Graph) -> Effect:
    """Plain, strided, dilated, grouped and transposed convolution of any number of spatial dimensions."""
    value = graph.argument(node, "input")
    if value is None or graph.argument(node, "weight") is not None:
        raise LostError
    before = graph.layout(value)
    weight, shape = node.args["weight"].shape, node.outputs[0].shape
    groups, transposed = node.args["groups"], node.args["transposed"]
    depthwise = groups == value.shape[1] and weight[0] == groups and not transposed
    merged, summed = lay.split_contracted(before, set() if depthwise else {1})
    if summed and groups != 1:
        raise LostError
    dims: list[Dim] = [merged[0], before[1] if depthwise else lay.plain(shape[1])]
    links: Links = {axis: SAME if step is not None else WHOLE for axis, step in summed.items()}
    links.update(dict.fromkeys(lay.axes((merged[0], dims[1])), SAME))
    for index, size in enumerate(shape[2:]):
        options = {name: number(node.args[name], index) for name in ("stride", "padding", "dilation")}
        atom = lay.single(merged[2 + index])
        if atom is None:
            dims.append(lay.plain(size))
            continue
        kernel, step = weight[2 + index], summed.get(atom.axis)
        if not transposed:
            through = window(atom, kernel, **options)
            links[atom.axis] = through if step is None else Coarse(through, step)
        elif step is None:
            links[unsplit(atom).axis] = TransposedWindow(kernel, **options)
        else:
            raise LostError
        dims.append((atom._replace(size=size),))
    return Effect([tuple(dims)], {value: links})


def pooling_over(count: int) -> Family:
    """Average and maximum pooling over so many last dimensions; a kernel that covers the whole map ends the axis."""

    def effect(node: Node, graph: Graph) -> Effect:
        one = Single(node, graph)
        kernel, offset = node.args["kernel_size"], len(one.shape) - count
        sizes = (kernel, node.args.get("stride") or kernel, node.args["padding"], node.args.get("dilation") or [1])
        windows = [[number(given, index) for given in sizes] for index in range(count)]
        covers = [
            one.shape[dim] == 1 and kernel - padding >= size_of(one.before[dim])
            for dim, (kernel, _, padding, _) in enumerate(windows, offset)
        ]
        for dim, (kernel, stride, padding, dilation) in enumerate(windows, offset):
            if covers[dim - offset] and has_axis(one.before[dim]) and (size_of(one.before[dim]) > 1 or all(covers)):
                one.end(dim)
            else:
                one.slide(dim, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
        return one.effect()

    return effect


def adaptive_pooling(node: Node, graph: Graph) -> Effect:
    """Pooling to a given size; to one number, it ends the axis."""
    one = Single(node, graph)
    for dim in range(-len(node.args["output_size"]), 0):
        if one.shape[dim] == 1 and has_axis(one.before[dim]):
            one.end(dim)
        else:
            one.resize(dim, Bins)
    return one.effect()


def reduction(node: Node, graph: Graph) -> Effect:
    """Mean, sum, maximum and their like over some dimensions."""
    one = Single(node, graph)
    dims = dims_of(node, len(one.before)) if one.before else set()
    after, lost = lay.split_contracted(one.before, dims)
    if any(step is not None for step in lost.values()):
        raise LostError
    one.links.update(dict.fromkeys(lost, WHOLE))
    one.after = [dim for index, dim in enumerate(after) if index not in dims or node.args.get("keepdim", False)]
    return one.effect()


def restriding(node: Node, graph: Graph) -> Effect:
    """``as_strided`` where it only renews the strides of a map of one pixel.

    ATen does so to the result of global average pooling in channels-last (``adaptive_avg_pool2d`` in
    AdaptiveAveragePooling.cpp). Elsewhere it may read any number of the memory, unless that holds the result alone.
    """
    one = Single(node, graph)
    shape, producer = one.value.shape, one.value.producer
    alone = producer is not None and graph.ops[producer].kind == "reduction"
    if not alone or tuple(node.args["size"]) != shape or any(size > 1 for size in shape[2:]):
        raise LostError
    return one.effect()


def normalisation_over(over: Callable[[Node, int], set[int]]) -> Family:
    """An operator that keeps positions but lets a statistic over some dimensions act on each of them."""

    def effect(node: Node, graph: Graph) -> Effect:
        one = Single(node, graph)
        return one.effect(gathers=any(has_axis(one.before[dim]) for dim in over(node, len(one.before))))

    return effect


def batch_statistics(node: Node, rank: int) -> set[int]:
    """Batch norm with fixed statistics is element by element; with those of the batch it ties all pixels together."""
    training = node.args.get("training", node.args.get("use_input_stats", False))
    fixed = not training and node.args.get("running_mean") is not None
    return set() if fixed else set(range(rank))


def layer_norm_dims(node: Node, rank: int) -> set[int]:
    """The last dimensions, as many as the normalised shape has."""
    return set(range(rank - len(node.args["normalized_shape"]), rank))


def group_norm_dims(node: Node, rank: int) -> set[int]:
    """All but the batch."""
    return set(range(1, rank))


def matrix_product(node: Node, graph: Graph) -> Effect:
    """``mm`` and ``bmm``, with or without something added: the inner dimension is summed over."""
    pairs = (("mat1", "mat2"), ("batch1", "batch2"), ("self", "mat2"))
    sides = [graph.argument(node, name) for name in next(pair for pair in pairs if node.args.keys() >= set(pair))]
    shape = node.outputs[0].shape
    dims = [lay.plain(size) for size in shape]
    links: dict[Value, Links] = {}
    for side, value in enumerate(sides):
        if value is None:
            continue
        rank = len(shape)
        inner, outer = (rank - 1, rank - 2) if side == 0 else (rank - 2, rank - 1)
        rest, lost = lay.split_contracted(graph.layout(value), {inner})
        links[value] = dict.fromkeys(lay.axes(graph.layout(value)), SAME)
        for axis, step in lost.items():
            links[value][axis] = WHOLE if step is None else Coarse(Window(), step)
        lay.lay_over(dims, ((index, rest[index]) for index in (*range(rank - 2), outer)))
    if set(graph.inputs(node)) - set(links) or len([a for d in dims for a in d if a.axis == HEIGHT]) > 2:
        raise LostError
    if all(value is not None for value in sides):
        _check_distinct([graph.layout(value) for value in sides if value is not None])
    return Effect([tuple(dims)], links)


def _check_distinct(layouts: list[Layout]) -> None:
    """Two factors that both have an axis outside the batch would make a map of pairs of positions."""
    outside = [{a.axis for dim in layout[-2:] for a in dim} - {PLAIN} for layout in layouts]
    if len(outside) == 2 and outside[0] & outside[1]:
        raise LostError
