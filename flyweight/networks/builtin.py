"""The networks that come with the package."""

from __future__ import annotations

from typing import Any

from flyweight.recipes.network import Network, Row


def _c(width: int, **options: Any) -> Row:
    return Row(width=width, **options)


def _s(width: int, **options: Any) -> Row:
    return Row(width=width, kind="separable", **options)


NETWORKS: dict[str, Network] = {
    # the brief's own network, layer for layer: the baseline, which missed its target
    "course": Network(
        blocks=(
            (_c(16), _c(16), _c(16, dilation=2, padding=1)),
            (_c(32), _c(32), _c(32, stride=2)),
            (_s(48), _c(48), _c(48, stride=2)),
            (_c(64), _c(64), _c(64)),
        ),
        order="relu-norm",
        dropout=0.1,
        pool=8,
    ),
    # the brief in the least time, found by `flyweight search brief`. As in `sprint` the first layer has the first
    # stride; C3 begins without padding, so that from there on maps are 6x6 and not 8x8, and none of it is separable
    "sprint2": Network(
        blocks=(
            (_c(32, stride=2), _c(32, residual=True), _c(32, dilation=2, residual=True)),
            (_c(24), _c(24, residual=True), _c(64, stride=2)),
            (_c(64, padding=0), _c(64, residual=True), _c(64, dilation=2, residual=True)),
            (_s(96), _s(96, residual=True), _s(160)),
        ),
    ),
    # what sprint2 took the place of: as accurate, but a training step takes a quarter longer. The first layer is the
    # cheapest place for a stride: its input needs no gradient, and nothing is ever computed on 32x32 again. C1 and C3
    # end dilated: R1 as worded, not its strict reading, under which C1, C2 and C3 end with stride 2
    "sprint": Network(
        blocks=(
            (_c(32, stride=2), _c(32, residual=True), _c(32, dilation=2, residual=True)),
            (_c(32, residual=True), _c(32, residual=True), _c(64, stride=2)),
            (_s(64, residual=True), _c(64, residual=True), _c(64, dilation=2, residual=True)),
            (_s(96), _s(96, residual=True), _s(160)),
        ),
    ),
    # for accuracy: sprint's geometry, and every parameter spent, most of them on the 16x16 maps of C1
    # and C2, in a width that processors like
    "strided": Network(
        blocks=(
            (_c(48, stride=2), _c(48, residual=True), _c(48, dilation=2, residual=True)),
            (_c(48, residual=True), _c(48, residual=True), _c(64, stride=2)),
            (_s(64, residual=True), _s(64, residual=True), _c(64, dilation=2, residual=True)),
            (_s(96), _s(96, residual=True), _s(160)),
        ),
    ),
    # strided with half the parameters: narrower, and most of C3 and C4 depthwise separable
    "nano": Network(
        blocks=(
            (_c(32, stride=2), _c(32, residual=True), _c(32, dilation=2, residual=True)),
            (_c(32, residual=True), _c(32, residual=True), _c(48, stride=2)),
            (_s(48, residual=True), _s(48, residual=True), _c(48, dilation=2, residual=True)),
            (_s(64), _s(64, residual=True), _s(128)),
        ),
    ),
    # the bonus: neither stride nor pooling. strided's geometry with its strides turned into the dilation of all that
    # follows (2 after the first layer, 4 after C2); the last layers of C1 and C2 shrink the map to 28x28 and 24x24. A
    # training step computes one of the map's 16 phases, for what strided costs
    "dilated": Network(
        blocks=(
            (_c(48), _c(48, dilation=2, residual=True), _c(48, dilation=2, padding=0)),
            (_c(48, dilation=2, residual=True), _c(48, dilation=2, residual=True), _c(64, dilation=2, padding=0)),
            (
                _s(64, dilation=4, residual=True),
                _s(64, dilation=4, residual=True),
                _c(64, dilation=4, residual=True),
            ),
            (_s(96, dilation=4), _s(96, dilation=4, residual=True), _s(160, dilation=4)),
        ),
    ),
    # the bonus with half the parameters: separable after the first layer, so that the parameters pay for width. A step
    # computes maps of 16x16, and of 8x8 from C3 on
    "nano-dilated": Network(
        blocks=(
            (_c(32), _s(88, dilation=2), _s(88, dilation=2, residual=True)),
            (_s(88, dilation=2, residual=True), _s(88, dilation=2, residual=True), _s(88, dilation=2)),
            tuple(_s(88, dilation=4, residual=True) for _ in range(3)),
            (_s(88, dilation=4, residual=True), _s(88, dilation=4, residual=True), _s(128, dilation=4)),
        ),
    ),
}
