"""Our networks for timm: ``import flyweight.timm``, then ``timm.create_model("flyweight_dilated", pretrained=True)``.

An export in the format huggingface is opened by ``timm.create_model("local-dir:FOLDER", pretrained=True)``, and from
the hub by ``hf-hub:OWNER/NAME``. The networks that ship have their weights with them, a tag for each training:
``flyweight_course.course-tuned``. Nothing in flyweight imports this module: timm is not among what flyweight needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import timm.models
from pydantic import TypeAdapter
from torch import Tensor, nn

from flyweight import schema
from flyweight.errors import FlyweightError
from flyweight.export import for_timm
from flyweight.files import read_bytes
from flyweight.networks.build import TableNetwork
from flyweight.networks.builtin import NETWORKS
from flyweight.recipes.network import Network
from flyweight.runs.card import MOST_CARD, ZOO, Card
from flyweight.runs.names import CARD, WEIGHTS

CLASSES = 1000
"""What timm takes where nobody says how many."""


class TimmNetwork(TableNetwork):
    """Rows of a table with what timm asks of a network; its weights have the same names.

    Args:
        rows: of the network.
        num_classes: how many; 0: the pooled map is what comes out.
        in_chans: channels of an image.
        drop_rate: dropout, in place of the rows' own; none: that.
        global_pool: avg is the only one.

    Raises:
        FlyweightError: a row cannot be built, or another pooling is asked for.
    """

    def __init__(
        self,
        rows: Network,
        num_classes: int = CLASSES,
        in_chans: int = 3,
        drop_rate: float | None = None,
        global_pool: str = for_timm.POOL,
    ) -> None:
        _only(global_pool)
        # a training step of timm's computes the whole map
        super().__init__(rows, max(1, num_classes), in_chans, dropout=drop_rate, one_phase=False)
        self.num_features = self.head_hidden_size = self.classifier.in_channels
        self.num_classes, self.global_pool = num_classes, global_pool
        if num_classes == 0:
            self.reset_classifier(0)

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, num_features, h, w), the last map."""
        for name in self._blocks:
            x = self.get_submodule(name)(x)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The last map -> (N, num_classes) logits, or (N, num_features) before the classifier."""
        x = self.pool(x)
        return (x if pre_logits else self.classifier(x)).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, num_classes) logits."""
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new last layer for so many classes; 0: none.

        Raises:
            FlyweightError: another pooling is asked for.
        """
        _only(global_pool or for_timm.POOL)
        self.num_classes = num_classes
        self.classifier = nn.Conv2d(self.num_features, num_classes, 1, bias=False) if num_classes else nn.Identity()  # type: ignore[assignment]


def _only(pooling: str) -> None:
    if pooling != for_timm.POOL:
        raise FlyweightError(f"global_pool {pooling}: flyweight's networks have {for_timm.POOL} alone")


def _shipped() -> dict[str, Any]:
    """What timm knows of the networks that ship: for each the way to its weights."""
    found = {}
    for folder in sorted(path.parent for path in ZOO.glob(f"*/{WEIGHTS}")):
        card = TypeAdapter(Card).validate_json(read_bytes(folder / CARD, MOST_CARD))
        found[f"{for_timm.architecture(card)}.{folder.name}"] = {
            **for_timm.pretrained(card),
            "first_conv": for_timm.first_convolution(TableNetwork(NETWORKS[card.network], 1, card.input_shape[0])),
            "file": str(folder / WEIGHTS),
        }
    return found


default_cfgs = timm.models.generate_default_cfgs(_shipped())
"""Timm looks for this name."""


def _registered(name: str, rows: Network | None) -> None:
    """Let timm know a network by a name; without rows they are an argument."""

    def build(pretrained: bool = False, table: dict[str, Any] | None = None, **options: Any) -> nn.Module:
        found = rows
        if found is None:
            if table is None:
                raise FlyweightError(f"{name} needs its rows: timm.create_model({name!r}, table={{'blocks': ...}})")
            found = schema.parse(Network, table, "the argument table")
        return timm.models.build_model_with_cfg(TimmNetwork, name, pretrained, rows=found, **options)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"flyweight's network {name.removeprefix(for_timm.PREFIX)}."
    register: Callable[[Callable[..., nn.Module]], object] = timm.models.register_model
    register(build)


for _name, _rows in NETWORKS.items():
    _registered(f"{for_timm.PREFIX}{_name}", _rows)
_registered(for_timm.TABLE, None)
