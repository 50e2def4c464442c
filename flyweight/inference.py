"""Pictures in, logits out: the one path that the test pass, the evaluation and every prediction take."""

from __future__ import annotations

import copy
import operator
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from flyweight.blocks import PhaseConv2d, StridedDepthwiseConv2d, normalize
from flyweight.device import gains_from_bfloat16


@contextmanager
def evaluating(network: nn.Module) -> Iterator[nn.Module]:
    """The network in eval mode; each of its modules gets its own mode back afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield network
    finally:
        for module, training in modes:
            module.training = training


class Classifier:
    """A network made ready to be asked: the same answers, sooner.

    A batch norm that follows a convolution is folded into it (Jacob et al. 2018, "Quantization and training of neural
    networks", section 3.2), the weights lie channels-last, as the pictures do, and small batches, for which Python is
    slower than the arithmetic, run without it; a single picture with its convolutions fused with what follows them.
    The answers differ from the network's own by the rounding of float32. A network that cannot be traced, that chooses
    its way by what it sees, or that says something else afterwards, is asked as it is. What it gains stands in
    docs/performance.md.

    Args:
        network: (N, C, H, W) -> (N, classes), in eval mode; it is not changed and should not change from here on.
        shape: (C, H, W) of a picture.
        mean: of each channel in 0 to 1, from the network's card.
        std: of each channel in 0 to 1, from the network's card.
        precision: ``float32``, or ``auto``: bfloat16 for large batches where the processor multiplies it natively,
            which changes a few answers in a thousand.
    """

    def __init__(
        self,
        network: nn.Module,
        shape: Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
        precision: Literal["float32", "auto"] = "float32",
    ) -> None:
        self.mean, self.std = tuple(mean), tuple(std)
        self.device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
        self.bfloat16 = precision == "auto" and gains_from_bfloat16(self.device)
        channels, height, width = shape
        sample = np.random.default_rng(0).integers(0, 256, (3, height, width, channels), dtype=np.uint8)
        self._sample = self._inputs(sample)
        with torch.no_grad():
            self.network = _proven(_folded, network, self._sample)

    @cached_property
    def compiled(self) -> nn.Module:
        """The network for small batches; made when the first one comes, for a test pass has none."""
        with torch.no_grad():
            return _proven(_compiled, self.network, self._sample) if self.device.type == "cpu" else self.network

    def __call__(self, images: np.ndarray) -> Tensor:
        """(N, H, W, C) uint8 to (N, classes) logits, float32 on the CPU."""
        small = len(images) < 16
        network = self.compiled if small else self.network
        # of a small batch bfloat16 gains less than the conversions cost
        low = self.bfloat16 and not small
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=low):
            return network(self._inputs(images)).float().cpu()

    def answers(self, inputs: Tensor) -> Tensor:
        """(N, C, H, W) normalised pictures on this device to (N, classes) logits, float32, without a gradient."""
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            return self.network(inputs).float()

    def _inputs(self, images: np.ndarray) -> Tensor:
        # the copy makes read-only memory-mapped pictures writable, as torch wants them
        return normalize(torch.from_numpy(np.array(images)).to(self.device), self.mean, self.std)


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
        # a trace keeps the way that these pictures took; where the network may choose another, it is asked as it is
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
        if isinstance(module, (PhaseConv2d, StridedDepthwiseConv2d)):
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


def logits(
    network: nn.Module, images: np.ndarray, mean: Sequence[float], std: Sequence[float], batch_size: int = 128
) -> Tensor:
    """What the network says about each picture, in float32.

    Args:
        network: (N, C, H, W) -> (N, classes); its mode is left as it was.
        images: (N, H, W, C) uint8.
        mean: of each channel in 0 to 1, from the network's card.
        std: of each channel in 0 to 1, from the network's card.
        batch_size: pictures at once.

    Returns:
        (N, classes) float32 on the CPU.
    """
    with evaluating(network):
        classify = Classifier(network, (images.shape[3], *images.shape[1:3]), mean, std)
        return torch.cat([classify(images[at : at + batch_size]) for at in range(0, len(images), batch_size)])
