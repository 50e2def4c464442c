"""A network changed so that it gives the same answers sooner."""

from __future__ import annotations

import copy
import operator
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from flyweight.networks.convolutions import DepthwiseConv2d, PhaseConv2d


def _proven(change: Callable[[nn.Module, Tensor], nn.Module], network: nn.Module, sample: Tensor) -> nn.Module:
    """The changed network where it says the same about the sample, whole and in part; else the network as it was."""
    try:
        changed = change(network, sample[:2])
        if all(
            torch.allclose(changed(part), network(part), rtol=1e-3, atol=1e-3)
            for part in (sample, sample[:2], sample[:1])
        ):
            return changed
    except Exception:
        # tracing runs the user's forward on stand-ins for tensors, which may raise anything
        pass
    return network


def _compiled(network: nn.Module, sample: Tensor) -> nn.Module:
    with warnings.catch_warnings():
        # torch would have torch.compile used, which needs a C++ compiler on the user's machine
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        # a trace keeps the way that these images took; where the network may choose another, it is asked as it is
        warnings.filterwarnings("error", category=torch.jit.TracerWarning)
        compiled = torch.jit.freeze(torch.jit.trace(network, sample))
        with _fusing() if _simple(network) else nullcontext():
            # the first passes settle what a batch of this size will run; batches of other sizes run unfused
            for _ in range(2):
                compiled(sample[:1])
        return compiled


# the fuser never comes back from `x + batch_norm(x)`, so it is given only what it has been tried with
_FUSED_MODULES = {
    nn.Conv2d,
    nn.ReLU,
    nn.Identity,
    nn.Dropout,
    nn.AvgPool2d,
    nn.MaxPool2d,
    nn.AdaptiveAvgPool2d,
    nn.Flatten,
    nn.Linear,
}
_FUSED_FUNCTIONS = {
    operator.add,
    operator.iadd,
    torch.add,
    torch.cat,
    torch.relu,
    torch.flatten,
    nn.functional.relu,
    nn.functional.dropout,
    nn.functional.avg_pool2d,
    nn.functional.adaptive_avg_pool2d,
}
_FUSED_METHODS = {"add", "relu", "flatten"}


def _simple(network: nn.Module) -> bool:
    """Whether a folded network is made of nothing but layers that the fuser is known to take."""
    if not isinstance(network, fx.GraphModule):
        return False
    known: dict[str, Callable[[Any], bool]] = {
        "call_module": lambda target: type(network.get_submodule(target)) in _FUSED_MODULES,
        "call_function": lambda target: target in _FUSED_FUNCTIONS,
        "call_method": lambda target: target in _FUSED_METHODS,
        "get_attr": lambda target: False,
    }
    return all(known[node.op](node.target) for node in network.graph.nodes if node.op in known)


@contextmanager
def _fusing() -> Iterator[None]:
    """Let TorchScript join convolutions with what follows them, by oneDNN Graph, where torch was built with it."""
    try:
        before = torch.jit.onednn_fusion_enabled()
    except AttributeError:
        yield
        return
    torch.jit.enable_onednn_fusion(True)
    try:
        yield
    finally:
        torch.jit.enable_onednn_fusion(before)


def _folded(network: nn.Module, _sample: Tensor) -> nn.Module:
    network = copy.deepcopy(network)
    for name, module in list(network.named_modules()):
        if isinstance(module, (DepthwiseConv2d, PhaseConv2d)):
            network.set_submodule(name, module.whole())
    traced = fx.symbolic_trace(network)
    for norm in list(traced.graph.nodes):
        before = norm.args[0] if norm.args else None
        if not (isinstance(before, fx.Node) and norm.op == before.op == "call_module"):
            continue
        convolution, following = traced.get_submodule(str(before.target)), traced.get_submodule(str(norm.target))
        # where somebody else reads the convolution's output, too, it must stay as it is
        if type(convolution) is nn.Conv2d and type(following) is nn.BatchNorm2d and len(before.users) == 1:
            traced.set_submodule(str(before.target), fuse_conv_bn_eval(convolution, following))
            norm.replace_all_uses_with(before)
            traced.graph.erase_node(norm)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
