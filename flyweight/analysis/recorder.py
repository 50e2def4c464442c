"""Run a network once and write down every operator it really executes.

Nothing is inferred from names or class claims: a dispatch mode sees each aten operator below autograd, whether a
module, a functional call or an operator of Python asked for it, and hooks tell which module it ran in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

from flyweight.analysis.trace import WRITE_THROUGH_VIEW, Call, Node, Ref, Trace, Value
from flyweight.errors import FlyweightError
from flyweight.text import one_line

# what these return does not depend on the values that came in, only on their shape
FACTORIES = {"bernoulli_", "empty_like", "exponential_", "fill", "fill_", "full_like", "new_empty", "new_empty_strided"}
FACTORIES |= {"new_full", "new_ones", "new_zeros", "normal_", "ones_like", "rand_like", "randint_like", "randn_like"}
FACTORIES |= {"random_", "uniform_", "zero", "zero_", "zeros_like"}


class _Reached(Exception):  # noqa: N818 (not an error: it ends a forward pass that has gone far enough)
    """The operator asked for has run."""


class LightMode(TorchDispatchMode):
    """A dispatch mode that does not import torch's compiler (1.2 s) on its first operator."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class _Recorder(LightMode):
    """Writes a :class:`Trace`. Tensors are told apart by identity, so all of them are kept alive until the end."""

    def __init__(self, model: nn.Module, sample: Tensor, until: int | None) -> None:
        super().__init__()
        self.trace = Trace(model, tuple(sample.shape[1:]))
        self.stack: list[int] = []
        self.foreign: list[Tensor] = []
        self.foreign_layers: list[str] = []
        self._until = until
        self._ordinal = 0
        self._alive: list[Tensor] = []
        self._value_of: dict[int, int] = {}
        self._sharing: dict[int, list[Tensor]] = {}
        self._parameters = {id(p): name for name, p in model.named_parameters()}
        self._holders = _holders(model)
        self._own = {id(t) for m in model.modules() for t in [*m.buffers(recurse=False), *vars(m).values()]}
        self.trace.input = self._new(sample, None, dependent=True)

    def _new(self, tensor: Tensor, producer: int | None, dependent: bool, parameter: str | None = None) -> int:
        self.trace.values.append(Value(tuple(tensor.shape), producer, dependent, parameter))
        index = len(self.trace.values) - 1
        if id(tensor) not in self._value_of:
            self._alive.append(tensor)
            if (storage := _storage(tensor)) is not None:
                self._sharing.setdefault(storage, []).append(tensor)
        self._value_of[id(tensor)] = index
        return index

    def value(self, tensor: Tensor) -> int:
        """Index of the value that the tensor holds now."""
        known = self._value_of.get(id(tensor))
        if known is not None:
            return known
        parameter = self._parameters.get(id(tensor))
        if parameter is None and id(tensor) not in self._own:
            # a constant of the module's file, or something that went through NumPy: record() finds out which
            self.foreign.append(tensor.detach().clone())
            self.foreign_layers.append(self._layer())
        index = self._new(tensor, None, dependent=False, parameter=parameter)
        # gradients are off, so nothing that this run makes asks for one: such a tensor was there before
        if parameter is None and (tensor.requires_grad or isinstance(tensor, nn.Parameter)):
            self.trace.unregistered[index] = self._holders.get(id(tensor), "")
        return index

    def _layer(self) -> str:
        return self.trace.calls[self.stack[-1]].path if self.stack else ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        bound = _bind(func, args, kwargs)
        refs = tree_map(lambda leaf: Ref(self.value(leaf)) if isinstance(leaf, Tensor) else leaf, bound)
        result = func(*args, **kwargs)
        self._record(func, args, kwargs, refs, result)
        # whether torch detaches what a factory made depends on who else holds it: no part of the count
        self._ordinal += not detaches(func)
        if self._until is not None and self._ordinal > self._until:
            raise _Reached
        return result

    def _record(self, func: Any, args: Any, kwargs: Any, refs: dict[str, Any], result: Any) -> None:
        name = func._schema.name.split("::")[-1]
        inputs = [leaf.value for leaf in tree_leaves(refs) if isinstance(leaf, Ref)]
        dependent = name not in FACTORIES and any(self.trace.values[v].dependent for v in inputs)
        if dependent and name in ("_local_scalar_dense", "is_nonzero", "item"):
            self.trace.leaks.append(self._layer() or "the network")
        counter = flop_registry.get(func._overloadpacket)
        node = Node(
            name=name if func.namespace == "aten" else f"{func.namespace}::{name}",
            args=refs,
            inputs=inputs,
            outputs=[],
            call=self.stack[-1] if self.stack else -1,
            macs=counter(*args, **kwargs, out_val=result) // 2 if counter else None,
            pointwise=torch.Tag.pointwise in func.tags,
            ordinal=-1 if detaches(func) else self._ordinal,
        )
        index = self._append(node)
        mutated = _mutated(func, args, kwargs)
        for tensor in mutated:
            node.outputs.append(self._new(tensor, index, dependent))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and not any(leaf is tensor for tensor in mutated):
                node.outputs.append(self._new(leaf, index, dependent))
        for tensor in mutated:
            self._spread_write(tensor)

    def _append(self, node: Node) -> int:
        self.trace.nodes.append(node)
        index = len(self.trace.nodes) - 1
        if not self.trace.in_leaf(node):
            self.trace.events.append(("node", index))
        return index

    def _spread_write(self, tensor: Tensor) -> None:
        """Other tensors over the same memory changed too: they become new values that depend on both."""
        written = self._value_of[id(tensor)]
        for other in self._sharing.get(_storage(tensor) or -1, []):
            before = self._value_of[id(other)]
            dependent = self.trace.values[written].dependent or self.trace.values[before].dependent
            if other is tensor or not dependent or not _overlap(tensor, other):
                continue
            call = self.stack[-1] if self.stack else -1
            refs = {"base": Ref(before), "written": Ref(written)}
            node = Node(WRITE_THROUGH_VIEW, refs, [before, written], [], call, 0, False, -1)
            node.outputs.append(self._new(other, self._append(node), dependent))

    def enter(self, path: str, module: nn.Module) -> None:
        """A module's forward begins."""
        call = Call(path, module, self.stack[-1] if self.stack else -1)
        self.trace.calls.append(call)
        self.stack.append(len(self.trace.calls) - 1)
        if call.leaf:
            self.trace.events.append(("call", self.stack[-1]))

    def leave(self, output: Any) -> None:
        """A module's forward has ended, with this output (None when it raised)."""
        call = self.trace.calls[self.stack.pop()]
        tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        if tensors:
            call.output = self._value_of.get(id(tensors[0]))


