"""A network as rows of a table."""

from __future__ import annotations

from dataclasses import dataclass

from flyweight.networks.layers import Order


@dataclass(frozen=True)
class Row:
    """One 3x3 convolution layer of a network.

    Attributes:
        width: channels that go out.
        separable: depthwise separable instead of dense.
        stride: step between two positions of the kernel.
        dilation: distance between two taps of the kernel.
        padding: zeros on each side; none: as many as keep the size at stride 1.
        residual: add the layer's input to its output.
    """

    width: int
    separable: bool = False
    stride: int = 1
    dilation: int = 1
    padding: int | None = None
    residual: bool = False


@dataclass(frozen=True)
class Network:
    """Four blocks of rows, global average pooling and a classifier.

    Attributes:
        blocks: the rows of c1, c2, c3 and c4.
        order: batch norm before or after the ReLU.
        dropout: after every layer; none: no such layers.
        pool: side of the average pooling's kernel; none: whatever the map's size is.
    """

    blocks: tuple[tuple[Row, ...], ...]
    order: Order = "norm-relu"
    dropout: float | None = None
    pool: int | None = None
