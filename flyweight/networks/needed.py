"""Which statements of a file a name in it needs: what else the file does (train, print, download) is not run.

The method is a program slice (Weiser 1981), by names alone: a statement is needed where it binds or changes a name
that is needed, and then so is every name that it reads. It errs on the side of running too much.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

# methods that build what they are called on; train, load_state_dict, cuda and the like make no other network
BUILDING = frozenset(
    {"add", "add_argument", "add_argument_group", "add_module", "add_mutually_exclusive_group", "append", "clear"}
    | {"extend", "insert", "pop", "register_buffer", "register_module", "register_parameter", "remove", "reverse"}
    | {"set_defaults", "setdefault", "sort", "update"}
)
# functions of this kind of name are called for what they do, and not for what they register
_DOING = frozenset({"evaluate", "fit", "main", "run", "test", "train"})
# who reads these may look up any name at all
_ALL_NAMES = frozenset({"__name__", "eval", "exec", "globals", "locals", "vars"})
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True)
class Statement:
    """One statement of a file or of a notebook's cell.

    Attributes:
        node: as parsed.
        file: that it is said to come from in a traceback.
        cell: number of the notebook's cell; 0 for a file.
        binds: names that it gives a value.
        changes: names whose value it changes.
        reads: names that it reads, in functions and classes as well.
    """

    node: ast.stmt
    file: str
    cell: int = 0
    binds: frozenset[str] = field(default=frozenset())
    changes: frozenset[str] = field(default=frozenset())
    reads: frozenset[str] = field(default=frozenset())

    @property
    def lines(self) -> tuple[int, int]:
        """First and last."""
        return self.node.lineno, self.node.end_lineno or self.node.lineno

    @property
    def acts(self) -> bool:
        """Whether it does more than define: leaving it out is worth telling."""
        node = self.node
        if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return False
        if _only_as_main(node) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            return False
        return not isinstance(node, ast.Assign | ast.AnnAssign) or any(
            isinstance(part, ast.Call) for part in ast.walk(node)
        )


def statements(tree: ast.Module, file: str, cell: int = 0) -> list[Statement]:
    """The statements of a parsed file or cell."""
    return [_statement(node, file, cell) for node in tree.body]


def needed(program: Sequence[Statement], names: set[str]) -> list[Statement]:
    """The statements that the names need, in their order."""
    names, kept = set(names), set()
    registering = _registering(program)
    grows = True
    while grows:
        grows = False
        for position, statement in enumerate(program):
            if position in kept:
                continue
            called = [name for name in _called(statement.node) if name in registering]
            touched = statement.binds | statement.changes
            touched |= {name for one in called for name in registering[one]}
            if called and isinstance(statement.node, ast.Expr):
                # what is handed to a function of the file may be changed there
                touched |= _handed(statement.node.value)
            looked_up = bool(names & _ALL_NAMES) and not statement.acts and bool(statement.binds)
            if not (_always(statement.node) or looked_up or names & touched):
                continue
            kept.add(position)
            # what else it binds is changed by others, too
            names |= statement.reads | statement.binds
            grows = True
    return [statement for position, statement in enumerate(program) if position in kept]


def uses(node: ast.AST) -> set[str]:
    """Names that are read anywhere in it."""
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)}


def _registering(program: Sequence[Statement]) -> dict[str, set[str]]:
    """Functions that change names of the file where they are called, such as a table of classes."""
    found = {}
    for statement in program:
        node = statement.node
        if isinstance(node, ast.FunctionDef) and node.name not in _DOING:
            found[node.name] = {name for part in ast.walk(node) for name in _touched(part)}
            found[node.name] |= {name for part in ast.walk(node) if isinstance(part, ast.Global) for name in part.names}
    return found


def _handed(call: ast.expr) -> set[str]:
    """Names that a call is given as they are."""
    if not isinstance(call, ast.Call):
        return set()
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    return {one.id for one in given if isinstance(one, ast.Name)}


def _called(node: ast.stmt) -> Iterator[str]:
    """What a definition is decorated with, or what a bare call calls."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        for decorator in node.decorator_list:
            yield from _root(decorator)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield from _root(node.value.func)


def _statement(node: ast.stmt, file: str, cell: int) -> Statement:
    if _only_as_main(node):
        return Statement(node, file, cell)
    return Statement(node, file, cell, frozenset(_bound(node)), frozenset(_changed(node)), frozenset(uses(node)))


def _always(node: ast.stmt) -> bool:
    """Names that nobody can list, the language itself, and where neighbours lie."""
    if isinstance(node, ast.ImportFrom):
        return node.module == "__future__" or any(name.name == "*" for name in node.names)
    called = node.value.func if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) else None
    return called is not None and ast.unparse(called).startswith("sys.path.")


def _only_as_main(node: ast.stmt) -> bool:
    """``if __name__ == "__main__":``."""
    return isinstance(node, ast.If) and "__name__" in uses(node.test) and "__main__" in ast.unparse(node.test)


def _here(node: ast.AST) -> Iterator[ast.AST]:
    """A statement and what is in it, without the bodies of functions and classes."""
    yield node
    if isinstance(node, _SCOPES):
        return
    for child in ast.iter_child_nodes(node):
        yield from _here(child)


def _bound(statement: ast.stmt) -> Iterator[str]:
    inner = {
        id(name)
        for part in _here(statement)
        if isinstance(part, _COMPREHENSIONS)
        for generator in part.generators
        for name in ast.walk(generator.target)
    }
    for part in _here(statement):
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield part.name
        elif isinstance(part, ast.Import | ast.ImportFrom):
            yield from ((name.asname or name.name).partition(".")[0] for name in part.names)
        elif isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Load) and id(part) not in inner:
            yield part.id


def _changed(statement: ast.stmt) -> Iterator[str]:
    for part in _here(statement):
        yield from _touched(part)
    # @REGISTRY.register()
    for decorator in getattr(statement, "decorator_list", []):
        yield from _root(decorator)


def _touched(part: ast.AST) -> Iterator[str]:
    """Names whose value this part of a statement changes."""
    if isinstance(part, ast.Attribute | ast.Subscript) and not isinstance(part.ctx, ast.Load):
        yield from _root(part)
    elif isinstance(part, ast.Expr | ast.Assign) and isinstance(part.value, ast.Call):
        call = part.value
        if isinstance(call.func, ast.Attribute) and call.func.attr in BUILDING:
            yield from _root(call.func)
        elif isinstance(call.func, ast.Name) and call.func.id in ("setattr", "delattr") and call.args:
            yield from _root(call.args[0])


def _root(node: ast.expr) -> Iterator[str]:
    """The name that an attribute or an element is reached from."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    if isinstance(node, ast.Name):
        yield node.id