def _held(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """What plain attributes, lists and dictionaries of a network's modules hold, with the path of the attribute."""
    for path, module in model.named_modules():
        for name, content in vars(module).items():
            if name not in ("_parameters", "_modules", "_buffers"):
                yield from ((f"{path}.{name}" if path else name, leaf) for leaf in tree_leaves(content))


def _holders(model: nn.Module) -> dict[int, str]:
    """For each tensor, by identity, that a plain attribute holds by itself or in a layer: the path of the attribute."""
    found: dict[int, str] = {}
    for where, leaf in _held(model):
        tensors = list(leaf.parameters()) if isinstance(leaf, nn.Module) else [leaf]
        found.update({id(tensor): where for tensor in tensors if isinstance(tensor, Tensor)})
    return found


def detaches(func: Any) -> bool:
    """Whether an operator only hands a tensor on."""
    return func._schema.name == "aten::detach"


def _storage(tensor: Tensor) -> int | None:
    try:
        return tensor.untyped_storage().data_ptr() or None
    except (RuntimeError, NotImplementedError):  # sparse and other tensors without a plain storage
        return None


def _overlap(a: Tensor, b: Tensor) -> bool:
    """Whether the memory ranges of two tensors of one storage meet."""
    if a.numel() == 0 or b.numel() == 0:
        return False
    (a_first, a_last), (b_first, b_last) = (_range(t) for t in (a, b))
    return a_first <= b_last and b_first <= a_last


def _range(tensor: Tensor) -> tuple[int, int]:
    first = int(tensor.storage_offset())
    last = first + sum((size - 1) * int(stride) for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return first * tensor.element_size(), (last + 1) * tensor.element_size() - 1


def _bind(func: Any, args: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by their name in the operator's schema, defaults filled in."""
    schema = func._schema.arguments
    bound = {a.name: a.default_value for a in schema if a.has_default_value()}
    bound.update({a.name: value for a, value in zip(schema, args, strict=False)})
    bound.update(kwargs)
    return bound


def _mutated(func: Any, args: Any, kwargs: Mapping[str, Any]) -> list[Tensor]:
    if not func._schema.is_mutable:
        return []
    written = [a.name for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write]
    bound = _bind(func, args, kwargs)
    return [leaf for name in written for leaf in tree_leaves(bound.get(name)) if isinstance(leaf, Tensor)]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a network in evaluation mode without gradients; give back modes, buffers, random state and threads."""
    threads = torch.get_num_threads()
    # layers in a plain list run too, though the network does not know of them
    roots = [model, *(leaf for _, leaf in _held(model) if isinstance(leaf, nn.Module))]
    modes = {module: module.training for root in roots for module in root.modules()}
    buffers = [(buffer, buffer.detach().clone()) for root in roots for buffer in root.buffers()]
    try:
        # one picture gives two threads little to share; beside a training they wait for each other ten times longer
        torch.set_num_threads(1)
        for root in roots:
            root.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)
        for module, training in modes.items():
            module.training = training
        with torch.no_grad():
            for buffer, before in buffers:
                if not torch.equal(buffer, before):
                    buffer.copy_(before)


@contextmanager
def _hooked(model: nn.Module, recorder: _Recorder) -> Iterator[None]:
    with ExitStack() as stack:
        for path, module in model.named_modules():

            def before(module: nn.Module, args: Any, path: str = path) -> None:
                recorder.enter(path, module)

            def after(module: nn.Module, args: Any, output: Any) -> None:
                recorder.leave(output)

            stack.callback(module.register_forward_pre_hook(before).remove)
            stack.callback(module.register_forward_hook(after, always_call=True).remove)
        yield


def sample_like(model: nn.Module, input_shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """A batch of one, uniform in 0.5 to 1.5, of the network's own number type and on its device.

    Raises:
        FlyweightError: it does not fit into memory.
    """
    first = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    generator = torch.Generator().manual_seed(seed)
    try:
        return (torch.rand((1, *input_shape), generator=generator) + 0.5).to(first.device, first.dtype)
    except (RuntimeError, TypeError, MemoryError) as error:  # the allocator's, or a size beyond 64 bits
        raise FlyweightError(f"an input of {_times((1, *input_shape))} does not fit into memory") from error


def record(model: nn.Module, input_shape: tuple[int, ...], until: int | None = None) -> Trace:
    """Run a network in evaluation mode on one random picture and record the operators.

    Args:
        model: any module that takes one tensor; it comes back as it was.
        input_shape: (C, H, W).
        until: stop after the operator with this ordinal, so that what follows may be of the wrong size.

    Raises:
        FlyweightError: the forward pass raised, or it returned no tensor; the input does not fit into memory; a part
            of the network is compiled by TorchScript.
    """
    _refuse_scripted(model)
    recorder = _run(model, input_shape, until, seed=0)
    if recorder.foreign:
        # tensors that no operator made are constants only if another picture leaves them as they are
        again = _run(model, input_shape, until, seed=1).foreign
        for position, (layer, tensor) in enumerate(zip(recorder.foreign_layers, recorder.foreign, strict=True)):
            if position >= len(again) or not torch.equal(tensor, again[position]):
                recorder.trace.leaks.append(layer or "the network")
    return recorder.trace


def _run(model: nn.Module, input_shape: tuple[int, ...], until: int | None, seed: int) -> _Recorder:
    with evaluating(model):
        sample = sample_like(model, input_shape, seed)
        recorder = _Recorder(model, sample, until)
        with _hooked(model, recorder):
            try:
                with recorder:
                    output = model(sample)
            except _Reached:
                return recorder
            # a sys.exit() in a user's file must not pass for an end of ours
            except (Exception, SystemExit) as error:
                raise _forward_failed(model, input_shape, error) from error
    tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
    if not tensors:
        raise FlyweightError(f"{type(model).__name__} returns {type(output).__name__}: a network must return a tensor")
    recorder.trace.outputs = [recorder.value(tensor) for tensor in tensors]
    return recorder


def _refuse_scripted(model: nn.Module) -> None:
    for path, module in model.named_modules():
        # it takes no hooks, and may run other operators the second time than the first
        if isinstance(module, torch.jit.ScriptModule):
            where = f"{type(model).__name__}.{path}" if path else "the network"
            raise FlyweightError(
                f"{where} is compiled by TorchScript, which cannot be watched: give the nn.Module that was scripted"
            )


def _forward_failed(model: nn.Module, input_shape: tuple[int, ...], error: BaseException) -> FlyweightError:
    raised = f"{type(model).__name__} on an input of {_times((1, *input_shape))} raised {type(error).__name__}"
    return FlyweightError(f"{raised}: {one_line(error)}")


def _times(sizes: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in sizes)
