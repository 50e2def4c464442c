"""``preprocessor_config.json``: what the hub's libraries are to do to an image."""

from __future__ import annotations

from typing import Any

from flyweight.runs.card import Card


def config(card: Card) -> dict[str, Any]:
    """What the hub's libraries do to an image; :func:`inexact` says where that is not what the network knows."""
    channels, height, width = card.input_shape
    crops = card.resize == "crop" and height == width
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": channels == 3,
        "do_resize": True,
        "size": {"shortest_edge": height} if crops else {"height": height, "width": width},
        "resample": 3,  # bicubic
        "do_center_crop": crops,
        "crop_size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(card.mean),
        "image_std": list(card.std),
    }


def inexact(card: Card) -> str | None:
    """What the hub's preprocessing makes of images that ours treats otherwise; None where there is no difference."""
    _, height, width = card.input_shape
    if card.resize == "squash" or (card.resize == "crop" and height == width):
        return None
    what = "put whole on grey" if card.resize == "pad" else f"cut to {width}:{height}"
    return f"images of other proportions are stretched, where in training they were {what}"
