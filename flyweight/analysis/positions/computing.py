"""Operators that make new numbers: element by element, of windows, of whole dimensions, of matrices.

One function a family: from an operator and the layouts before it, what it does to positions. It raises
:class:`~.axes.LostError` where positions can no longer be followed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flyweight.analysis.positions import axes as lay
from flyweight.analysis.positions.axes import HEIGHT, PLAIN, Atom, Dim, Layout, LostError, has_axis, size_of
from flyweight.analysis.positions.family import dims_of, effect_on_input, only_input, unmoved
from flyweight.analysis.positions.graph import Effect, Graph
from flyweight.analysis.positions.reads import SAME, WHOLE, Always, Bins, Coarse, Link, Links, TransposedWindow, Window
from flyweight.analysis.trace.trace import Node, Value

Family = Callable[[Node, Graph], Effect]


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
        for index, dim in _aligned(graph.layout(value), shape):
            # an axis stays where an operand has it in full; features and repeated pixels give way to it
            if size_of(dim) == shape[index] and has_axis(dim):
                if has_axis(dims[index]) and dims[index] != dim:
                    raise LostError
                dims[index] = dim
    links: dict[Value, Links] = {}
    for value in values:
        links[value] = {}
        for index, dim in _aligned(graph.layout(value), shape):
            for atom in dim:
                if atom.axis != PLAIN:
                    links[value][atom.axis] = SAME if atom in dims[index] else Always()
    return Effect([tuple(dims), *[None] * (len(node.outputs) - 1)], links)


def _aligned(layout: Layout, shape: Sequence[int]) -> list[tuple[int, Dim]]:
    offset = len(shape) - len(layout)
    return [(offset + index, dim) for index, dim in enumerate(layout)]


def _number(value: Any, index: int) -> int:
    """One entry of a list of sizes that may be given as one number."""
    entries = list(value)
    return int(entries[index] if len(entries) > 1 else entries[0])


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
        options = {name: _number(node.args[name], index) for name in ("stride", "padding", "dilation")}
        atom = lay.single(merged[2 + index])
        if atom is None:
            dims.append(lay.plain(size))
            continue
        link: Link = (
            TransposedWindow(weight[2 + index], **options)
            if transposed
            else Window(weight[2 + index], **options, unit=atom.scale)
        )
        if atom.scale > 1 and (transposed or options["stride"] > 1):
            raise LostError
        step = summed.get(atom.axis)
        if step is not None:
            if not isinstance(link, Window):
                raise LostError
            link = Coarse(link, step)
        links[atom.axis] = link
        dims.append((Atom(atom.axis, size, atom.scale),))
    return effect_on_input(node, graph, tuple(dims), links)


def pooling_over(count: int) -> Family:
    """Average and maximum pooling over so many last dimensions."""
    return lambda node, graph: _pooling(node, graph, count)


def _pooling(node: Node, graph: Graph, count: int) -> Effect:
    """A kernel that covers the whole map removes the axis."""
    before, shape = graph.layout(only_input(node, graph)), node.outputs[0].shape
    after, links = list(before), unmoved(before)
    kernel = node.args["kernel_size"]
    covers = []
    for index in range(count):
        dim = len(shape) - count + index
        size, padding = size_of(before[dim]), _number(node.args["padding"], index)
        covers.append(shape[dim] == 1 and _number(kernel, index) - padding >= size)
    for index in range(count):
        dim = len(shape) - count + index
        atom = lay.single(before[dim])
        if atom is None:
            after[dim] = lay.plain(shape[dim])
        elif covers[index] and (atom.size > 1 or all(covers)):
            _remove(after, links, dim, atom)
        else:
            after[dim] = (atom._replace(size=shape[dim]),)
            links[atom.axis] = _pool_window(node, atom, index)
    return effect_on_input(node, graph, tuple(after), links)


def _pool_window(node: Node, atom: Atom, index: int) -> Window:
    kernel = _number(node.args["kernel_size"], index)
    stride = _number(node.args["stride"], index) if node.args.get("stride") else kernel
    if atom.scale > 1 and stride > 1:
        raise LostError
    dilation = _number(node.args["dilation"], index) if "dilation" in node.args else 1
    return Window(kernel, stride, _number(node.args["padding"], index), dilation, unit=atom.scale)


def _remove(after: list[Dim], links: Links, dim: int, atom: Atom) -> None:
    """Take an axis away that was reduced to one number."""
    after[dim] = ()
    if atom.axis in lay.axes(tuple(after)):
        raise LostError  # one part of a split axis: not followed
    links[atom.axis] = WHOLE


def adaptive_pooling(node: Node, graph: Graph) -> Effect:
    """Pooling to a given size; to one number, it removes the axis."""
    before, shape = graph.layout(only_input(node, graph)), node.outputs[0].shape
    after, links = list(before), unmoved(before)
    count = len(node.args["output_size"])
    for dim in range(len(shape) - count, len(shape)):
        atom = lay.single(before[dim])
        if atom is None:
            after[dim] = lay.plain(shape[dim])
        elif shape[dim] == 1:
            _remove(after, links, dim, atom)
        elif atom.scale > 1:
            raise LostError
        else:
            after[dim] = (atom._replace(size=shape[dim]),)
            links[atom.axis] = Bins(atom.size, shape[dim])
    return effect_on_input(node, graph, tuple(after), links)


def reduction(node: Node, graph: Graph) -> Effect:
    """Mean, sum, maximum and their like over some dimensions."""
    before = graph.layout(only_input(node, graph))
    dims = dims_of(node, len(before)) if before else set()
    after, lost = lay.split_contracted(before, dims)
    if any(step is not None for step in lost.values()):
        raise LostError
    links: Links = {axis: WHOLE if axis in lost else SAME for axis in lay.axes(before)}
    if not node.args.get("keepdim", False):
        after = tuple(dim for index, dim in enumerate(after) if index not in dims)
    return effect_on_input(node, graph, after, links)


def restriding(node: Node, graph: Graph) -> Effect:
    """``as_strided`` where it only renews the strides of a map of one pixel.

    ATen does so to the result of global average pooling in channels-last (``adaptive_avg_pool2d`` in
    AdaptiveAveragePooling.cpp). Elsewhere it may read any number of the memory, unless that holds the result alone.
    """
    value = only_input(node, graph)
    alone = value.producer is not None and graph.ops[value.producer].kind == "reduction"
    if not alone or tuple(node.args["size"]) != value.shape or any(size > 1 for size in value.shape[2:]):
        raise LostError
    before = graph.layout(value)
    return effect_on_input(node, graph, before, unmoved(before))


def normalisation_over(over: Callable[[Node, int], set[int]]) -> Family:
    """An operator that keeps positions but lets a statistic over some dimensions act on each of them."""

    def effect(node: Node, graph: Graph) -> Effect:
        before = graph.layout(only_input(node, graph))
        dims = over(node, len(before))
        gathers = any(has_axis(before[dim]) for dim in dims)
        return effect_on_input(node, graph, before, unmoved(before), gathers=gathers)

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
        for index in (*range(rank - 2), outer):
            if has_axis(rest[index]):
                if has_axis(dims[index]) and dims[index] != rest[index]:
                    raise LostError
                dims[index] = rest[index]
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
