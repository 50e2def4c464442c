"""What :func:`flyweight.analysis.analyze` finds out: frozen records, each number with what it rests on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from flyweight.analysis.convolution import Convolution, ConvolutionLayer
from flyweight.analysis.positions.graph import Graph
from flyweight.analysis.trace.trace import Node, Value

Status = Literal["proved", "unproved", "contradicted", "unknown"]


@dataclass(frozen=True)
class ReceptiveField:
    """Theoretical receptive field, in pixels of the input, of the map that enters the global pooling.

    Attributes:
        height: None when unknown.
        width: None when unknown.
        status: "proved" (formula and probe agree), "unproved" (the probe could not run), "contradicted" (they
            disagree) or "unknown" (an operator on the way is not understood). Only "proved" may pass a rule.
        detail: how it was proved, or why not.
        before: the layer that ends the map (the global pooling, or what stands in its place).
        gathered: layers through which every position sees the whole map besides (squeeze and excite, statistics of a
            normalisation). They are not counted in the size.
        live: (height, width) when kernels of which one tap alone sees more than padding on an axis count as 1 there;
            None when there are none such.
    """

    height: int | None
    width: int | None
    status: Status
    detail: str
    before: str = ""
    gathered: tuple[str, ...] = ()
    live: tuple[int, int] | None = None

    @property
    def value(self) -> int | tuple[int, int] | None:
        """One number when both axes agree, else (height, width); None when unknown."""
        if self.height is None or self.width is None:
            return None
        return self.height if self.height == self.width else (self.height, self.width)


@dataclass(frozen=True)
class Layer:
    """One row of the summary.

    Attributes:
        name: path of the module; for a functional operator the path of the module it ran in and its own name.
        kind: class of the module or name of the operator.
        details: of convolutions and pooling, such as "3x3 dilation 2".
        output_shape: without the batch; empty when it returned no tensor.
        parameters: own ones; shared ones are counted where they are first used.
        macs: multiply-accumulates of convolutions and matrix products for one image; None when unknown.
        receptive_field: (height, width) of its output in pixels of the input; None when there is no such number.
        field_note: why there is none ("whole map", "unknown"), or that the whole map acts on it besides.
    """

    name: str
    kind: str
    details: str
    output_shape: tuple[int, ...]
    parameters: int
    macs: int | None
    receptive_field: tuple[int, int] | None
    field_note: str = ""


@dataclass(frozen=True)
class Pooling:
    """One pooling over space: maximum, average, or a step that drops pixels (``x[..., ::2]``).

    Attributes:
        node: the operator.
        kind: a minimum is a maximum of the negated, and so is the larger of two numbers of different places.
        whole: it covers the whole of an axis.
        stride: positions from one that it reads to the next, the largest where axes differ.
        known: False for a maximum over what is no longer known to be space or features.
    """

    name: str
    node: Node = field(repr=False, compare=False)
    kind: Literal["max", "average", "subsampling"]
    whole: bool
    stride: int = 1
    known: bool = True


@dataclass(frozen=True)
class HeadFault:
    """A way from the last map to the output that does not go through global average pooling of the whole map.

    Attributes:
        layer: where positions end without being averaged.
        detail: what happens there.
        node: the operator; None: the output itself is a map.
        map_shape: (C, H, W) of the map, as far as known.
        features: numbers that a matrix product makes of the flattened map; 0 for another operator.
    """

    layer: str
    detail: str
    node: Node | None = field(default=None, repr=False, compare=False)
    map_shape: tuple[int, ...] = ()
    features: int = 0


@dataclass(frozen=True)
class Head:
    """How the last map becomes the output.

    Attributes:
        pooling: global average poolings that end a map.
        faults: other ways; empty when global average pooling is the only one.
        targets: values that are the last map.
    """

    pooling: tuple[str, ...]
    faults: tuple[HeadFault, ...]
    targets: tuple[Value, ...] = field(repr=False, compare=False)


@dataclass(frozen=True)
class DeadTaps:
    """Taps of a kernel that see nothing but padding at this input size.

    Attributes:
        taps: dead ones.
        of: all taps of the kernel.
        parameters: weights wasted on them.
    """

    layer: str
    taps: int
    of: int
    parameters: int


@dataclass(frozen=True)
class Unreached:
    """A module whose parameters have no part in the output."""

    layer: str
    parameters: int
    reason: str


@dataclass(frozen=True)
class Unregistered:
    """Weights that have a part in the output and that the network does not know of: neither trained nor saved.

    What a plain list of layers or a plain tensor holds is no parameter of a network.

    Attributes:
        layer: the attribute that holds them, else the first operator that reads them.
        parameters: numbers in them, shared ones once.
    """

    layer: str
    parameters: int


@dataclass(frozen=True)
class UnknownOperator:
    """An operator that is not understood, or a hole through which values left the graph.

    Attributes:
        opaque: nothing at all is known of it: it could hide a convolution or a maximum. Otherwise only the positions
            that it reads are not known.
        words: what a person calls it where that is not the operator's own name: the class of its layer, ``nn.LSTM``.
    """

    layer: str
    operator: str
    opaque: bool

    words: str = field(default="", repr=False)

    @property
    def told(self) -> str:
        """What it is, in words that a person knows."""
        return self.words or self.operator


@dataclass(frozen=True)
class Peak:
    """The moment at which most numbers are held.

    Attributes:
        numbers: of all maps that are there at once, for one image.
        layer: the one that runs then.
        maps: those that are there, by the layer that made each and its numbers, the largest first; the image is
            ``input``.
    """

    numbers: int
    layer: str
    maps: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Facts:
    """Everything known about one network at one input size.

    Attributes:
        network: class name.
        input_shape: (C, H, W).
        parameters: all registered parameters, trainable or frozen, shared ones once.
        trainable_parameters: of these, those with requires_grad.
        macs: multiply-accumulates of convolutions and matrix products for one image (biases, norms and activations
            are not counted); None when some operator might hide work.
        unregistered: weights that are no parameters of the network, though it uses them.
        submodules: every module path, parents first.
        convolutions: in the order of execution.
        convolution_layers: the same, depthwise separable pairs joined.
        peak: when most numbers of maps are there at once, the image counted and sums in maps of their own; None when
            some operator might hide any.
        random: how it is known that another run may be another network; empty where it is one. What is then told of its
            layers holds for one run only.
        graph: what all of it was read from; the cures of the rules ask it "what if".
    """

    network: str
    input_shape: tuple[int, ...]
    parameters: int
    trainable_parameters: int
    macs: int | None
    peak: Peak | None
    receptive_field: ReceptiveField
    layers: tuple[Layer, ...]
    convolutions: tuple[Convolution, ...]
    convolution_layers: tuple[ConvolutionLayer, ...]
    poolings: tuple[Pooling, ...]
    head: Head
    dead_taps: tuple[DeadTaps, ...]
    unreached: tuple[Unreached, ...]
    unregistered: tuple[Unregistered, ...]
    unknown: tuple[UnknownOperator, ...]
    submodules: tuple[str, ...]
    graph: Graph = field(repr=False, compare=False)
    random: str = ""
