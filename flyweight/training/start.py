"""Fine-tuning: a training that begins with the weights of a trained network, as far as they fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from flyweight.errors import FlyweightError
from flyweight.runs.card import find_trained, load_weights
from flyweight.runs.fitting import sound_or_raise
from flyweight.runs.names import WEIGHTS
from flyweight.text import short, some


@dataclass(frozen=True)
class Start:
    """What a network takes from a trained one: tensors of the same names and shapes.

    Where the images have other channels or there are other classes, the first layer or the classifier is not among
    them and stays fresh; of as many other classes, too. What the trained one has learnt from does not matter.

    Attributes:
        name: of the trained network, as the recipe names it.
        sha256: of its file of weights.
        fitting: the tensors that are taken, by their names.
        fresh: names of the network's own tensors that stay as they are.
        unused: names of the trained network's tensors that this one does not have.
    """

    name: str
    sha256: str
    fitting: dict[str, Tensor]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        """What was taken and what was not, in one line."""
        all_own = len(self.fitting) + len(self.fresh)
        told = f"begins with {len(self.fitting)} of {all_own} tensors from {short(self.name, 200)}"
        told += f"; fresh: {some(self.fresh)}" if self.fresh else ""
        return told + (f"; not used: {some(self.unused)}" if self.unused else "")


def find(name: str, network: nn.Module, classes: Sequence[str]) -> Start:
    """What a network would take; nothing is changed.

    Args:
        name: a network that ships, or a run folder.
        network: that is to be trained.
        classes: that it is to tell apart.

    Raises:
        RunError: there is no such network, or a file of it is damaged.
        FlyweightError: none of its weights fits.
    """
    folder = find_trained(name)
    card, weights = load_weights(folder)
    sound_or_raise(network, weights, folder / WEIGHTS)
    own = network.state_dict()
    fitting = {key: value for key, value in weights.items() if key in own and own[key].shape == value.shape}
    if card.classes != tuple(classes):
        # the last layer says which class it is: what it has learnt is about others
        last = next(reversed(dict(network.named_parameters())), "").rpartition(".")[0]
        for key in [key for key in fitting if key.rpartition(".")[0] == last]:
            if len(fitting[key].shape) and fitting[key].shape[0] == len(classes):
                del fitting[key]
    # a norm's statistics and its count of batches are worth nothing without a weight
    if not any(key in fitting for key, _ in network.named_parameters()):
        raise FlyweightError(
            f"train.start: none of the weights of {short(name, 200)} ({card.network}) fits {type(network).__name__}:"
            " names or shapes are others; begin with a network of the same layers, or with none"
        )
    fresh = tuple(key for key in own if key not in fitting)
    return Start(name, card.sha256, fitting, fresh, tuple(key for key in weights if key not in own))


def apply(start: Start, network: nn.Module) -> None:
    """Give the network the weights that fit, in place."""
    network.load_state_dict(start.fitting, strict=False)
