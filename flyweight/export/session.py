"""onnxruntime: whether it is there, and what it says of images."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from flyweight.errors import FlyweightError
from flyweight.inference import runtime
from flyweight.text import one_line

if TYPE_CHECKING:
    import onnxruntime

LIBRARIES = ("onnx", "onnxruntime", "onnxscript")
BATCH = 128
"""Images at once."""


def require() -> None:
    """Go on only where the libraries of the extra are installed.

    Raises:
        FlyweightError: one is missing; what to type is in the message.
    """
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise FlyweightError(f"an export needs {', '.join(missing)}: pip install 'flyweight[export]'")


def open_graph(content: bytes, name: str) -> onnxruntime.InferenceSession:
    """Open a graph, on as many threads as torch has.

    Raises:
        FlyweightError: onnxruntime cannot.
    """
    return runtime.open_graph(content, name, torch.get_num_threads())


class Session:
    """A graph that runs.

    Args:
        content: the bytes of an ONNX file.
        name: of the file, for messages.
    """

    def __init__(self, content: bytes, name: str) -> None:
        self.name, self._session = name, open_graph(content, name)

    def __call__(self, count: int, inputs: Callable[[int, int], np.ndarray]) -> np.ndarray:
        """The first output for so many images: one alone, then batches, so that no graph knows the size of its batch.

        A graph that takes one image gets them one by one.

        Args:
            count: how many images.
            inputs: the graph's input for images from one place up to another.

        Returns:
            (count, classes).
        """
        (entry,) = self._session.get_inputs()
        places = [0, *range(1, count, BATCH if isinstance(entry.shape[0], str) else 1), count]
        try:
            found = [
                self._session.run(None, {entry.name: inputs(start, end)})[0]
                for start, end in itertools.pairwise(places)
            ]
        except Exception as error:  # as above
            raise FlyweightError(f"onnxruntime cannot run {self.name}: {one_line(error)}") from error
        return np.concatenate(found)
