"""Run a network once and write down every operator it really executes.

Nothing is inferred from names or class claims: a dispatch mode sees each aten operator below autograd, whether a
module, a functional call or an operator of Python asked for it, and hooks tell which module it ran in.
"""

from __future__ import annotations

import math
import pickle
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

from flyweight.analysis.trace.aten import bind, detaches, overlap, short_name, storage, tensors_in, written
from flyweight.analysis.trace.running import (
    LightMode,
    WholePadding,
    borrowed,
    holders,
    materialise,
    plain,
    sample_like,
    times,
)
from flyweight.analysis.trace.trace import WRITE_THROUGH_VIEW, Call, Node, Trace, Value
from flyweight.errors import FlyweightError, TooLargeError
from flyweight.machine.environment import available_memory
from flyweight.networks.blame import place
from flyweight.text import one_line

SHARE = 0.7
"""Of the memory that is left, for all that a network computes on one image."""


class _Reached(Exception):  # noqa: N818 (not an error: it ends a forward pass that has gone far enough)
    """The operator asked for has run."""


class _Recorder(LightMode):
    """Writes a :class:`Trace`. Tensors are told apart by identity, so all of them are kept alive until the end.

    Raises:
        TooLargeError: they do not fit into memory.
    """

    def __init__(self, model: nn.Module, sample: Tensor, until: int | None) -> None:
        super().__init__()
        self.stack: list[Call] = []
        self.foreign: list[tuple[str, Tensor]] = []
        self.returned: list[Tensor] = []
        self.draws = ""
        self._until = until
        self._ordinal = 0
        self._count = 0
        # a system that has no memory left ends this process without a word
        self._room = (available_memory() or math.inf) * SHARE
        self._alive: list[Tensor] = []
        self._value_of: dict[int, Value] = {}
        self._sharing: dict[int, list[Tensor]] = {}
        self._parameters = {id(p): plain(name) for name, p in model.named_parameters()}
        self._holders = holders(model)
        self._own = {id(t) for m in model.modules() for t in [*m.buffers(recurse=False), *vars(m).values()]}
        self.trace = Trace(model, tuple(sample.shape[1:]), self._new(sample))

    def _new(self, tensor: Tensor, producer: Node | None = None, parameter: str | None = None) -> Value:
        value = Value(tuple(tensor.shape), self._count, producer, parameter)
        self._count += 1
        if id(tensor) not in self._value_of:
            self._alive.append(tensor)
            address = storage(tensor)
            if producer is not None and address not in self._sharing:
                self._keep(tensor)
            if address is not None:
                self._sharing.setdefault(address, []).append(tensor)
        self._value_of[id(tensor)] = value
        return value

    def _keep(self, tensor: Tensor) -> None:
        self._room -= tensor.numel() * tensor.element_size()
        if self._room < 0:
            where = f"{type(self.trace.model).__name__} on an input of {times((1, *self.trace.input_shape))}"
            raise TooLargeError(f"the maps of {where} do not fit into memory: choose a smaller one")

    def value(self, tensor: Tensor) -> Value:
        """The value that a tensor holds now."""
        known = self._value_of.get(id(tensor))
        if known is not None:
            return known
        parameter = self._parameters.get(id(tensor))
        if parameter is None and id(tensor) not in self._own:
            # a constant of the module's file, or something that went through NumPy: record() finds out which
            self.foreign.append((self.stack[-1].path if self.stack else "", tensor.detach().clone()))
        value = self._new(tensor, parameter=parameter)
        # gradients are off, so nothing that this run makes asks for one: such a tensor was there before
        if parameter is None and (tensor.requires_grad or isinstance(tensor, nn.Parameter)):
            self.trace.unregistered[value] = self._holders.get(id(tensor), "")
        return value

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        bound = bind(func, args, kwargs)
        read = tree_map(lambda leaf: self.value(leaf) if isinstance(leaf, Tensor) else leaf, bound)
        result = func(*args, **kwargs)
        counter = flop_registry.get(func._overloadpacket)
        name = short_name(func)
        node = self._append(
            name=name if func.namespace == "aten" else f"{func.namespace}::{name}",
            args=read,
            macs=counter(*args, **kwargs, out_val=result) // 2 if counter else None,
            pointwise=torch.Tag.pointwise in func.tags,
            seeded=torch.Tag.nondeterministic_seeded in func.tags,
            ordinal=-1 if detaches(func) else self._ordinal,
        )
        changed = written(func, bound)
        made = [leaf for leaf in tensors_in(result) if not any(leaf is tensor for tensor in changed)]
        node.outputs = [self._new(tensor, node) for tensor in (*changed, *made)]
        for tensor in changed:
            self._spread_write(tensor)
        # whether torch detaches what a factory made depends on who else holds it: no part of the count
        self._ordinal += not detaches(func)
        if self._until is not None and self._ordinal > self._until:
            raise _Reached
        return result

    def _append(
        self, name: str, args: dict[str, Any], macs: int | None, pointwise: bool, ordinal: int, seeded: bool = False
    ) -> Node:
        inputs = [leaf for leaf in tree_leaves(args) if isinstance(leaf, Value)]
        call = self.stack[-1] if self.stack else None
        node = Node(name, args, inputs, call, macs, pointwise, seeded, ordinal, index=len(self.trace.nodes))
        self.trace.nodes.append(node)
        if not node.in_leaf:
            self.trace.events.append(node)
        return node

    def _spread_write(self, tensor: Tensor) -> None:
        """Other tensors over the same memory changed too: they become new values that are made of both."""
        source = self._value_of[id(tensor)]
        for other in self._sharing.get(storage(tensor) or -1, []):
            if other is not tensor and overlap(tensor, other):
                args = {"base": self._value_of[id(other)], "written": source}
                node = self._append(WRITE_THROUGH_VIEW, args, macs=0, pointwise=False, ordinal=-1)
                node.outputs = [self._new(other, node)]

    def enter(self, path: str, module: nn.Module) -> None:
        """A module's forward begins."""
        call = Call(path, module)
        self.trace.calls.append(call)
        self.stack.append(call)
        if call.leaf:
            self.trace.events.append(call)

    def leave(self, output: Any) -> None:
        """A module's forward has ended, with this output (None when it raised)."""
        call = self.stack.pop()
        tensors = tensors_in(output)
        if tensors:
            call.output = self._value_of.get(id(tensors[0]))


