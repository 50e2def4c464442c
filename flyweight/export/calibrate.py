"""Which numbers flow through a graph, and between which two they are to be held in 8 bits."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from flyweight.export.session import open_graph

if TYPE_CHECKING:
    import onnx

BINS = 2048
LEVELS = 128
"""Steps of 8 bits from zero to one side."""
CHUNK = 16
"""Images at once: all maps of all of them are in memory."""

Range = tuple[float, float]


@dataclass(frozen=True)
class Seen:
    """The values of one tensor over all calibration images.

    Attributes:
        low: the smallest.
        high: the largest.
        counts: (BINS,) how many absolute values fell into each of as many even steps from 0 to the largest one.
    """

    low: float
    high: float
    counts: np.ndarray

    @property
    def largest(self) -> float:
        """Absolute value."""
        return max(-self.low, self.high)

    def within(self, limit: float) -> Range:
        """The range where nothing beyond this absolute value is kept."""
        return max(self.low, -limit), min(self.high, limit)


class Watched:
    """A graph that tells every tensor on its way.

    Args:
        model: with the shapes of all values inferred.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        from onnx import TensorProto

        watched = copy.deepcopy(model)
        there = {output.name for output in watched.graph.output}
        inner = [info for info in watched.graph.value_info if info.type.tensor_type.elem_type == TensorProto.FLOAT]
        made = {name for node in watched.graph.node for name in node.output}
        watched.graph.output.extend(info for info in inner if info.name in made - there)
        self._session = open_graph(watched.SerializeToString(), "the graph to calibrate")
        self._names = [output.name for output in self._session.get_outputs()]

    def __call__(self, part: np.ndarray) -> dict[str, np.ndarray]:
        """The values of each tensor, of its input, too, that is not empty."""
        (entry,) = self._session.get_inputs()
        found = dict(zip(self._names, self._session.run(None, {entry.name: part}), strict=True))
        return {name: np.asarray(array) for name, array in (found | {entry.name: part}).items() if array.size}


def watch(model: onnx.ModelProto, images: Sequence[np.ndarray]) -> dict[str, Seen]:
    """Run a graph and note the values of each of its tensors.

    Args:
        model: with the shapes of all values inferred.
        images: parts of the calibration images, as the graph takes them.

    Returns:
        for each floating tensor what was seen.
    """
    watched = Watched(model)

    def values(part: np.ndarray) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(array) for name, array in watched(part).items()}

    low: dict[str, float] = {}
    high: dict[str, float] = {}
    for part in images:
        for name, value in values(part).items():
            low[name] = min(low.get(name, np.inf), float(value.min()))
            high[name] = max(high.get(name, -np.inf), float(value.max()))
    counts = {name: np.zeros(BINS) for name in low}
    # a second pass, for only now the ends of the histograms are known
    for part in images:
        for name, value in values(part).items():
            end = max(-low[name], high[name]) or 1.0
            counts[name] += torch.histc(value.abs(), BINS, 0, end).numpy()
    return {name: Seen(low[name], high[name], counts[name]) for name in low}


def all_of_it(seen: Seen) -> Range:
    """From the smallest to the largest value."""
    return seen.low, seen.high


def percentile(share: float) -> Callable[[Seen], Range]:
    """The smallest range that holds this share of the values, in percent."""

    def chosen(seen: Seen) -> Range:
        inside = np.cumsum(seen.counts) / max(1, seen.counts.sum())
        last = int(np.searchsorted(inside, share / 100))
        return seen.within(seen.largest * min(BINS, last + 1) / BINS)

    return chosen


def entropy(seen: Seen) -> Range:
    """The range that loses the least information: values beyond it count as its ends, those inside as their level's.

    Source: Migacz 2017, "8-bit inference with TensorRT".
    """
    best, limit = np.inf, seen.largest
    for end in range(LEVELS, BINS + 1, CHUNK):
        kept = seen.counts[:end]
        clipped = kept.copy()
        clipped[-1] += seen.counts[end:].sum()
        starts = np.arange(LEVELS) * end // LEVELS
        sums, filled = np.add.reduceat(kept, starts), np.add.reduceat((kept > 0).astype(float), starts)
        level = np.repeat(sums / np.maximum(filled, 1), np.diff([*starts, end])) * (kept > 0)
        loss = _divergence(clipped, level)
        if loss < best:
            best, limit = loss, seen.largest * end / BINS
    return seen.within(limit)


def _divergence(true: np.ndarray, other: np.ndarray) -> float:
    """Kullback-Leibler's, of two histograms; what the other one lacks has a tiny share, so that it costs much."""
    true, other = true / max(true.sum(), 1), other / max(other.sum(), 1)
    there = true > 0
    return float((true[there] * np.log(true[there] / np.maximum(other[there], 1e-9))).sum())


METHODS: dict[str, Callable[[Seen], Range]] = {
    "percentile 99.99": percentile(99.99),
    "percentile 99.999": percentile(99.999),
    "entropy": entropy,
    "minmax": all_of_it,
}
