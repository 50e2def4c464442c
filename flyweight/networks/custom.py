"""Networks of the user's own."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from torch import nn

from flyweight.errors import FlyweightError
from flyweight.networks import code, sources
from flyweight.networks.blame import place
from flyweight.networks.needed import uses
from flyweight.networks.reference import Reference, is_reference, parse
from flyweight.networks.standins import NeededModuleError
from flyweight.recipes.sections import ModelConfig
from flyweight.schema import suggestion
from flyweight.text import one_line, printable, some

CLASSES = ("num_classes", "classes", "n_classes")
"""Arguments of a constructor that are told how many classes the data has."""

# a run folder from somebody else names its network, too: it must not call what deletes files or downloads code
NO_FACTORIES = frozenset(
    {*sys.stdlib_module_names, "accelerate", "flyweight", "huggingface_hub", "joblib", "numpy", "pip", "torch", "yaml"}
)
"""Packages whose classes may be networks, but whose functions make none."""


def unheard(message: str) -> None:
    """Tell nobody."""


def instance(text: str, classes: int, tell: Callable[[str], None] = unheard) -> nn.Module:
    """Build a network of the user's own; what its file prints goes to standard error.

    Of a file or a notebook only what the network needs is run: no training, no download.

    Args:
        text: a reference, see :data:`flyweight.networks.reference.FORMS`.
        classes: how many; told to the constructor where it has an argument for it, see :data:`CLASSES`.
        tell: called with a line about each part of the file that was not run, and what was stood in for.

    Raises:
        FlyweightError: there is no such network, or building it raised an error.
    """
    reference = parse(text)
    with redirect_stdout(sys.stderr):
        if not reference.is_file:
            # what is installed imports nothing from a folder that somebody happens to be in
            folders = [Path.cwd()] if code.is_here(reference.source) else []
            with sources.opened(folders, [], reference.source, tell):
                return _built(reference, _imported(reference), classes)
        source = sources.read(reference)
        files = list({statement.file for statement in source.program})
        with sources.opened(sources.folders_of(source), files, source.shown, tell):
            if not reference.name:
                reference, module = _only(reference, source, tell)
            else:
                module = _run(reference, source, {reference.name.partition(".")[0]}, tell)
            return _built(reference, module, classes)


def _imported(reference: Reference) -> types.ModuleType:
    try:
        return importlib.import_module(reference.source)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{reference.source}.".startswith(f"{error.name}."):
            raise FlyweightError(
                f"{reference.text}: there is no module {error.name} here, nor is one installed; a file is"
                " path/to/file.py:ClassName"
            ) from None
        raise _failed(reference, "importing it failed", error) from error
    except (Exception, SystemExit) as error:
        raise _failed(reference, "importing it failed", error) from error


def _run(
    reference: Reference, source: sources.Source, names: set[str], tell: Callable[[str], None]
) -> types.ModuleType:
    try:
        return source.run(names, tell)
    except (Exception, SystemExit) as error:
        raise _failed(reference, "importing it failed", error) from error


def _failed(reference: Reference, what: str, error: BaseException) -> FlyweightError:
    if isinstance(error, FlyweightError):
        return error
    where = place(error, reference.source)
    told = f" ({where})" if where else ""
    if isinstance(error, NeededModuleError):
        return FlyweightError(f"{reference.text}: {one_line(error)}: install it, or hand it in with the file{told}")
    return FlyweightError(f"{reference.text}: {what}: {type(error).__name__}: {one_line(error)}{told}")


def _only(
    reference: Reference, source: sources.Source, tell: Callable[[str], None]
) -> tuple[Reference, types.ModuleType]:
    """The one network that a file holds.

    Raises:
        FlyweightError: it holds none, or several.
    """
    bodies: dict[str, ast.ClassDef] = {
        statement.node.name: statement.node for statement in source.program if isinstance(statement.node, ast.ClassDef)
    }
    module = _run(reference, source, set(bodies), unheard)
    networks = [name for name in bodies if _is_network(getattr(module, name, None))]
    inner = {used for name in networks for used in uses(bodies[name]) - {name}}
    outermost = [name for name in networks if name not in inner]
    if not outermost:
        # no class, but perhaps something made of torch's own
        made = [
            statement.node.targets[0].id
            for statement in source.program
            if isinstance(statement.node, ast.Assign)
            and isinstance(statement.node.value, ast.Call)
            and isinstance(statement.node.targets[0], ast.Name)
            and ast.unparse(statement.node.value.func).endswith("Sequential")
        ]
        outermost = list(dict.fromkeys(made))
    factories = _factories(source, set(networks))
    if len(outermost) == 1:
        found = Reference(f"{reference.source}:{outermost[0]}", reference.source, outermost[0])
        return found, _run(found, source, {outermost[0]}, tell)
    lines = [f"{reference.source}:{name}" for name in outermost] + [
        f"{reference.source}:{name}()" for name in factories
    ]
    if not lines:
        raise FlyweightError(f"{reference.text} holds no nn.Module: name one, as {reference.source}:Net")
    raise FlyweightError(f"{reference.text} holds {len(lines)} networks: name one of {some(lines, 8)}")


def _factories(source: sources.Source, networks: set[str]) -> list[str]:
    """Functions that return what they make of these classes."""
    return [
        statement.node.name
        for statement in source.program
        if isinstance(statement.node, ast.FunctionDef)
        and any(
            isinstance(part, ast.Return) and part.value is not None and uses(part.value) & networks
            for part in ast.walk(statement.node)
        )
    ]


def _is_network(value: Any) -> bool:
    return isinstance(value, nn.Module) or (isinstance(value, type) and issubclass(value, nn.Module))


def _built(reference: Reference, module: types.ModuleType, classes: int) -> nn.Module:
    found: Any = module
    for part in reference.name.split("."):
        found = getattr(found, part, None)
    if isinstance(found, nn.Module):
        if reference.called:
            raise FlyweightError(f"{reference.text}: {reference.name} is a network already: leave out its arguments")
        return found
    is_class = isinstance(found, type) and issubclass(found, nn.Module)
    if not is_class and (not callable(found) or isinstance(found, type)):
        raise _no_network(reference, module, found)
    package = reference.source.partition(".")[0]
    if not (is_class or reference.is_file) and package in NO_FACTORIES:
        raise FlyweightError(f"{reference.text}: functions of {package} make no networks: name a class, or a file")
    options = _options(reference, found, classes)
    try:
        built = found(*reference.positional, **options)
    except (Exception, SystemExit) as error:
        raise _failed(reference, "building it raised an error", error) from error
    if not isinstance(built, nn.Module):
        raise FlyweightError(
            f"{reference.text}: {reference.name} returns {type(built).__name__}: it must return an nn.Module"
        )
    return built


def _options(reference: Reference, found: Any, classes: int) -> dict[str, Any]:
    """The arguments by name: those of the reference, and the number of classes where there is an argument for it.

    Raises:
        FlyweightError: they do not fit, or one is missing.
    """
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):
        return dict(reference.named)
    known = signature.parameters
    taken = list(known)[: len(reference.positional)]
    told = {name: classes for name in CLASSES if name in known and name not in taken}
    options = told | reference.named
    try:
        bound = signature.bind_partial(*reference.positional, **options)
    except TypeError as error:
        unknown = next((name for name in reference.named if name not in known), None)
        near = suggestion(unknown, list(known)) if unknown else ""
        raise FlyweightError(
            f"{reference.text} cannot be built: {one_line(error)}{near}; {reference.name}"
            f" takes {printable(str(signature))}"
        ) from None
    needs = [
        name
        for name, parameter in known.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and name not in bound.arguments
    ]
    if needs:
        given = [repr(value) for value in reference.positional]
        given += [f"{name}={value!r}" for name, value in reference.named.items()]
        line = f"{reference.source}:{reference.name}({', '.join([*given, *(f'{name}=...' for name in needs)])})"
        raise FlyweightError(
            f"{reference.text} cannot be built: {reference.name} needs {some(needs, 8)}, without default: write a value"
            f" for each ..., as in '{printable(line)}'"
        )
    return options


def _no_network(reference: Reference, module: types.ModuleType, found: Any) -> FlyweightError:
    there = vars(module)
    if reference.is_file:  # only what was needed has run
        source = sources.read(reference)
        names = source.names
        with redirect_stdout(sys.stderr):
            classes = {one.node.name for one in source.program if isinstance(one.node, ast.ClassDef)}
            there = vars(_run(reference, source, classes, unheard))
        functions = _factories(source, {name for name in classes if _is_network(there.get(name))})
    else:
        names, functions = set(there), []
    known = [name for name, value in there.items() if _is_network(value) and name in names and name != "StandInModule"]
    kind = "" if found is None else f" ({reference.name} is {'a class' if isinstance(found, type) else 'a value'})"
    return FlyweightError(
        f"{reference.text}: {reference.source} has no nn.Module named {reference.name!r}"
        f"{suggestion(reference.name, [*known, *functions])}"
        f" (it has {some([*known, *(f'{name}()' for name in functions)], 12) or 'none'}){kind}"
    )


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
    try:
        yield
    except FlyweightError:
        raise
    # a sys.exit() in a user's file must not pass for an end of ours
    except (Exception, SystemExit) as error:
        if config.table is not None or not is_reference(config.network):
            raise
        reference = parse(config.network)
        where = place(error, reference.source) or reference.source
        raise FlyweightError(
            f"{reference.name or reference.source} raised {type(error).__name__} {when}: {one_line(error)} ({where});"
            f" {cure}"
        ) from error
