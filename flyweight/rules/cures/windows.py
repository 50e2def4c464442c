"""Edits of what one convolution looks at: stride, dilation, padding, kernel."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from flyweight.analysis import Convolution
from flyweight.rules.cures import surgery
from flyweight.rules.cures.edit import Edit, formed

Sizes = tuple[int, ...]


def window(
    part: Convolution, *, stride: Sizes | None = None, dilation: Sizes | None = None, padding: Sizes | None = None
) -> Edit:
    """A convolution with another stride, dilation or padding."""
    words = [
        f"{name} {_by(sizes)}"
        for name, sizes, now in (
            ("stride", stride, part.stride),
            ("dilation", dilation, part.dilation),
            ("padding", padding, part.padding),
        )
        if sizes is not None and sizes != now
    ]

    def apply(model: nn.Module) -> None:
        surgery.reshape_window(model, part.path, stride=stride, dilation=dilation, padding=padding)

    return formed(part.name, f"give {{}} {' and '.join(words)}", apply)


def dilated(part: Convolution, dilation: int, stride: int | None = None) -> Edit:
    """A convolution with a dilation, and the padding with which the map keeps the size that it has."""
    grown = tuple(
        p + (dilation - step) * (side - 1) // 2
        for p, step, side in zip(part.padding, part.dilation, part.kernel, strict=True)
    )
    steps = (dilation,) * len(part.kernel)
    return window(part, dilation=steps, padding=grown, stride=None if stride is None else (stride,) * len(steps))


def can_dilate(part: Convolution, dilation: int) -> bool:
    """Whether the outer taps see the map with that dilation and the padding that keeps its size."""
    sides = [(k, n) for k, n in zip(part.kernel, part.input_size, strict=True) if k > 1]
    own = set(part.node.args["dilation"]) == set(part.dilation)  # else the map is split
    return bool(sides) and own and not part.transposed and all(dilation * (k - 1) // 2 < n for k, n in sides)


def kernel_of_three(part: Convolution, dilation: int = 1) -> Edit:
    """A 1x1 with a 3x3 kernel."""
    padding = dilation
    words = f" and dilation {dilation}" * (dilation > 1)
    side = "x".join(["3"] * len(part.kernel))
    form = f"give {{}} a {side} kernel{words} and padding {padding}"
    return formed(part.name, form, lambda model: surgery.widen_kernel(model, part.path, 3, dilation))


def _by(sizes: Sequence[int]) -> str:
    return str(sizes[0]) if len(set(sizes)) == 1 else "x".join(map(str, sizes))
