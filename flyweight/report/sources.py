"""Code that a report shows."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from torch import nn


class Source(NamedTuple):
    """A file of code: its name without a folder, and its text."""

    name: str
    text: str


def source(module: ModuleType) -> Source:
    """The code of a module."""
    return Source(Path(inspect.getsourcefile(module) or "network.py").name, inspect.getsource(module))


def own_source(network: nn.Module) -> Source:
    """The file in which a user's own network is written."""
    return source(sys.modules[type(network).__module__])
