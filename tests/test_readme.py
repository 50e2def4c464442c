"""The README says what the program says."""

import re
from pathlib import Path

import pytest
import torch

from flyweight import analysis, checkpoint, model, rules, summary
from flyweight.config import ModelConfig

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def facts(name):
    torch.manual_seed(0)
    return analysis.analyze(model.build(ModelConfig(network=name)), (3, 32, 32))


def test_the_summary_is_the_one_that_check_prints():
    found = facts("sprint")
    assert summary.render(found, rules.check(found, rules.load_ruleset("brief"))).rstrip() in README


@pytest.mark.parametrize("name", model.NETWORKS)
def test_the_table_of_networks(name):
    found = facts(name)
    row = re.search(rf"^\| `{name}` \|.*\| ([\d,]+) \| ([\d.]+) M \| (\d+) \|$", README, re.MULTILINE)
    assert row is not None
    assert row[1] == f"{found.parameters:,}"
    assert row[2] == f"{found.macs / 1e6:.1f}"
    assert int(row[3]) == found.receptive_field.value


def test_every_file_of_the_package_has_its_room_in_the_map():
    package = Path(model.__file__).parent
    rooms = {path.name for path in package.iterdir() if path.suffix == ".py" or path.is_dir()}
    rooms -= {"__init__.py", "__main__.py", "__pycache__", "py.typed"}
    table = README.partition("## Where things are")[2]
    assert [room for room in sorted(rooms) if room not in table] == []


def test_the_pictures_are_there():
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (Path(__file__).parents[1] / picture).is_file(), picture


def test_the_networks_that_ship_are_the_ones_in_the_table():
    for folder in checkpoint.ZOO.iterdir():
        trained = checkpoint.load_trained(folder)
        assert trained.card.network in model.NETWORKS