@contextmanager
def _hooked(model: nn.Module, recorder: _Recorder) -> Iterator[None]:
    with ExitStack() as stack:
        for path, module in model.named_modules():

            def before(module: nn.Module, args: Any, path: str = plain(path)) -> None:
                recorder.enter(path, module)

            def after(module: nn.Module, args: Any, output: Any) -> None:
                recorder.leave(output)

            stack.callback(module.register_forward_pre_hook(before).remove)
            stack.callback(module.register_forward_hook(after, always_call=True).remove)
        yield


def record(model: nn.Module, input_shape: tuple[int, ...], until: int | None = None, twice: bool = True) -> Trace:
    """Run a network in evaluation mode on one random image and record the operators.

    Args:
        model: any module that takes one tensor; it comes back as it was.
        input_shape: (C, H, W).
        until: stop after the operator with this ordinal, so that what follows may be of the wrong size.
        twice: run it a second time, to see whether it is the same network then.

    Raises:
        FlyweightError: the forward pass raised, or it returned no tensor; a part of the network is compiled by
            TorchScript.
        TooLargeError: the input, or what the network makes of it, does not fit into memory.
    """
    _refuse_scripted(model)
    with _raising(model, input_shape):
        materialise(model, input_shape)
    recorder = _run(model, input_shape, until, seed=0)
    if recorder.foreign:
        # tensors that no operator made are constants only if another image leaves them as they are
        again = [tensor for _, tensor in _run(model, input_shape, until, seed=1).foreign]
        for position, (layer, tensor) in enumerate(recorder.foreign):
            if position >= len(again) or not torch.equal(tensor, again[position]):
                recorder.trace.leaks.append(layer or "the network")
    if until is None and twice:
        recorder.trace.random = recorder.draws or _drawn(recorder.trace) or _differs(recorder, model, input_shape)
    return recorder.trace


