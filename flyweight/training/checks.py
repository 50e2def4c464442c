"""What is refused before a training begins: what could only fail later, or would be lost at its end."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flyweight.data import Dataset
from flyweight.errors import FlyweightError
from flyweight.images.augment import Augmenter
from flyweight.images.preprocess import normalize
from flyweight.machine.device import batch_size
from flyweight.machine.together import my_share, processes
from flyweight.networks.custom import blamed
from flyweight.networks.modes import evaluating
from flyweight.recipes.sections import Recipe
from flyweight.text import one_line
from flyweight.training import optimizer
from flyweight.training.teaching import load_teacher

TRIED = 8
"""Images of the step that is taken before there is a run: what fails with these fails with any."""


def check_trainable(network: nn.Module, dataset: Dataset, recipe: Recipe) -> None:
    """Refuse what could only fail after the training has begun, or would be lost after it.

    Raises:
        FlyweightError: a batch is larger than the training set, the hole than an image, or the number of processes than
            a batch has pairs of images; the network cannot take the
            images, does not return one logit a class, has nothing to learn, or weights that are not its parameters;
            the teacher has seen other data.
        RunError: there is no such teacher.
    """
    config, name = recipe.train, type(network).__name__
    count = len(dataset.train.labels)
    if config.batch_size is not None and config.batch_size > count:
        raise FlyweightError(
            f"train.batch_size: {config.batch_size} is more than the {count} training images; lower it"
        )
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise FlyweightError(f"{name} has no parameter that can be trained")
    size = config.batch_size or batch_size(count)
    if my_share(size).world > 1 and any(isinstance(module, torch.jit.ScriptModule) for module in network.modules()):
        raise FlyweightError(
            f"{name} is TorchScript, whose batch norms see one process's images: train it by one alone"
        )
    if config.teacher is not None:
        load_teacher(config.teacher, dataset)
    images = Augmenter(recipe.augment, dataset.mean, config.seed)(np.array(dataset.train.images[:2]), [0, 1], 0)
    output = _output(network, normalize(torch.from_numpy(images), dataset.mean, dataset.std), len(dataset.classes))
    registered = {id(parameter) for parameter in network.parameters()}
    strangers = [tensor for tensor in _leaves(output) if id(tensor) not in registered]
    if strangers:
        raise FlyweightError(
            f"{name} computes with {sum(tensor.numel() for tensor in strangers):,} weights that are not among its"
            " parameters, so that nobody would train or save them: keep layers in an nn.ModuleList and not in a plain"
            " list, tensors in an nn.Parameter"
        )


def try_step(network: nn.Module, dataset: Dataset, recipe: Recipe) -> None:
    """Take one step with a few images, before there is a run: some networks fail in training mode alone.

    Args:
        network: with fresh weights; it is not to be used afterwards.
        dataset: that is to be trained on.
        recipe: how, with nothing left ``auto``.

    Raises:
        FlyweightError: the network raises on the way there or back, or returns something else than in eval mode.
    """
    device, config = processes().device, recipe.train
    count = min(TRIED, config.batch_size or batch_size(len(dataset.train)))
    images = Augmenter(recipe.augment, dataset.mean, config.seed)(
        np.array(dataset.train.images[:count]), range(count), 0
    )
    inputs = normalize(torch.from_numpy(images).to(device), dataset.mean, dataset.std)
    labels = torch.from_numpy(np.array(dataset.train.labels[:count])).to(device)
    network = network.to(device).train()
    low = torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16")
    with blamed(recipe.model, "in a first step in training mode", "mend it: nothing was written"), low:
        made = optimizer.build(network, config)
        output = network(inputs)
    outputs = checked_logits(output, (count, len(dataset.classes)), type(network).__name__)
    with blamed(recipe.model, "on the way back of a first step", "mend it: nothing was written"):
        F.cross_entropy(outputs.float(), labels).backward()
        made.step()


def _output(network: nn.Module, inputs: Tensor, classes: int) -> Tensor:
    """What the network says about a batch, in eval mode: one logit a class, or an error."""
    name = type(network).__name__
    with evaluating(network):
        try:
            output = network(inputs)
        except Exception as error:  # a user's network may raise anything
            shape = "x".join(str(size) for size in inputs.shape)
            raise FlyweightError(f"{name} cannot take a batch of {shape} numbers: {one_line(error)}") from error
    return checked_logits(output, (len(inputs), classes), name)


def checked_logits(output: Any, shape: tuple[int, int], name: str) -> Tensor:
    """What a network has returned, if that is one logit a class for each image.

    Args:
        output: anything.
        shape: (images, classes).
        name: of the network.

    Raises:
        FlyweightError: it is something else.
    """
    if not isinstance(output, Tensor) or output.shape != shape:
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise FlyweightError(f"{name} returns {got} for a batch of {shape[0]}: it must be {shape}, one logit a class")
    return output


def _leaves(output: Tensor) -> list[Tensor]:
    """The tensors that a gradient of the output would be gathered in.

    The analysis finds unregistered weights as well, for the rules; a training may have none, and its network may be one
    that the analysis refuses to watch, such as TorchScript.
    """
    seen, waiting, found = set(), [output.grad_fn], []
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        waiting += [before for before, _ in node.next_functions]
    return found
