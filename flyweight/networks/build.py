"""Networks as rows of a table, and the one builder that reads them."""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Iterator

from torch import Tensor, nn

from flyweight.errors import FlyweightError
from flyweight.images.spec import Spec
from flyweight.networks.builtin import NETWORKS
from flyweight.networks.custom import _instance
from flyweight.networks.layers import GlobalAvgPool2d, Phase, Residual, convolution_layer
from flyweight.networks.table import Network
from flyweight.recipes.sections import ModelConfig, Phases
from flyweight.schema import suggestion


def _phases(network: Network) -> Iterator[Phase]:
    """Which part of its map each row computes in a training step: :class:`~flyweight.networks.layers.PhaseConv2d`."""
    rows = [row for block in network.blocks for row in block]
    spacing = 1
    for place in range(len(rows)):
        after = rows[place + 1 :]
        # a residual layer adds its input, of which it would have left out places
        if after and not rows[place].residual and all(row.stride == 1 for row in rows[place:]):
            common = math.gcd(*(row.dilation for row in after), *(row.padding or 0 for row in after))
        else:
            common = spacing
        yield Phase(spacing, common // spacing)
        spacing = common


class TableNetwork(nn.Module):
    """A row of :data:`NETWORKS` built: blocks ``c1`` to ``c4``, global average pooling, a 1x1 classifier."""

    def __init__(
        self,
        network: Network,
        classes: int,
        channels: int,
        dropout: float | None = None,
        phases: Phases = "one",
    ) -> None:
        super().__init__()
        dropout = network.dropout if dropout is None else dropout
        parts = _phases(network) if phases == "one" else itertools.repeat(Phase())
        blocks = []
        for rows in network.blocks:
            layers: OrderedDict[str, nn.Module] = OrderedDict()
            for position, row in enumerate(rows, start=1):
                layer = convolution_layer(
                    channels,
                    row.width,
                    stride=row.stride,
                    dilation=row.dilation,
                    padding=row.padding,
                    separable=row.separable,
                    order=network.order,
                    dropout=dropout,
                    phase=next(parts),
                )
                layers[f"conv{position}"] = Residual(layer) if row.residual else layer
                channels = row.width
            blocks.append(nn.Sequential(layers))
        self.c1, self.c2, self.c3, self.c4 = blocks
        self.pool = nn.AvgPool2d(network.pool) if network.pool else GlobalAvgPool2d()
        self.classifier = nn.Conv2d(channels, classes, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) float -> (N, classes) logits."""
        for block in (self.c1, self.c2, self.c3, self.c4):
            x = block(x)
        return self.classifier(self.pool(x)).flatten(1)


def build(config: ModelConfig, spec: Spec) -> nn.Module:
    """Build the network that a recipe names, with fresh weights from torch's generator.

    Raises:
        FlyweightError: there is no such network, file or class.
    """
    if ":" in config.network:
        if config.dropout is not None:
            raise FlyweightError(f"model.dropout cannot reach into {config.network}: leave it out, and set it there")
        return _instance(config.network)
    if config.network not in NETWORKS:
        known = list(NETWORKS)
        raise FlyweightError(
            f"no network {config.network!r}{suggestion(config.network, known)}: the built-in ones are"
            f" {', '.join(known)}; one of yours is path/to/file.py:ClassName"
        )
    return TableNetwork(
        NETWORKS[config.network], len(spec.classes), spec.channels, dropout=config.dropout, phases=config.phases
    )
