"""Networks as rows of a table, and the one builder that reads them."""

from __future__ import annotations

import importlib.util
import inspect
import itertools
import math
import sys
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from flyweight.blocks import GlobalAvgPool2d, Order, Phase, Residual, convolution_layer
from flyweight.config import ModelConfig, Phases, suggestion
from flyweight.errors import FlyweightError


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


def _c(width: int, **options: int | bool) -> Row:
    return Row(width, **options)  # type: ignore[arg-type]


def _s(width: int, **options: int | bool) -> Row:
    return Row(width, separable=True, **options)  # type: ignore[arg-type]


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
    # the literal brief in the least time. The first layer is the cheapest place for a stride: its input needs no
    # gradient, and nothing is ever computed on 32x32 again. C1 and C3 end dilated, as the brief allows
    "sprint": Network(
        blocks=(
            (_c(32, stride=2), _c(32, residual=True), _c(32, dilation=2, residual=True)),
            (_c(32, residual=True), _c(32, residual=True), _c(64, stride=2)),
            (_s(64, residual=True), _c(64, residual=True), _c(64, dilation=2, residual=True)),
            (_s(96), _s(96, residual=True), _s(160)),
        ),
    ),
    # the literal brief for accuracy: sprint's geometry, and every parameter spent, most of them on the 16x16 maps of C1
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
}


def _phases(network: Network) -> Iterator[Phase]:
    """Which part of its map each row computes in a training step, see :class:`flyweight.blocks.PhaseConv2d`."""
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
        classes: int = 10,
        channels: int = 3,
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


def build(config: ModelConfig, classes: int = 10) -> nn.Module:
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
    return TableNetwork(NETWORKS[config.network], classes, dropout=config.dropout, phases=config.phases)


def _instance(reference: str) -> nn.Module:
    found = load_class(reference)
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        raise FlyweightError(f"{reference} cannot be built without arguments: {error}; give each a default") from None
    try:
        return found()
    except (Exception, SystemExit) as error:
        raise FlyweightError(f"{reference}: building it raised {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def load_class(reference: str) -> type[nn.Module]:
    """Import a network of the user's own.

    Args:
        reference: ``path/to/file.py:ClassName``.

    Raises:
        FlyweightError: the file or the class is missing, or the class is no ``nn.Module``.
    """
    file, _, name = reference.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise FlyweightError(f"{reference}: there is no file {file!r}; write path/to/file.py:ClassName")
    spec = importlib.util.spec_from_file_location(f"flyweight_user_{path.stem}", path.resolve())
    if spec is None or spec.loader is None:
        raise FlyweightError(f"{reference}: {file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    # a network may import its neighbours, as it could if Python were started in its folder
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise FlyweightError(f"{reference}: importing it failed: {_one_line(error)}") from error
    finally:
        sys.path.pop(0)
    found = getattr(module, name, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        classes = [
            key for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, nn.Module)
        ]
        raise FlyweightError(
            f"{reference}: {file} has no nn.Module named {name!r}{suggestion(name, classes)}"
            f" (it has {', '.join(classes) or 'none'})"
        )
    return found
