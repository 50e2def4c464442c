"""How the analysis is built: rooms in one order, small modules, one table of operators."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import torch

from flyweight import analysis
from flyweight.analysis.positions.operators import OPERATORS
from flyweight.analysis.trace.trace import WRITE_THROUGH_VIEW

HOUSE = Path(analysis.__file__).parent
ROOMS = ("trace", "positions", "proof", "convolution", "facts", "findings", "analyzer")
MODULES = {
    ".".join(("flyweight.analysis", *path.relative_to(HOUSE).with_suffix("").parts)): path
    for path in sorted(HOUSE.rglob("*.py"))
    if path.name != "__init__.py"
}


def imported(path):
    """Modules of the analysis that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flyweight.analysis"):
            whole = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= whole or {node.module}
    return found


def room(module):
    return module.split(".")[2]


def test_a_room_imports_only_from_rooms_before_it():
    for module, path in MODULES.items():
        if room(module) in ROOMS:
            for other in imported(path):
                assert ROOMS.index(room(other)) <= ROOMS.index(room(module)), f"{module} imports {other}"


def test_there_is_no_cycle():
    TopologicalSorter({module: imported(path) for module, path in MODULES.items()}).prepare()


@pytest.mark.parametrize("path", MODULES.values(), ids=MODULES)
def test_modules_and_functions_are_small(path):
    assert len(path.read_text().splitlines()) <= 300
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name


def test_an_operator_stands_in_one_row():
    names = [name for op in OPERATORS for name in op.names.split()]
    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(torch.ops.aten, name)] == [
        "flyweight::circular_pad",
        WRITE_THROUGH_VIEW,
    ]


def test_nobody_else_knows_an_operator_by_its_name():
    for path in MODULES.values():
        assert not re.search(r"\.name (==|!=|in|not in) ?[\"(\[{]", path.read_text()), path
