"""A network as rows of a table: what a recipe may hold, and what the builder, the analysis and the report read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from flyweight.schema import Section

Order = Literal["norm-relu", "relu-norm"]


class Row(Section):
    """One convolution layer of a network."""

    width: int = Field(ge=1, le=2**20, description="channels that go out")
    kind: str = Field("dense", description="dense, or separable: depthwise, then 1x1")
    kernel: Literal[1, 3, 5, 7] = Field(3, description="taps of the kernel on each axis")
    stride: int = Field(1, ge=1, le=2**16, description="step between two positions of the kernel")
    dilation: int = Field(1, ge=1, le=2**16, description="distance between two taps of the kernel")
    padding: int | None = Field(
        None, ge=0, le=2**16, description="zeros on each side; none: as many as keep the size at stride 1"
    )
    residual: bool = Field(False, description="add the layer's input to its output")

    @property
    def zeros(self) -> int:
        """Zeros on each side, in pixels."""
        return self.dilation * (self.kernel - 1) // 2 if self.padding is None else self.padding


class Network(Section):
    """Blocks of rows, global average pooling and a classifier. The blocks are called c1, c2 and so on."""

    blocks: Annotated[
        tuple[Annotated[tuple[Row, ...], Field(min_length=1)], ...],
        Field(min_length=1, description="of rows, which are below"),
    ]
    order: Order = Field("norm-relu", description="batch norm before or after the ReLU")
    dropout: float | None = Field(None, ge=0, lt=1, description="after every layer; none: there are no such layers")
    pool: int | None = Field(
        None, ge=1, le=2**16, description="side of the average pooling's kernel; none: whatever the map's size is"
    )

    def named(self) -> Iterator[tuple[str, tuple[Row, ...]]]:
        """(name, rows) of each block."""
        return ((f"c{number}", rows) for number, rows in enumerate(self.blocks, start=1))
