"""Borrow a network for a forward pass and give it back as it was."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from flyweight.errors import FlyweightError, TooLargeError
from flyweight.machine.environment import available_memory
from flyweight.networks.modes import evaluating

_BARE = (bool, int, float, str, type(None))


class LightMode(TorchDispatchMode):
    """A dispatch mode that does not import torch's compiler (1.2 s) on its first operator."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


# torch writes a circular padding as copies into parts of an empty tensor, of which nobody could tell what they are
_LIBRARY = torch.library.Library("flyweight", "FRAGMENT")
_LIBRARY.define("circular_pad(Tensor self, int[] pad) -> Tensor")
_LIBRARY.impl("circular_pad", lambda self, pad: F.pad(self, pad, "circular"), "CompositeExplicitAutograd")


class WholePadding(TorchFunctionMode):
    """Runs a circular padding as one operator, ``flyweight::circular_pad``."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.pad:
            given = dict(zip(("input", "pad", "mode", "value"), args, strict=False)) | kwargs
            if given.get("mode") == "circular":
                return torch.ops.flyweight.circular_pad(given["input"], list(given["pad"]))
        return func(*args, **kwargs)


def plain(path: str) -> str:
    """Path of a module or parameter without the steps that ``torch.compile`` puts around a module."""
    return ".".join(part for part in path.split(".") if part != "_orig_mod")


def uncompiled() -> AbstractContextManager[Any]:
    """What was given to ``torch.compile`` runs as it was written: to compile it for each size would take minutes."""
    # who never imported the compiler has compiled nothing
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


def materialise(model: nn.Module, input_shape: Sequence[int]) -> None:
    """Give lazy layers their shapes by one forward pass, as a training's first step would; others change nothing.

    Raises:
        FlyweightError: one of them never runs, so that it has no shape.
    """
    if not any(is_lazy(parameter) for parameter in model.parameters()):
        return
    with evaluating(model), torch.no_grad(), torch.random.fork_rng(devices=[]), uncompiled():
        model(sample_like(model, input_shape))
    for path, module in model.named_modules():
        if any(is_lazy(parameter) for parameter in module.parameters(recurse=False)):
            raise FlyweightError(
                f"{type(model).__name__}.{plain(path)} is a lazy layer that never runs, so that it has no shape:"
                " take it away, or give it its sizes"
            )


@contextmanager
def borrowed(model: nn.Module) -> Iterator[None]:
    """A network in evaluation mode without gradients; modes, buffers, random state and threads are given back."""
    threads = torch.get_num_threads()
    # layers in a plain list run too, though the network does not know of them
    roots = [model, *(leaf for _, leaf in held(model) if isinstance(leaf, nn.Module))]
    buffers = [(buffer, buffer.detach().clone()) for root in roots for buffer in root.buffers()]
    try:
        # one image gives two threads little to share; beside a training they wait for each other ten times longer
        torch.set_num_threads(1)
        with ExitStack() as modes, torch.no_grad(), torch.random.fork_rng(devices=[]), uncompiled():
            for root in roots:
                modes.enter_context(evaluating(root))
            yield
    finally:
        torch.set_num_threads(threads)
        with torch.no_grad():
            for buffer, before in buffers:
                if not torch.equal(buffer, before):
                    buffer.copy_(before)


def held(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """What plain attributes, lists and dictionaries of a network's modules hold, with the path of the attribute."""
    for path, module in model.named_modules():
        for name, content in vars(module).items():
            # numbers, words and the empty tables of hooks are most of a module: a fifth of an analysis went into them
            bare = isinstance(content, _BARE) or (isinstance(content, dict | list | tuple) and not content)
            if not bare and name not in ("_parameters", "_modules", "_buffers"):
                yield from ((plain(f"{path}.{name}" if path else name), leaf) for leaf in tree_leaves(content))


def holders(model: nn.Module) -> dict[int, str]:
    """For each tensor, by identity, that a plain attribute holds by itself or in a layer: the path of the attribute."""
    found: dict[int, str] = {}
    for where, leaf in held(model):
        tensors = list(leaf.parameters()) if isinstance(leaf, nn.Module) else [leaf]
        found.update({id(tensor): where for tensor in tensors if isinstance(tensor, Tensor)})
    return found


def sample_like(model: nn.Module, input_shape: Sequence[int], seed: int = 0) -> Tensor:
    """A batch of one, uniform in 0.5 to 1.5, of the network's own number type and on its device.

    Raises:
        TooLargeError: it does not fit into memory.
    """
    needed, room = 4 * prod(input_shape), available_memory()
    first = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    generator = torch.Generator().manual_seed(seed)
    try:
        if room is not None and needed > room:
            raise MemoryError
        return (torch.rand((1, *input_shape), generator=generator) + 0.5).to(first.device, first.dtype)
    except (RuntimeError, TypeError, MemoryError) as error:  # the allocator's, or a size beyond 64 bits
        raise TooLargeError(f"an input of {times((1, *input_shape))} does not fit into memory") from error


def times(sizes: Sequence[int]) -> str:
    """Sizes in words: ``1x3x32x32``."""
    return "x".join(str(size) for size in sizes)
