"""onnxruntime: whether it is there, and a graph that it opens."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from flyweight.errors import FlyweightError
from flyweight.text import one_line

if TYPE_CHECKING:
    import onnxruntime


def require() -> None:
    """Go on only where onnxruntime is installed.

    Raises:
        FlyweightError: it is not; what to type is in the message.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise FlyweightError("an .onnx file needs onnxruntime: pip install onnxruntime")


def open_graph(content: bytes, name: str, threads: int = 0) -> onnxruntime.InferenceSession:
    """Open a graph on the processor.

    Args:
        content: of an ONNX file.
        name: of the file, for messages.
        threads: that compute; 0: as many as there are cores.

    Raises:
        FlyweightError: onnxruntime cannot.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # what it logs is in the error, too; its second try would print, and a model is not to set how it is run
    options.log_severity_level = 4
    onnxruntime.set_default_logger_severity(4)
    plain = {"enable_fallback": 0, "read_config_from_model": 0}
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"], **plain)
    except Exception as error:  # onnxruntime has a class of its own for each thing that a graph can have wrong
        raise FlyweightError(f"onnxruntime cannot open {name}: {one_line(error)}") from error
