"""The README says what the program says."""

import importlib
import re
from pathlib import Path

import pytest
import torch
from test_house import ROOMS

import flyweight
from flyweight import analysis, rules
from flyweight.data.cifar10 import SPEC
from flyweight.networks import builtin
from flyweight.networks.build import build
from flyweight.recipes.sections import ModelConfig
from flyweight.rules import summary
from flyweight.runs.card import ZOO, load_trained

PACKAGE = Path(flyweight.__file__).parent
ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def facts(name):
    torch.manual_seed(0)
    return analysis.analyze(build(ModelConfig(network=name), SPEC), SPEC.shape)


def test_the_summary_is_the_one_that_check_prints():
    found = facts("sprint2")
    assert summary.render(found, rules.check(found, rules.load_ruleset("brief"))).rstrip() in README


@pytest.mark.parametrize("name", builtin.NETWORKS)
def test_the_table_of_networks(name):
    found = facts(name)
    row = re.search(rf"^\| `{name}` \|.*\| ([\d,]+) \| ([\d.]+) M \| (\d+) KiB \| (\d+) \|$", README, re.MULTILINE)
    assert row is not None
    assert row[1] == f"{found.parameters:,}"
    assert row[2] == f"{found.macs / 1e6:.1f}"
    assert row[3] == f"{found.peak.numbers / 1024:.0f}"
    assert int(row[4]) == found.receptive_field.value


def listed(heading, after):
    """Paths of this package in the first column of a table under a heading."""
    rows = README.partition(f"## {heading}\n")[2].partition(f"## {after}\n")[0].splitlines()
    cells = [row.split("|")[1] for row in rows if row.startswith("| `")]
    return [name for cell in cells for name in re.findall("`(.*?)`", cell)]


def test_the_map_has_every_room_in_the_order_of_the_house():
    rooms = [
        name.removeprefix("flyweight/").rstrip("/").removesuffix(".py")
        for name in listed("Where things are", "Where a new thing goes")
    ]
    assert rooms == [*ROOMS, "zoo"]
    files = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert files - {"__init__", "__main__", "__pycache__"} == set(rooms)


def test_the_places_for_a_new_thing_exist():
    text = README.partition("## Where a new thing goes\n")[2].partition("## Exit codes\n")[0]
    places = re.findall(r"`((?:flyweight|tools|docs)/[\w./-]+)`", text)
    assert len(places) > 8
    assert [place for place in places if not (PACKAGE.parent / place).exists()] == []
    tables = re.findall(r"`(\w+)` of `flyweight/([\w/]+)\.py`", text)
    assert len(tables) == 9
    assert [place for place in tables if not holds(*place)] == []


def holds(table, module):
    """Whether a module of this package has a table of that name."""
    return hasattr(importlib.import_module(f"flyweight.{module.replace('/', '.')}"), table)


def test_the_places_of_contributing_exist():
    rows = CONTRIBUTING.partition("## Where a new thing goes\n")[2].partition("\n## ")[0].splitlines()
    rows = [row.split(" | ") for row in rows if row.startswith("| ") and "`" in row]
    assert len(rows) == 9
    for thing, change, test in rows:
        places = [place for place in re.findall(r"`([\w./]+(?:/|\.py))`", change) if "NAME" not in place]
        assert [place for place in places if not (PACKAGE / place).exists()] == [], thing
        tables = re.findall(r"`([\w/]+)\.py`: [^;]* in `(\w+)`", change)
        assert tables or thing == "| experiment", thing
        assert [place for place in tables if not holds(place[1], place[0])] == [], thing
        assert [place for place in re.findall(r"`(tests/.*?)`", test) if not (ROOT / place).exists()] == [], thing


def test_the_figures_are_there():
    for figure in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / figure).is_file(), figure


def test_the_networks_that_ship_are_the_ones_in_the_table():
    for folder in ZOO.iterdir():
        trained = load_trained(folder)
        assert trained.card.network in builtin.NETWORKS
