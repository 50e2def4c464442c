"""Hold what `flyweight check` says of public networks against three others that use nothing of flyweight's analysis.

    python tools/public_networks.py --sources FOLDER            # prints the table in docs/public-networks.md

Parameters against the sum over `Module.parameters()`, MACs against `torch.utils.flop_counter`, the receptive field,
which the analysis has from a formula and from a NaN probe, against the extent of a gradient: the network is made linear
and positive (averages for maxima, no activations, no norms), and the gradient of places in the middle of its last map
is looked at on a larger image (Luo et al. 2016, "Understanding the Effective Receptive Field").

The networks are not part of this repository. tools/public_networks.txt lists them, each with the repository and commit
it comes from; FOLDER holds a checkout of each under its repository's name, and packages lie on PYTHONPATH:

    pip download --no-deps pytorchcv==0.0.74 && unzip pytorchcv-*.whl -d FOLDER/pytorchcv-0.0.74
    PYTHONPATH=FOLDER/pytorchcv-0.0.74 python tools/public_networks.py --sources FOLDER
"""

import argparse
import functools
import os
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from flyweight import analysis
from flyweight.errors import FlyweightError
from flyweight.networks.custom import instance

LIST = Path(__file__).with_suffix(".txt")
GATES = {"hardsigmoid", "hardsigmoid_", "relu6", "sigmoid", "sigmoid_"}
CONVOLUTIONS = {"conv1d", "conv2d", "conv_transpose2d"}
IDENTITIES = {
    "alpha_dropout", "batch_norm", "celu", "clamp", "clamp_", "dropout", "dropout2d", "elu", "gelu", "group_norm",
    "hardswish", "hardtanh", "hardtanh_", "instance_norm", "layer_norm", "leaky_relu", "mish", "prelu", "relu",
    "relu_", "selu", "silu", "softplus", "tanh",
}  # fmt: skip


class Reached(Exception):  # noqa: N818 (not an error: it ends a forward pass that has gone far enough)
    """The last map is there."""


