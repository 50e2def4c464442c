"""Stand-ins for modules that a user's file imports, that are not here and that its network does not need.

Training scripts import torchvision, tqdm, torchsummary and the like; a network's class rarely uses them. A stand-in can
be imported and named, and raises :class:`NeededModuleError` as soon as it would have to do anything.
"""

from __future__ import annotations

import ast
import importlib.machinery
import linecache
import os
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from inspect import isclass, isfunction
from pathlib import Path
from typing import Any, NoReturn

from torch import nn

# what these make holds no weights: a network may make it and leave it lie
WEIGHTLESS = frozenset(
    {"IPython", "comet_ml", "cv2", "fvcore", "ignite", "ipywidgets", "lightning", "loguru", "matplotlib", "mlflow"}
    | {"neptune", "pandas", "pl_bolts", "plotly", "prettytable", "ptflops", "pytorch_lightning", "rich", "seaborn"}
    | {"sklearn", "tabulate", "tensorboard", "tensorboardX", "termcolor", "thop", "torchinfo", "torchmetrics"}
    | {"torchsummary", "torchviz", "tqdm", "wandb"}
)


class NeededModuleError(ImportError):
    """A network needs a module that is not here."""


class StandInModule(nn.Module):
    """The base of a network that inherits from another library's module, such as a LightningModule."""

    def save_hyperparameters(self, *arguments: Any, **options: Any) -> None:
        """Nothing is saved here."""

    def log(self, *arguments: Any, **options: Any) -> None:
        """Nothing is logged here."""


class StandIn(types.ModuleType):
    """A module, a class or a function that is not here."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__dict__["_flyweight_name"] = name
        self.__dict__["__path__"] = []

    def __getattr__(self, name: str) -> StandIn:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return StandIn(f"{self._flyweight_name}.{name}")

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """As a decorator it changes nothing; what holds no weights may be made; all else needs the module."""
        if len(arguments) == 1 and not options and (isfunction(arguments[0]) or isclass(arguments[0])):
            return arguments[0]  # it decorates what a training would use
        if self._flyweight_name.partition(".")[0] in WEIGHTLESS and not any(_works(one) for one in arguments):
            return StandIn(f"{self._flyweight_name}()")
        raise self._error()

    def _error(self) -> NeededModuleError:
        module = self._flyweight_name.partition(".")[0]
        return NeededModuleError(f"the network uses {self._flyweight_name}, and the module {module} is not here")

    def _needed(self, *arguments: Any) -> NoReturn:
        raise self._error()

    __iter__ = __len__ = __enter__ = __add__ = __radd__ = __mul__ = __rmul__ = __bool__ = __float__ = __int__ = _needed
    __sub__ = __rsub__ = __truediv__ = __rtruediv__ = __index__ = __contains__ = _needed

    def __getitem__(self, item: Any) -> StandIn:
        return self  # of a type, in an annotation

    def __or__(self, other: Any) -> StandIn:
        return self

    __ror__ = __or__

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        last = self._flyweight_name.rpartition(".")[2]
        if last == "LightningModule":
            return (StandInModule,)
        if last.endswith(("Dataset", "DataModule", "Callback", "Logger", "Enum", "Mixin")):
            return (object,)
        raise self._error()

    def __instancecheck__(self, instance: Any) -> bool:
        return False

    def __subclasscheck__(self, subclass: type) -> bool:
        return False

    def __hash__(self) -> int:
        return id(self)


def _works(value: Any) -> bool:
    """Whether it is a tensor or a layer, which a network computes with."""
    from torch import Tensor

    return isinstance(value, Tensor | nn.Module)


class _Finder(MetaPathFinder, Loader):
    """Asked last of all, for what nobody else has found."""

    def __init__(self, folders: Sequence[Path], files: Sequence[str], tell: Callable[[str], None]) -> None:
        self.folders, self.files, self.told = tuple(f"{folder}{os.sep}" for folder in folders), set(files), tell
        self.stood_in: list[str] = []

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        outer = sys.modules.get(name.rpartition(".")[0])
        inside = isinstance(outer, StandIn)
        if not inside and ("." in name or name in sys.stdlib_module_names or not self._asked_by_user()):
            return None
        if not inside:
            self.stood_in.append(name)
            self.told(name)
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return StandIn(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing is run."""

    def _asked_by_user(self) -> bool:
        """Whether the user's own file imports it, and has no answer of its own where it is missing.

        Libraries look for others that they do without; those must go on doing so.
        """
        frame = sys._getframe(2)
        while frame is not None and frame.f_code.co_filename.startswith("<frozen"):
            frame = frame.f_back  # type: ignore[assignment]
        file = frame.f_code.co_filename
        if file in self.files:
            return not _tried(file, frame.f_lineno)
        own = any(file.startswith(place) and "site-packages" not in file[len(place) :] for place in self.folders)
        return own and not _tried(file, frame.f_lineno)


def _tried(file: str, line: int) -> bool:
    """Whether that line of a file lies in a ``try`` that catches a missing module."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:
        return False
    return any(
        node.body[0].lineno <= line <= (node.body[-1].end_lineno or line) and any(map(_catches, node.handlers))
        for node in ast.walk(tree)
        if isinstance(node, ast.Try)
    )


def _catches(handler: ast.ExceptHandler) -> bool:
    caught = "" if handler.type is None else ast.unparse(handler.type)
    return not caught or any(name in caught for name in ("ImportError", "ModuleNotFoundError", "Exception"))


@contextmanager
def standing_in(folders: Sequence[Path], files: Sequence[str], tell: Callable[[str], None]) -> Iterator[None]:
    """While user code is imported and built, a module that it names and that is not here is stood in for.

    Args:
        folders: of the user's files.
        files: names that the user's own code has in tracebacks besides, such as a notebook's cells.
        tell: called with the name of each module that is stood in for.
    """
    forget()
    finder = _Finder(folders, files, tell)
    sys.meta_path.append(finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def forget() -> None:
    """Take the stand-ins out of the table of modules, so that nobody else imports them."""
    for name in [name for name, module in sys.modules.items() if isinstance(module, StandIn)]:
        del sys.modules[name]
