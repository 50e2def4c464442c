"""What the dispatcher knows of one operator's call: arguments by name, what it writes, who shares its memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves


def short_name(func: Any) -> str:
    """Name of an operator without its namespace: ``convolution``."""
    return func._schema.name.split("::")[-1]


def detaches(func: Any) -> bool:
    """Whether an operator only hands a tensor on."""
    return func._overloadpacket is torch.ops.aten.detach


def bind(func: Any, args: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by their name in the operator's schema, defaults filled in."""
    schema = func._schema.arguments
    bound = {a.name: a.default_value for a in schema if a.has_default_value()}
    bound.update({a.name: value for a, value in zip(schema, args, strict=False)})
    bound.update(kwargs)
    return bound


def written(func: Any, bound: Mapping[str, Any]) -> list[Tensor]:
    """Tensors among the arguments that an operator writes to."""
    if not func._schema.is_mutable:
        return []
    names = [a.name for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write]
    return tensors_in([bound.get(name) for name in names])


def tensors_in(tree: Any) -> list[Tensor]:
    """Tensors in any nest of lists, tuples and dictionaries, in order."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def storage(tensor: Tensor) -> int | None:
    """Address of the memory that a tensor lies in; None where it has none of its own."""
    try:
        return tensor.untyped_storage().data_ptr() or None
    except (RuntimeError, NotImplementedError):  # sparse and other tensors without a plain storage
        return None


def overlap(a: Tensor, b: Tensor) -> bool:
    """Whether the memory ranges of two tensors of one storage meet."""
    if a.numel() == 0 or b.numel() == 0:
        return False
    (a_first, a_last), (b_first, b_last) = (_range(t) for t in (a, b))
    return a_first <= b_last and b_first <= a_last


def _range(tensor: Tensor) -> tuple[int, int]:
    first = int(tensor.storage_offset())
    last = first + sum((size - 1) * int(stride) for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return first * tensor.element_size(), (last + 1) * tensor.element_size() - 1
