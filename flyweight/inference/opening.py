"""From what somebody names to a network that can be asked: PyTorch is imported where it is needed and not before."""

from __future__ import annotations

from flyweight.errors import FlyweightError
from flyweight.inference import exported
from flyweight.inference.predict import Predictor


def opened(name: str, fast: bool = False) -> Predictor:
    """A trained network that can be asked about images.

    Args:
        name: a network that ships with its weights, a run folder, an exported folder, or an ``.onnx`` file of one.
        fast: bfloat16 for large batches, where PyTorch runs the network.

    Raises:
        RunError: there is no such network, or its files are damaged or do not fit.
        FlyweightError: `fast` is asked of an export, or what runs it is not installed.
    """
    graph = exported.find(name)
    if graph is not None:
        if fast:
            raise FlyweightError("--fast is bfloat16 of PyTorch's, and an export is asked as it is: leave --fast out")
        return exported.Exported(graph)
    from flyweight.inference.loaded import Loaded
    from flyweight.runs.card import find_trained, load_trained

    return Loaded(load_trained(find_trained(name)), "auto" if fast else "float32")
