"""What a recipe refers to is found beside it or here, and from anywhere afterwards."""

import pytest

from flyweight import schema
from flyweight.cli import job
from flyweight.errors import DataError
from flyweight.recipes.sections import Recipe


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A folder with the things of a recipe, and one to work in, which holds a file and a folder named as what ships."""
    beside, here = tmp_path / "beside", tmp_path / "here"
    for folder in (beside / "teacher", here / "sprint", here / "other"):
        folder.mkdir(parents=True)
    for file in (beside / "net.py", beside / "mine.yaml", here / "mine.yaml", here / "theirs.yaml", here / "brief"):
        file.write_text("")
    monkeypatch.chdir(here)
    return beside, here


def absolute(folder, **sections):
    return job.absolute(schema.parse(Recipe, {"name": "a", "model": {"network": "sprint"}, **sections}, "test"), folder)


def test_what_lies_beside_the_recipe_comes_first(places):
    beside, here = places
    assert absolute(beside, model={"network": "net.py:Net"}).model.network == f"{beside / 'net.py'}:Net"
    assert absolute(beside, rules="mine.yaml").rules == str(beside / "mine.yaml")
    assert absolute(beside, rules="theirs.yaml").rules == str(here / "theirs.yaml")
    assert absolute(beside, train={"teacher": "teacher"}).train.teacher == str(beside / "teacher")
    assert absolute(beside, train={"teacher": "other"}).train.teacher == str(here / "other")


def test_what_ships_wins_over_a_file_of_its_name(places):
    beside, _ = places
    plan = absolute(beside, rules="brief", train={"teacher": "sprint"})
    assert (plan.rules, plan.train.teacher) == ("brief", "sprint")


def test_what_is_not_found_keeps_its_name(places):
    beside, _ = places
    plan = absolute(beside, rules="nothing", train={"teacher": "nobody"})
    assert (plan.rules, plan.train.teacher) == ("nothing", "nobody")


def test_a_home_that_nobody_has_is_one_line(places):
    with pytest.raises(DataError, match="data.path ~nosuchuser/x: ~nosuchuser is nobody's home here"):
        absolute(places[0], data={"path": "~nosuchuser/x"})
