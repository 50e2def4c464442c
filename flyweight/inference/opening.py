"""From what somebody names to a network that can be asked: PyTorch is imported where it is needed and not before."""

from __future__ import annotations

from collections.abc import Callable

from flyweight.errors import FlyweightError
from flyweight.inference import exported
from flyweight.inference.predict import Predictor


def opened(
    name: str, fast: bool = False, allow_code: bool = False, tell: Callable[[str], None] = lambda line: None
) -> Predictor:
    """A trained network that can be asked about images.

    Args:
        name: a network that ships with its weights, a run folder, an exported folder, or an ``.onnx`` file of one.
        fast: bfloat16 for large batches, where PyTorch runs the network.
        allow_code: let the Python file that a run folder names run, now and later.
        tell: called with a line where that file has changed since the run.

    Raises:
        RunError: there is no such network, its files are damaged or do not fit, or its code is not allowed.
        FlyweightError: `fast` is asked of an export, or what runs it is not installed.
    """
    graph = exported.find(name)
    if graph is not None:
        if fast:
            raise FlyweightError("--fast is bfloat16 of PyTorch's, and an export is asked as it is: leave --fast out")
        return exported.Exported(graph)
    from flyweight.inference.loaded import Loaded
    from flyweight.runs import allowing
    from flyweight.runs.card import find_trained, load_trained

    folder = find_trained(name)
    if allow_code:
        allowing.allow(folder)
    return Loaded(load_trained(folder, tell), "auto" if fast else "float32")
