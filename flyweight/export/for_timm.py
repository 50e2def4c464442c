"""What timm looks for in the ``config.json`` of a folder: ``local-dir:FOLDER``, or ``hf-hub:OWNER/NAME``.

It finds a network by the name of a function that builds it; `flyweight.timm`, which the user imports, brings ours.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from flyweight.networks.builtin import NETWORKS
from flyweight.runs.card import Card

PREFIX = "flyweight_"
"""Before the names of our networks, for timm has one list of names for all."""
TABLE = f"{PREFIX}table"
"""The network of any rows, which are an argument."""
POOL, CLASSIFIER = "avg", "classifier"


def config(card: Card, network: nn.Module) -> dict[str, Any]:
    """The keys that timm reads; none for a class of the user's own, which only the user can register.

    Args:
        card: of the network.
        network: rows that were built.
    """
    if card.table is None and card.network not in NETWORKS:
        return {}
    arguments: dict[str, Any] = {} if card.table is None else {"table": card.table.model_dump(mode="json")}
    if card.dropout is not None:
        arguments["drop_rate"] = card.dropout
    classifier = network.get_submodule(CLASSIFIER)
    assert isinstance(classifier, nn.Conv2d)
    return {
        "architecture": architecture(card),
        "num_classes": len(card.classes),
        "num_features": classifier.in_channels,
        "global_pool": POOL,
        "label_names": list(card.classes),
        "model_args": arguments,
        "pretrained_cfg": pretrained(card) | {"first_conv": first_convolution(network)},
    }


def architecture(card: Card) -> str:
    """The name of the function that builds the network."""
    return f"{PREFIX}{card.network}" if card.table is None else TABLE


def pretrained(card: Card) -> dict[str, Any]:
    """How an image is prepared, and what is cut off for other classes, in timm's words."""
    return {
        "input_size": list(card.input_shape),
        "fixed_input_size": False,
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": {"crop": "center", "pad": "border", "squash": "squash"}[card.resize],
        "mean": list(card.mean),
        "std": list(card.std),
        "num_classes": len(card.classes),
        "pool_size": None,
        "classifier": CLASSIFIER,
    }


def first_convolution(network: nn.Module) -> str | None:
    """The layer that sees an image, which timm brings to other numbers of channels; it can from three alone."""
    name, layer = next((name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d))
    return name if layer.weight.shape[1] == 3 else None
