"""The README says what the program says."""

import ast
import re
from pathlib import Path

import pytest
import torch

import flyweight
from flyweight import analysis, rules
from flyweight.data.cifar10 import SPEC
from flyweight.networks import builtin
from flyweight.networks.build import build
from flyweight.recipes.sections import ModelConfig
from flyweight.rules import summary
from flyweight.runs.card import ZOO, load_trained

PACKAGE = Path(flyweight.__file__).parent
README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def facts(name):
    torch.manual_seed(0)
    return analysis.analyze(build(ModelConfig(network=name), SPEC), (3, 32, 32))


def test_the_summary_is_the_one_that_check_prints():
    found = facts("sprint")
    assert summary.render(found, rules.check(found, rules.load_ruleset("brief"))).rstrip() in README


@pytest.mark.parametrize("name", builtin.NETWORKS)
def test_the_table_of_networks(name):
    found = facts(name)
    row = re.search(rf"^\| `{name}` \|.*\| ([\d,]+) \| ([\d.]+) M \| (\d+) \|$", README, re.MULTILINE)
    assert row is not None
    assert row[1] == f"{found.parameters:,}"
    assert row[2] == f"{found.macs / 1e6:.1f}"
    assert int(row[3]) == found.receptive_field.value


def test_every_file_of_the_package_has_its_room_in_the_map():
    rooms = {path.name for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    rooms -= {"__init__.py", "__main__.py", "__pycache__", "py.typed"}
    assert [room for room in sorted(rooms) if room.removesuffix(".py") not in floors()] == []


def floors():
    """The row of each file of the package in the map, from the top; a folder is one."""
    rows = README.partition("## Where things are")[2].partition("Where does a new thing go?")[0].splitlines()
    cells = [row.split("|")[1] for row in rows if row.startswith("| `")]
    names = [(name, floor) for floor, cell in enumerate(cells) for name in re.findall("`(.*?)`", cell)]
    return {name.removeprefix("flyweight/").split("/")[0].removesuffix(".py"): floor for name, floor in names}


def imported(path):
    """Modules of this package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports by a relative name"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    parts = [name.split(".") for name in found if name.startswith("flyweight.")]
    return {part[1] for part in parts if (PACKAGE / part[1]).is_dir() or (PACKAGE / f"{part[1]}.py").is_file()}


def test_a_module_imports_only_from_those_above_it():
    floor, wrong = floors(), []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if name == "__main__":  # it starts the command line
            continue
        if name == "__init__":  # the front door: what it needs it imports when it is called, or there would be a cycle
            top = [
                line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith(("import", "from"))
            ]
            wrong += [line for line in top if "flyweight" in line]
            continue
        own = floor[name]
        wrong += [f"{name} imports {other}" for other in sorted(imported(path)) if floor[other] > own]
    assert wrong == []
    # the check does see imports
    assert {"checkpoint", "data", "rules"} <= imported(PACKAGE / "report.py")
    assert "evaluate" in imported(PACKAGE / "cli.py")


def test_the_pictures_are_there():
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (Path(__file__).parents[1] / picture).is_file(), picture


def test_the_networks_that_ship_are_the_ones_in_the_table():
    for folder in ZOO.iterdir():
        trained = load_trained(folder)
        assert trained.card.network in builtin.NETWORKS