class Linear(TorchFunctionMode):
    """Runs a network made linear and positive, and stops at its last map.

    Args:
        target: number of the call whose input (a global pooling) or output is the last map; None: look for it.
        pooled: whether it is the input.
        averages: numbers of calls that average the whole map with a window as large as it, at the real size.
    """

    def __init__(self, target: int | None = None, pooled: bool = False, averages: frozenset[int] = frozenset()) -> None:
        super().__init__()
        self.target, self.pooled, self.averages = target, pooled, averages
        self.averaged: set[int] = set()
        self.calls = 0
        self.last_pool: int | None = None
        self.last_map: int | None = None
        self.before_linear, self.enlarges = True, False
        self.map: Tensor | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Each call of torch's, before it runs."""
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        if name in ("__get__", "__set__", "size", "dim", "__len__"):
            return func(*args, **kwargs)
        number, self.calls = self.calls, self.calls + 1
        pools = self._pools(name, args, kwargs) or number in self.averages
        if pools and self.target is None:
            self.last_pool = number
            self.averaged |= {number} if name == "avg_pool2d" else set()
        if self.target == number and self.pooled:
            self.map = args[0]
            raise Reached
        result = (
            self._ones(name, args, kwargs)
            if pools and self.target is not None
            else self._linear(func, name, args, kwargs)
        )
        self.enlarges |= name in ("interpolate", "conv_transpose2d", "upsample", "pixel_shuffle")
        if name == "linear":
            self.before_linear = False
        if self.target is None and self.before_linear and isinstance(result, Tensor) and result.dim() == 4:
            self.last_map = number
        if self.target == number:
            self.map = result
            raise Reached
        return result

    def _pools(self, name: str, args: Any, kwargs: Any) -> bool:
        """Whether it pools a whole map; on an enlarged image, a window of fixed size no longer does."""
        x = args[0] if args and isinstance(args[0], Tensor) else kwargs.get("input")
        if not isinstance(x, Tensor) or x.dim() != 4 or max(x.shape[2:]) == 1:
            return False
        if name in ("adaptive_avg_pool2d", "adaptive_max_pool2d"):
            size = args[1] if len(args) > 1 else kwargs.get("output_size")
            return tuple(size if isinstance(size, tuple | list) else (size, size)) == (1, 1)
        if name in ("avg_pool2d", "max_pool2d", "max_pool2d_with_indices") and self.target is None:
            kernel = args[1] if len(args) > 1 else kwargs["kernel_size"]
            kernel = tuple(kernel) if isinstance(kernel, tuple | list) else (kernel, kernel)
            return all(side == size for side, size in zip(kernel, x.shape[2:], strict=True))
        if name == "mean":
            dims = args[1] if len(args) > 1 else kwargs.get("dim", ())
            return {dim % 4 for dim in (dims if isinstance(dims, tuple | list) else (dims,))} == {2, 3}
        return False

    def _ones(self, name: str, args: Any, kwargs: Any) -> Tensor:
        """In place of what sees the whole map: squeeze and excite is told apart from the field."""
        x = args[0]
        keep = name != "mean" or kwargs.get("keepdim", len(args) > 2 and args[2])
        return torch.ones((*x.shape[:2], 1, 1) if keep else tuple(x.shape[:2]), dtype=x.dtype)

    def _linear(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        if name in CONVOLUTIONS:
            given = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
            x, weight = given.pop("input"), given.pop("weight")
            kwargs = {key: value for key, value in given.items() if key != "bias"}
            # paths at the border of the field are few and those in its middle many: the root keeps both in range
            even = torch.full_like(weight, 1 / (weight.shape[1] * weight[0, 0].numel() ** 0.5))
            return func(x, even, None, *args[3:], **kwargs)
        if name in GATES and args and isinstance(args[0], Tensor):
            return args[0] / args[0].detach()  # 1 everywhere, with a gradient: x * sigmoid(x) must not become x * x
        if name in IDENTITIES and args and isinstance(args[0], Tensor):
            return args[0] * 1
        if name in ("max_pool2d", "max_pool2d_with_indices"):
            options = dict(zip(("kernel_size", "stride", "padding", "dilation", "ceil_mode"), args[1:], strict=False))
            options |= {key: value for key, value in kwargs.items() if key != "return_indices"}
            if options.pop("dilation", 1) not in (1, (1, 1)):
                raise NotImplementedError("dilated max pooling")
            return F.avg_pool2d(args[0], **options)
        return func(*args, **kwargs)


def oracle(network: nn.Module, shape: tuple[int, int, int], field: tuple[int, int]) -> tuple[int, int]:
    """Extent of the gradient of the middle of the last map, in pixels: (height, width).

    Args:
        network: it is changed.
        shape: of an image, at which the last map is looked for.
        field: that the analysis found; it decides only how large the image must be.

    Raises:
        RuntimeError: there is no last map, or the gradient reaches the border.
    """
    deep = sum(isinstance(module, nn.Conv2d) for module in network.modules()) > 60
    network = network.to(torch.float64 if deep else torch.float32).eval()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    seeker = Linear()
    image = torch.ones(1, *shape, dtype=_kind(network))  # outside, where it is no call of the network's
    with torch.no_grad(), seeker:
        network(image)
    pooled = seeker.last_pool is not None
    target = seeker.last_pool if pooled else seeker.last_map
    if target is None:
        raise RuntimeError("there is no last map")
    mode = functools.partial(Linear, target, pooled, frozenset(seeker.averaged - {target}))
    return _extent(network, shape, mode(), 1, field[0]), _extent(network, shape, mode(), 2, field[1])


def _extent(network: nn.Module, shape: tuple[int, ...], mode: Linear, axis: int, field: int) -> int:
    sizes = list(shape)
    sizes[axis] += (field // 64 + 3) * 64  # whole steps of every stride
    image = torch.ones(1, *sizes, dtype=_kind(network), requires_grad=True)
    try:
        with mode:
            network(image)
    except Reached:
        pass
    found = mode.map
    assert found is not None
    largest = 0
    # a map that was enlarged inside repeats every few places
    count = found.shape[1 + axis]
    for place in range(max(0, count // 2 - 4), min(count, count // 2 + 4)) if mode.enlarges else [count // 2]:
        (gradient,) = torch.autograd.grad(found.select(1 + axis, place).sum(), image, retain_graph=True)
        reached = (gradient[0].abs().sum([0, 3 - axis]) > 0).nonzero().flatten()
        first, last = int(reached.min()), int(reached.max())
        if first == 0 or last == sizes[axis] - 1:
            raise RuntimeError("the gradient reaches the border")
        largest = max(largest, last - first + 1)
    return largest


def _kind(network: nn.Module) -> torch.dtype:
    return next(parameter.dtype for parameter in network.parameters() if parameter.is_floating_point())


@dataclass(frozen=True)
class Row:
    """What was found of one network."""

    name: str
    parameters: str
    macs: str
    field: str
    agrees: str
    seconds: float


def examined(reference: str, shape: tuple[int, int, int]) -> Row:
    """Analyse one network and hold it against the others."""
    begun, name = time.monotonic(), reference
    torch.manual_seed(0)
    try:
        network = instance(reference, 10).eval()
        facts = analysis.analyze(network, shape)
    except FlyweightError as error:
        return Row(name, "", "", "", f"told: {error}", time.monotonic() - begun)
    except Exception:
        traceback.print_exc()
        return Row(name, "", "", "", "TRACEBACK", time.monotonic() - begun)
    wrong = []
    if facts.parameters != sum(parameter.numel() for parameter in network.parameters()):
        wrong.append("parameters")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.ones(1, *shape))
    counted = counter.get_total_flops() // 2
    if facts.macs is None or abs(facts.macs - counted) > 0.01 * counted:
        wrong.append(f"MACs: torch counts {counted:,}")
    found = facts.receptive_field
    field = f"{found.height}x{found.width}" if found.height != found.width else str(found.height)
    if found.status == "proved" and found.height and found.width:
        try:
            third = oracle(network, shape, (found.height, found.width))
            if third != (found.height, found.width):
                wrong.append(f"field: the gradient reaches {third[0]}x{third[1]}")
        except Exception as error:
            wrong.append(f"no gradient: {type(error).__name__}: {str(error)[:80]}")
    else:
        wrong.append(f"field {found.status}: {found.detail}")
    macs = "unknown" if facts.macs is None else f"{facts.macs / 1e6:,.1f} M"
    return Row(name, f"{facts.parameters:,}", macs, field, "; ".join(wrong) or "yes", time.monotonic() - begun)


def listed(sources: Path) -> Iterator[tuple[str, str, tuple[int, int, int]]]:
    """From the list: the name to show, the reference, the shape of an image."""
    shape, prefix = (0, 0, 0), ""
    for line in LIST.read_text(encoding="utf-8").splitlines():
        text = line.strip()
        if text.startswith("[") and text.endswith("]"):
            prefix, size = text[1:-1].split()
            channels, height, width = map(int, size.split(","))
            shape = (channels, height, width)
        elif text and not text.startswith("#"):
            module = prefix.endswith(".")
            yield (
                f"{prefix}{'' if module else '/'}{text}",
                prefix + text if module else str(sources / prefix / text),
                shape,
            )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=Path, required=True, help="the folder with a checkout of each repository")
    parser.add_argument("--only", default="", help="those whose name holds this")
    options = parser.parse_args()
    torch.set_num_threads(max(1, int(os.environ.get("OMP_NUM_THREADS", "1"))))
    say = sys.stdout.write
    say(
        "| network | parameters | MACs | receptive field | all agree | s |\n| --- | ---: | ---: | ---: | --- | ---: |\n"
    )
    rows = []
    for name, reference, shape in listed(options.sources):
        if options.only in name:
            row = examined(reference, shape)
            rows.append(row)
            agrees = row.agrees.replace(f"{options.sources}/", "").replace("|", "/")
            cells = (row.parameters, row.macs, row.field, agrees, f"{row.seconds:.1f}")
            say(f"| `{name}` | {' | '.join(cells)} |\n")
            sys.stdout.flush()
    agree = sum(row.agrees == "yes" for row in rows)
    tracebacks = sum(row.agrees == "TRACEBACK" for row in rows)
    sys.stderr.write(f"{len(rows)} networks: {agree} agree in all, {tracebacks} tracebacks\n")


if __name__ == "__main__":
    main()
