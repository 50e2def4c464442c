"""The one builder: from what a recipe says to a module."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn

from flyweight.errors import FlyweightError
from flyweight.images.spec import Spec
from flyweight.networks.builtin import NETWORKS
from flyweight.networks.convolutions import Geometry, Phase
from flyweight.networks.custom import instance, unheard
from flyweight.networks.layers import KINDS, GlobalAvgPool2d, Residual, convolution_layer
from flyweight.networks.phases import check_phases, phases
from flyweight.networks.reference import FORMS, is_reference
from flyweight.networks.sizes import check_sizes
from flyweight.recipes.network import Network, Row
from flyweight.recipes.sections import ModelConfig
from flyweight.schema import suggestion


class TableNetwork(nn.Module):
    """Rows of a table built: blocks ``c1``, ``c2`` and so on, global average pooling, a 1x1 classifier.

    Args:
        network: the rows.
        classes: how many.
        channels: of an image.
        dropout: in place of the table's own; none: that.
        one_phase: of a dilated map a training step computes one phase, not all.

    Raises:
        FlyweightError: a row says something that cannot be built.
    """

    def __init__(
        self, network: Network, classes: int, channels: int, dropout: float | None = None, one_phase: bool = True
    ) -> None:
        super().__init__()
        dropout = network.dropout if dropout is None else dropout
        parts = phases(network) if one_phase else itertools.repeat(Phase())
        self._blocks = [name for name, _ in network.named()]
        for name, rows in network.named():
            layers: OrderedDict[str, nn.Module] = OrderedDict()
            for position, row in enumerate(rows, start=1):
                _check(row, channels, f"row {position} of {name}")
                geometry = Geometry(row.kernel, row.stride, row.dilation, row.zeros, next(parts))
                layer = convolution_layer(row.kind, channels, row.width, geometry, order=network.order, dropout=dropout)
                layers[f"conv{position}"] = Residual(layer) if row.residual else layer
                channels = row.width
            self.add_module(name, nn.Sequential(layers))
        self.pool = nn.AvgPool2d(network.pool) if network.pool else GlobalAvgPool2d()
        self.classifier = nn.Conv2d(channels, classes, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) float -> (N, classes) logits."""
        for name in self._blocks:
            x = self.get_submodule(name)(x)
        return self.classifier(self.pool(x)).flatten(1)


def _check(row: Row, channels: int, where: str) -> None:
    if row.kind not in KINDS:
        known = list(KINDS)
        raise FlyweightError(
            f"{where}: there is no kind of layer {row.kind!r}{suggestion(row.kind, known)}: choose {', '.join(known)}"
        )
    keeps_size = 2 * row.zeros == row.dilation * (row.kernel - 1)
    if row.residual and not (row.width == channels and row.stride == 1 and keeps_size):
        raise FlyweightError(
            f"{where}: a residual layer adds its input, so it must keep the {channels} channels and the map's size:"
            f" width {channels}, stride 1 and no padding of its own, or residual: false"
        )


def table(config: ModelConfig) -> Network | None:
    """The rows of a recipe's network: its own, or the built-in ones; none where it is a class of the user's."""
    return config.table if config.table is not None else NETWORKS.get(config.network)


def build(config: ModelConfig, spec: Spec, tell: Callable[[str], None] = unheard) -> nn.Module:
    """Build the network that a recipe holds or names, with fresh weights from torch's generator.

    Args:
        config: of the recipe.
        spec: of the data: channels that come in, classes that go out.
        tell: called with a line about what of a user's file was not run.

    Raises:
        FlyweightError: there is no such network, file or class, or its rows cannot be built.
    """
    if config.table is not None and config.network in NETWORKS:
        raise FlyweightError(
            f"model.network: {config.network} is a built-in network, and model.table holds other rows: give those a"
            " name of their own"
        )
    rows = table(config)
    if rows is not None:
        check_sizes(rows, *spec.shape[1:])
        one_phase = config.phases == "one"
        if one_phase:
            check_phases(rows, *spec.shape[1:])
        return TableNetwork(rows, len(spec.classes), spec.channels, dropout=config.dropout, one_phase=one_phase)
    if is_reference(config.network):
        if config.dropout is not None:
            raise FlyweightError(f"model.dropout cannot reach into {config.network}: leave it out, and set it there")
        return instance(config.network, len(spec.classes), tell)
    known = list(NETWORKS)
    raise FlyweightError(
        f"no network {config.network!r}{suggestion(config.network, known)}: the built-in ones are"
        f" {', '.join(known)}; one of yours is {FORMS}; or rows in model.table of a recipe"
    )