def _drawn(trace: Trace) -> str:
    """The first operator that draws random numbers which reach the output or a decision of Python's."""
    tainted: dict[Value, Node] = {}
    for node in trace.nodes:
        # what asks for none draws none: dropout in evaluation mode, attention without dropout
        idle = any(node.args.get(name, True) in (False, 0.0) for name in ("train", "training", "dropout_p", "p"))
        source = node if node.seeded and not idle else next((tainted[v] for v in node.inputs if v in tainted), None)
        if source is None:
            continue
        if not node.outputs:
            return _drawn_by(source)
        tainted.update(dict.fromkeys(node.outputs, source))
    reached = next((tainted[value] for value in trace.outputs if value in tainted), None)
    return "" if reached is None else _drawn_by(reached)


def _drawn_by(node: Node) -> str:
    return f"{node.name.strip('_')} in {node.path or 'the network'} draws random numbers in evaluation mode"


def _differs(first: _Recorder, model: nn.Module, input_shape: tuple[int, ...]) -> str:
    """How a second run on the same image differs from the first."""
    try:
        second = _run(model, input_shape, None, seed=0)
    except FlyweightError as error:
        return f"a second run on the same image failed: {error}"
    names = [[node.name for node in one.trace.nodes] for one in (first, second)]
    if names[0] != names[1]:
        return "two runs on the same image ran other operators"
    pairs = zip(first.returned, second.returned, strict=False)
    same = all(a.shape == b.shape and torch.allclose(a, b, equal_nan=True) for a, b in pairs)
    return "" if same else "two runs on the same image gave other outputs"


def _run(model: nn.Module, input_shape: tuple[int, ...], until: int | None, seed: int) -> _Recorder:
    with borrowed(model):
        sample = sample_like(model, input_shape, seed)
        recorder = _Recorder(model, sample, until)
        states = _states()
        with _hooked(model, recorder):
            try:
                with _raising(model, input_shape, until), WholePadding(), recorder:
                    output = model(sample)
            except _Reached:
                return recorder
        recorder.draws = "".join(
            f"the network draws numbers from {name} in evaluation mode"
            for name, before in states.items()
            if _states()[name] != before
        )
    recorder.returned = tensors_in(output)
    if not recorder.returned:
        raise FlyweightError(f"{type(model).__name__} returns {type(output).__name__}: a network must return a tensor")
    recorder.trace.outputs = [recorder.value(tensor) for tensor in recorder.returned]
    return recorder


@contextmanager
def _raising(model: nn.Module, input_shape: tuple[int, ...], until: int | None = None) -> Iterator[None]:
    """What a forward pass raises becomes one line, with the line of the user's file unless it was only a try."""
    try:
        yield
    except (FlyweightError, _Reached):
        raise
    # a sys.exit() in a user's file must not pass for an end of ours
    except (Exception, SystemExit) as error:
        raised = f"{type(model).__name__} on an input of {times((1, *input_shape))} raised"
        where = place(error) if until is None else ""
        told = f" ({where})" if where else ""
        raise FlyweightError(f"{raised} {type(error).__name__}: {one_line(error)}{told}") from error


def _states() -> dict[str, Any]:
    """What Python's and NumPy's own generators would draw next; torch's operators are seen as they run."""
    return {"Python's random": random.getstate(), "numpy.random": pickle.dumps(np.random.get_state())}


def _refuse_scripted(model: nn.Module) -> None:
    for path, module in model.named_modules():
        # it takes no hooks, and may run other operators the second time than the first
        if isinstance(module, torch.jit.ScriptModule):
            where = f"{type(model).__name__}.{path}" if path else "the network"
            raise FlyweightError(
                f"{where} is compiled by TorchScript, which cannot be watched: give the nn.Module that was scripted"
            )
