"""What each aten operator does to positions: one short function a family, one table of names at the end.

A new operator is a function here and its name in :data:`OPERATORS`. One that is missing is not understood: whatever
depends on it has no receptive field and no count of its work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flyweight.analysis import layout as lay
from flyweight.analysis import rearranging as move
from flyweight.analysis.effects import (
    WHOLE,
    Effect,
    Links,
    Map,
    Operator,
    dims_of,
    effect_on_input,
    has_axis,
    only_input,
    size_of,
    unmoved,
)
from flyweight.analysis.layout import HEIGHT, PLAIN, Atom, Dim, Layout, LostError
from flyweight.analysis.links import SAME, Always, Bins, Coarse, Link, TransposedWindow, Window
from flyweight.analysis.trace import WRITE_THROUGH_VIEW, Node


def elementwise(node: Node, graph: Map) -> Effect:
    """Each output reads the same position of every input; sizes of 1 are repeated."""
    shape = graph.shape(node.outputs[0])
    values = graph.inputs(node)
    if node.name in ("copy_", "copy"):  # what was there before is overwritten
        values = [v for v in [graph.dependent(node.args["src"])] if v is not None]
    dims: list[Dim] = [lay.plain(size) for size in shape]
    for value in values:
        for index, dim in _aligned(graph.layout(value), shape):
            # an axis stays where an operand has it in full; features and repeated pixels give way to it
            if size_of(dim) == shape[index] and has_axis(dim):
                if has_axis(dims[index]) and dims[index] != dim:
                    raise LostError
                dims[index] = dim
    links: dict[int, Links] = {}
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


def convolution(node: Node, graph: Map) -> Effect:
    """Plain, strided, dilated, grouped and transposed convolution of any number of spatial dimensions."""
    value = graph.dependent(node.args["input"])
    if value is None or (graph.dependent(node.args["weight"]) is not None):
        raise LostError
    before = graph.layout(value)
    weight, shape = graph.shape(node.args["weight"].value), graph.shape(node.outputs[0])
    groups, transposed = node.args["groups"], node.args["transposed"]
    depthwise = groups == graph.shape(value)[1] and weight[0] == groups and not transposed
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


def pooling(node: Node, graph: Map) -> Effect:
    """Average and maximum pooling over the last dimensions; a kernel that covers the whole map removes the axis."""
    before, shape = graph.layout(only_input(node, graph)), graph.shape(node.outputs[0])
    after, links = list(before), unmoved(before)
    kernel = node.args["kernel_size"]
    count = 3 if "3d" in node.name else 2
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


def adaptive_pooling(node: Node, graph: Map) -> Effect:
    """Pooling to a given size; to one number, it removes the axis."""
    before, shape = graph.layout(only_input(node, graph)), graph.shape(node.outputs[0])
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


def reduction(node: Node, graph: Map) -> Effect:
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


def restriding(node: Node, graph: Map) -> Effect:
    """``as_strided`` where it only renews the strides of a map of one pixel.

    ATen does so to the result of global average pooling in channels-last (``adaptive_avg_pool2d`` in
    AdaptiveAveragePooling.cpp). Elsewhere it may read any number of the memory, unless that holds the result alone.
    """
    value = only_input(node, graph)
    producer, shape = graph.trace.values[value].producer, graph.shape(value)
    alone = producer is not None and operator_for(graph.trace.nodes[producer]) is reduction
    if not alone or tuple(node.args["size"]) != shape or any(size > 1 for size in shape[2:]):
        raise LostError
    before = graph.layout(value)
    return effect_on_input(node, graph, before, unmoved(before))


def normalisation_over(over: Callable[[Node, int], set[int]]) -> Operator:
    """An operator that keeps positions but lets a statistic over some dimensions act on each of them."""

    def operator(node: Node, graph: Map) -> Effect:
        before = graph.layout(only_input(node, graph))
        dims = over(node, len(before))
        gathers = any(has_axis(before[dim]) for dim in dims)
        return effect_on_input(node, graph, before, unmoved(before), gathers=gathers)

    return operator


def _batch_statistics(node: Node, rank: int) -> set[int]:
    """Batch norm with fixed statistics is element by element; with those of the batch it ties all pixels together."""
    training = node.args.get("training", node.args.get("use_input_stats", False))
    fixed = node.name.endswith("no_training") or (not training and node.args.get("running_mean") is not None)
    return set() if fixed else set(range(rank))


def _layer_norm_dims(node: Node, rank: int) -> set[int]:
    return set(range(rank - len(node.args["normalized_shape"]), rank))


def _group_norm_dims(node: Node, rank: int) -> set[int]:
    return set(range(1, rank))


def matrix_product(node: Node, graph: Map) -> Effect:
    """``mm`` and ``bmm``, with or without something added: the inner dimension is summed over."""
    left, right = ("mat1", "mat2") if node.name == "addmm" else ("batch1", "batch2")
    if node.name in ("mm", "bmm"):
        left, right = "self", "mat2"
    sides = [graph.dependent(node.args[name]) for name in (left, right)]
    shape = graph.shape(node.outputs[0])
    dims = [lay.plain(size) for size in shape]
    links: dict[int, Links] = {}
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


_FAMILIES: list[tuple[Operator, str]] = [
    (
        elementwise,
        "clone _to_copy detach alias lift_fresh lift copy copy_ hardswish hardswish_ _prelu_kernel leaky_relu"
        " leaky_relu_ elu elu_ celu mish softplus threshold hardtanh hardtanh_ native_dropout dropout"
        " log_sigmoid_forward rrelu_with_noise contiguous _conj resolve_conj masked_fill masked_fill_ where",
    ),
    (convolution, "convolution _convolution convolution_overrideable mkldnn_convolution cudnn_convolution"),
    (pooling, "avg_pool2d avg_pool3d max_pool2d max_pool2d_with_indices max_pool3d_with_indices"),
    (
        adaptive_pooling,
        "_adaptive_avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d _adaptive_avg_pool3d adaptive_max_pool3d",
    ),
    (
        reduction,
        "mean sum amax amin max min var std prod norm linalg_vector_norm logsumexp argmax argmin any all median"
        " var_mean std_mean",
    ),
    (restriding, "as_strided as_strided_"),
    (
        normalisation_over(_batch_statistics),
        "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training cudnn_batch_norm"
        " _batch_norm_no_update batch_norm",
    ),
    (normalisation_over(_layer_norm_dims), "native_layer_norm layer_norm rms_norm _fused_rms_norm"),
    (normalisation_over(_group_norm_dims), "native_group_norm group_norm"),
    (normalisation_over(dims_of), "_softmax _log_softmax _safe_softmax"),
    (matrix_product, "mm addmm bmm baddbmm"),
    (
        move.reshaping,
        "view _unsafe_view reshape _reshape_alias unsqueeze squeeze flatten unflatten _reshape_copy view_copy",
    ),
    (move.permuting, "permute transpose t"),
    (move.expanding, "expand repeat"),
    (move.slicing, "slice"),
    (move.splitting, "split split_with_sizes chunk unbind"),
    (move.selecting, "select"),
    (move.joining, "cat stack"),
    (move.padding, "constant_pad_nd reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d"),
    (move.flipping, "flip"),
    (move.rolling, "roll"),
    (move.nearest, "upsample_nearest2d"),
    (move.pixel_shuffle, "pixel_shuffle"),
    (move.pixel_unshuffle, "pixel_unshuffle"),
    (move.channel_shuffle, "channel_shuffle native_channel_shuffle"),
    (move.gated_linear, "glu"),
    (move.write_through_view, WRITE_THROUGH_VIEW),
]
OPERATORS: dict[str, Operator] = {name: operator for operator, names in _FAMILIES for name in names.split()}


def operator_for(node: Node) -> Operator | None:
    """The function that understands a node, None when there is none."""
    if node.name in OPERATORS:
        return OPERATORS[node.name]
    return elementwise if node.pointwise else None


def moves(node: Node) -> bool:
    """Whether a node only moves numbers around."""
    return getattr(operator_for(node), "__module__", None) == move.__name__


def does_no_macs(node: Node) -> bool:
    """Whether a node without a MAC formula is known to do no convolution or matrix product."""
    return operator_for(node) is not None
