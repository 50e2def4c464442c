"""Networks of the user's own."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from flyweight.errors import FlyweightError
from flyweight.recipes.sections import ModelConfig
from flyweight.schema import is_file, suggestion
from flyweight.text import one_line, short

CLASSES = ("num_classes", "classes", "n_classes")
"""Arguments of a constructor that are told how many classes the data has."""


def instance(reference: str, classes: int) -> nn.Module:
    """Build a network of the user's own.

    Args:
        reference: ``path/to/file.py:ClassName``.
        classes: how many; told to the constructor where it has an argument for it, see :data:`CLASSES`.

    Raises:
        FlyweightError: there is no such class, or building it raised an error.
    """
    found = load_class(reference)
    try:
        parameters = inspect.signature(found).parameters
        options = {name: classes for name in CLASSES if name in parameters}
        inspect.signature(found).bind(**options)
    except TypeError as error:
        raise FlyweightError(
            f"{reference} cannot be built: {error}; give each argument a default, but for {' or '.join(CLASSES)}"
        ) from None
    try:
        return found(**options)
    except (Exception, SystemExit) as error:
        raise FlyweightError(f"{reference}: building it raised {type(error).__name__}: {one_line(error)}") from error


def load_class(reference: str) -> type[nn.Module]:
    """Import a network of the user's own.

    Args:
        reference: ``path/to/file.py:ClassName``.

    Raises:
        FlyweightError: the file or the class is missing, or the class is no ``nn.Module``.
    """
    file, _, name = reference.rpartition(":")
    path = Path(file)
    if not is_file(path):
        shown = short(reference, 200)
        raise FlyweightError(f"{shown}: there is no file {short(file, 200)!r}; write path/to/file.py:ClassName")
    spec = importlib.util.spec_from_file_location(f"flyweight_user_{path.stem}", path.resolve())
    if spec is None or spec.loader is None:
        raise FlyweightError(f"{reference}: {file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    # a network may import its neighbours, as it could if Python were started in its folder
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise FlyweightError(f"{reference}: importing it failed: {type(error).__name__}: {one_line(error)}") from error
    finally:
        sys.path.pop(0)
    found = getattr(module, name, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        classes = [
            key for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, nn.Module)
        ]
        raise FlyweightError(
            f"{reference}: {file} has no nn.Module named {name!r}{suggestion(name, classes)}"
            f" (it has {', '.join(classes) or 'none'})"
        )
    return found


@contextmanager
def blamed(config: ModelConfig, when: str, cure: str) -> Iterator[None]:
    """Where a network runs: what one of the user's own raises is told as its error; what ours raises is ours.

    Args:
        config: of the recipe; what it names is the user's where it is no table of rows and no built-in network.
        when: it runs, such as ``in a test pass``.
        cure: what to do.

    Raises:
        FlyweightError: it raised; with the line of the user's file where that had a part in it.
    """
    file, colon, name = config.network.rpartition(":")
    try:
        yield
    except FlyweightError:
        raise
    # a sys.exit() in a user's file must not pass for an end of ours
    except (Exception, SystemExit) as error:
        if config.table is not None or not colon:
            raise
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if _same(frame.filename, file)]
        where = f"{file}:{lines[-1]}" if lines else file
        raise FlyweightError(
            f"{name} raised {type(error).__name__} {when}: {one_line(error)} ({where}); {cure}"
        ) from error


def _same(one: str, other: str) -> bool:
    return Path(one).resolve() == Path(other).resolve()
