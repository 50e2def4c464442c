"""A network in integers, computed with NumPy: what the C must say, to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from flyweight.export.c.integers import Addition, Average, Convolution, Integers, Map

BATCH = 16
"""Images at once: their taps, side by side, are in memory."""


def answers(network: Integers, count: int, pixels: Callable[[int, int], np.ndarray]) -> np.ndarray:
    """Levels of the logits.

    Args:
        network: in integers.
        count: how many images.
        pixels: (n, H, W, C) uint8, the images from one place up to another.

    Returns:
        (count, classes) int16.
    """
    parts = []
    for start in range(0, count, BATCH):
        *_, (_, levels) = maps(network, pixels(start, min(start + BATCH, count)))
        parts.append(levels.reshape(len(levels), -1))
    return np.concatenate(parts)


def maps(network: Integers, images: np.ndarray) -> Iterator[tuple[Map, np.ndarray]]:
    """Every map that becomes of some images, in order, the image's own first.

    Args:
        network: in integers.
        images: (n, H, W, C) uint8.

    Yields:
        a map, and its levels: (n, H', W', C') int8, of the logits int16.
    """
    channel = np.arange(network.entry.channels)
    found = {network.entry: network.table[channel, images]}
    yield network.entry, found[network.entry]
    left = [source for step in network.steps for source in step.sources]
    for step in network.steps:
        if isinstance(step, Convolution):
            made = _convolution(step, found[step.source])
        elif isinstance(step, Addition):
            made = _addition(step, found[step.first], found[step.second])
        else:
            made = _average(step, found[step.source])
        found[step.target] = made
        yield step.target, made
        for source in step.sources:
            left.remove(source)
        found = {one: levels for one, levels in found.items() if one in left}


def _settled(target: Map, sums: np.ndarray, shift: np.ndarray | int, low: int) -> np.ndarray:
    """Sums that a multiplier has gone into, as levels of a map."""
    wide = np.asarray(shift, np.int64)
    found = ((sums + (np.int64(1) << (wide - 1))) >> wide) + target.zero
    return np.clip(found, low, target.highest).astype(np.int16 if target.wide else np.int8)


def _convolution(step: Convolution, levels: np.ndarray) -> np.ndarray:
    reach, target = step.dilation * (step.kernel - 1) + 1, step.target
    sums_of = np.abs(step.weight.astype(np.int64)).sum((0, 1) if step.depthwise else (1, 2, 3))
    # whole numbers, and every partial sum of them, are exact in a float32 up to 2^24, and BLAS multiplies those fast
    exact = np.float32 if 255 * sums_of.max() < 2**24 else np.float64
    centred = (levels.astype(np.int16) - step.source.zero).astype(exact)
    behind = [
        max(0, (there - 1) * step.stride + reach - step.padding - here)
        for there, here in ((target.height, levels.shape[1]), (target.width, levels.shape[2]))
    ]
    padded = np.pad(centred, ((0, 0), (step.padding, behind[0]), (step.padding, behind[1]), (0, 0)))
    height, width = (target.height - 1) * step.stride + 1, (target.width - 1) * step.stride + 1
    taps = {
        (row, column): padded[:, row * step.dilation :, column * step.dilation :][
            :, : height : step.stride, : width : step.stride
        ]
        for row in range(step.kernel)
        for column in range(step.kernel)
    }
    weight = step.weight.astype(exact)
    if step.depthwise:
        sums = sum(part * weight[place] for place, part in taps.items())
    else:
        sums = np.concatenate(list(taps.values()), axis=3) @ weight.reshape(len(weight), -1).T
    total = np.asarray(sums).astype(np.int64) + step.bias
    if step.after is None:
        return _settled(target, total * step.multiplier, step.shift, step.low)
    return _settled(target, np.maximum(total, 0) * step.multiplier + step.after, step.shift, step.low)


def _addition(step: Addition, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    parts = (
        (levels.astype(np.int64) - source.zero) * factor
        for levels, source, factor in zip((first, second), step.sources, step.multipliers, strict=True)
    )
    return _settled(step.target, sum(parts), step.shift, step.low)  # type: ignore[arg-type]


def _average(step: Average, levels: np.ndarray) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(levels, (step.rows, step.columns), (1, 2))
    centred = windows[:, :: step.stride, :: step.stride].astype(np.int64) - step.source.zero
    return _settled(step.target, centred.sum((4, 5)) * step.multiplier, step.shift, step.target.lowest)
