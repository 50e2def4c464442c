"""The order of the house: who may import whom, how long a module and a function may be, and what nobody may assume."""

import ast
import subprocess
from pathlib import Path

import pytest

import flyweight

PACKAGE = Path(flyweight.__file__).parent
# from top to bottom: a room imports only from itself and from rooms above it
ROOMS = (
    "errors",
    "text",
    "neighbours",
    "disk",
    "files",
    "schema",
    "recipes",
    "machine",
    "images",
    "data",
    "networks",
    "analysis",
    "rules",
    "testing",
    "runs",
    "inference",
    "training",
    "evaluation",
    "report",
    "marking",
    "export",
    "search",
    "timm",
    "bench",
    "cli",
)
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports(module: str) -> set[str]:
    """Modules of this package that a module imports, at the top or inside a function."""
    path, found = MODULES[module], set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "flyweight":
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                found.add(inner if inner in MODULES else node.module)
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names if name.name in MODULES}
    return found - {module}


@pytest.mark.parametrize("module", [name for name in MODULES if room(name) not in ("", "__main__")])
def test_a_room_imports_only_from_rooms_above_it(module):
    place = ROOMS.index(room(module))
    # the package itself is the door: its version may be read from anywhere
    below = [name for name in imports(module) if name != "flyweight" and ROOMS.index(room(name)) > place]
    assert not below


def test_no_module_imports_itself_by_a_detour():
    graph = {name: imports(name) - {"flyweight"} for name in MODULES}
    # a package's __init__ may open its own modules; those that import the package then would close a circle
    seen: dict[str, int] = {}

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way[way.index(name) :], name))
        if name not in seen:
            for other in graph[name]:
                visit(other, (*way, name))
            seen[name] = 1

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_at_most_300_lines_and_a_function_60(module):
    text = MODULES[module].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name


def test_every_room_says_how_it_works():
    for name in ROOMS:
        path = PACKAGE / name
        if path.is_dir():
            assert len(ast.get_docstring(ast.parse((path / "__init__.py").read_text(encoding="utf-8")))) > 60, name


@pytest.mark.parametrize("assumption", ["3, 32, 32", "classes: int = 10", '"cifar10"'])
def test_nothing_assumes_cifar10(assumption):
    allowed = ("flyweight/data/cifar10/", "flyweight/recipes/", "flyweight/bench/", "tests/")
    listed = subprocess.run(
        ["git", "grep", "--fixed-strings", "--name-only", assumption, "--", "*.py", "*.yaml", "*.jinja"],
        cwd=PACKAGE.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert listed.returncode in (0, 1), listed.stderr
    assert [name for name in listed.stdout.splitlines() if not name.startswith(allowed)] == []
