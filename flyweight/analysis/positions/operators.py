"""THE table of operators: all that is known about each stands in its row. A new operator is a row here.

One that is missing is not understood: whatever depends on it has no receptive field and no count of its work. An
operator that torch tags as element by element needs no row unless something else is to be known of it.
"""

from __future__ import annotations

from flyweight.analysis.positions import axes, computing, moving
from flyweight.analysis.positions.axes import LostError
from flyweight.analysis.positions.computing import elementwise, normalisation_over, pooling_over, reduction
from flyweight.analysis.positions.family import dims_of
from flyweight.analysis.positions.graph import Effect, Graph, Op
from flyweight.analysis.positions.names import name_nodes
from flyweight.analysis.trace.trace import WRITE_THROUGH_VIEW, Node, Trace

WRITTEN = "a write to a part of a tensor"
OPERATORS = (
    # element by element
    Op("add add_", elementwise, "elementwise", passes_nan=True, adds=True),
    Op("sub relu relu_ silu gelu sigmoid", elementwise, "elementwise", passes_nan=True),
    Op("mul mul_", elementwise, "elementwise", scale="times", passes_nan=True),
    Op("div div_", elementwise, "elementwise", scale="over", passes_nan=True),
    Op("clone", elementwise, "elementwise", scale="none", passes_nan=True, row="never"),
    Op("_to_copy detach alias lift_fresh", elementwise, "elementwise", scale="none", row="never"),
    Op("lift contiguous", elementwise, "elementwise", scale="none"),
    Op("copy copy_", computing.overwriting, "elementwise"),
    Op("maximum fmax clamp clamp_ clamp_min clamp_min_", elementwise, "elementwise", takes="maximum"),
    Op("minimum fmin clamp_max clamp_max_", elementwise, "elementwise", takes="minimum"),
    Op(
        "hardswish hardswish_ _prelu_kernel leaky_relu leaky_relu_ elu elu_ celu mish softplus threshold hardtanh"
        " hardtanh_ native_dropout dropout log_sigmoid_forward rrelu_with_noise _conj resolve_conj masked_fill"
        " masked_fill_ where",
        elementwise,
        "elementwise",
    ),
    Op(
        "fake_quantize_per_tensor_affine_cachemask fake_quantize_per_channel_affine_cachemask"
        " _fake_quantize_per_tensor_affine_cachemask_tensor_qparams _fake_quantize_learnable_per_tensor_affine"
        " _fake_quantize_learnable_per_channel_affine",
        elementwise,
        "elementwise",
        label="fake_quantize",
    ),
    # over windows, over matrices
    Op("convolution _convolution convolution_overrideable", computing.convolution, "convolution", label="conv"),
    Op("mm bmm", computing.matrix_product, "product", label="matmul"),
    Op("addmm", computing.matrix_product, "product", label="linear"),
    Op("baddbmm", computing.matrix_product, "product"),
    Op("avg_pool2d", pooling_over(2), "pooling", takes="average"),
    Op("avg_pool3d", pooling_over(3), "pooling", takes="average"),
    Op("max_pool2d max_pool2d_with_indices", pooling_over(2), "pooling", takes="maximum", label="max_pool2d"),
    Op("max_pool3d_with_indices", pooling_over(3), "pooling", takes="maximum"),
    Op(
        "_adaptive_avg_pool2d adaptive_avg_pool2d _adaptive_avg_pool3d",
        computing.adaptive_pooling,
        "pooling",
        takes="average",
    ),
    Op("adaptive_max_pool2d adaptive_max_pool3d", computing.adaptive_pooling, "pooling", takes="maximum"),
    # known to take a maximum over space, but not over which of it
    Op(
        "max_pool1d max_pool1d_with_indices max_pool3d fractional_max_pool2d fractional_max_pool3d"
        " quantized_max_pool1d quantized_max_pool2d quantized_max_pool3d mkldnn_max_pool2d mkldnn_max_pool3d",
        None,
        "pooling",
        takes="maximum",
    ),
    # over whole dimensions
    Op("mean", reduction, "reduction", takes="average"),
    Op("sum", reduction, "reduction", takes="sum"),
    Op("max amax", reduction, "reduction", takes="maximum"),
    Op("min amin", reduction, "reduction", takes="minimum"),
    Op(
        "var std prod norm linalg_vector_norm logsumexp argmax argmin any all median var_mean std_mean",
        reduction,
        "reduction",
    ),
    Op(
        "native_batch_norm batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training"
        " _batch_norm_no_update cudnn_batch_norm",
        normalisation_over(computing.batch_statistics),
        "batch norm",
        label="batch_norm",
    ),
    Op("native_layer_norm layer_norm", normalisation_over(computing.layer_norm_dims), "norm", label="layer_norm"),
    Op("rms_norm _fused_rms_norm", normalisation_over(computing.layer_norm_dims), "norm"),
    Op("native_group_norm group_norm", normalisation_over(computing.group_norm_dims), "norm", label="group_norm"),
    Op("_softmax _log_softmax _safe_softmax", normalisation_over(dims_of), "norm"),
    # moving numbers around
    Op("view _unsafe_view reshape", moving.reshaping, "reshape", scale="none", row="resized", label="reshape"),
    Op("squeeze", moving.reshaping, "squeeze", scale="none", row="resized"),
    Op("unsqueeze _reshape_alias", moving.reshaping, "move", scale="none", row="resized"),
    Op("flatten unflatten _reshape_copy view_copy", moving.reshaping, "move", scale="none"),
    Op("permute transpose t", moving.permuting, "move", scale="none", row="never"),
    Op("as_strided as_strided_", computing.restriding, "move", scale="none", row="never"),
    Op("expand", moving.expanding, "move", row="never"),
    Op("repeat", moving.expanding, "move"),
    Op("slice", moving.slicing, "slice", scale="none"),
    Op("split split_with_sizes chunk unbind", moving.splitting, "move", scale="none"),
    Op("select", moving.selecting, "move", scale="none", row="resized"),
    Op("cat stack", moving.joining, "join"),
    Op("constant_pad_nd", moving.padding, "pad", label="pad"),
    Op("flyweight::circular_pad", moving.padding, "pad", label="pad"),
    Op("reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d", moving.padding, "pad"),
    Op("flip", moving.flipping, "move", scale="none"),
    Op("roll", moving.rolling, "move", scale="none"),
    Op("upsample_nearest2d", moving.nearest, "resize"),
    Op("upsample_linear1d", moving.between(2, 1), "resize", label="interpolate"),
    Op("upsample_bilinear2d", moving.between(2), "resize", label="interpolate"),
    Op("upsample_bicubic2d", moving.between(4), "resize", label="interpolate"),
    Op("_upsample_nearest_exact2d", moving.nearest_exact, "resize", label="interpolate"),
    Op("_upsample_bilinear2d_aa _upsample_bicubic2d_aa", moving.unread, "resize", label="interpolate"),
    Op("im2col", moving.unfolding, "move", label="unfold", told="F.unfold"),
    Op("col2im", moving.folding, "move", label="fold", told="F.fold"),
    Op("pixel_shuffle", moving.pixel_shuffle, "move"),
    Op("pixel_unshuffle", moving.pixel_unshuffle, "move"),
    Op("channel_shuffle native_channel_shuffle", moving.channel_shuffle, "move"),
    Op("glu", moving.gated_linear, "move"),
    Op(WRITE_THROUGH_VIEW, moving.write_through_view, "move", row="never", told=WRITTEN),
    # results that the image has no part in, and numbers that leave torch
    Op(
        "bernoulli_ empty_like exponential_ fill fill_ full_like new_empty new_empty_strided new_full new_ones"
        " new_zeros normal_ ones_like rand_like randint_like randn_like random_ uniform_ zero zero_ zeros_like",
        None,
        "factory",
    ),
    Op("_local_scalar_dense is_nonzero item", None, "leak"),
)
POINTWISE = Op("", elementwise, "elementwise")
UNKNOWN = Op("", None, "unknown")
_BY_NAME = {name: op for op in OPERATORS for name in op.names.split()}


def op_of(node: Node) -> Op:
    """What is known about a node's operator."""
    return _BY_NAME.get(node.name, POINTWISE if node.pointwise else UNKNOWN)


def follow(trace: Trace) -> Graph:
    """Walk forwards through a trace: what depends on the image, and where its axes are."""
    graph = Graph(trace, {node: op_of(node) for node in trace.nodes})
    graph.dependent.add(trace.input)
    graph.layouts[trace.input] = axes.of_image(trace.input.shape)
    for node in trace.nodes:
        op = graph.ops[node]
        if op.kind == "factory" or not graph.inputs(node):
            continue
        graph.dependent.update(node.outputs)
        if op.kind == "leak":
            graph.leaks.append(node.path or "the network")
        if node.outputs:
            effect = graph.effects[node] = _effect(op, node, graph)
            graph.layouts.update(zip(node.outputs, effect.layouts if effect else (), strict=False))
    graph.leaks += trace.leaks
    graph.names = name_nodes(graph)
    return graph


def _effect(op: Op, node: Node, graph: Graph) -> Effect | None:
    try:
        return op.effect(node, graph) if op.effect else None
    except (LostError, LookupError, TypeError, ValueError):
        return None  # positions are lost, or an overload of the operator has arguments that nobody foresaw
