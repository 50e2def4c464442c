"""What a recipe refers to is found beside it or here, and from anywhere afterwards."""

import pytest

from flyweight import analysis, rules, schema
from flyweight.cli import job
from flyweight.errors import DataError, FlyweightError, RuleError
from flyweight.images.spec import Spec
from flyweight.recipes.sections import DataConfig, Recipe
from flyweight.rules import ruleset


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
    both = absolute(beside, train={"teacher": "other", "start": "teacher"}).train
    assert (both.teacher, both.start) == (str(here / "other"), str(beside / "teacher"))


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("net.py:Net(path='a:b', width=8)", "{beside}/net.py:Net(path='a:b', width=8)"),
        ("net.py", "{beside}/net.py"),
        ("net:make()", "{beside}/net.py:make()"),
        ("installed.module:Net", "installed.module:Net"),
    ],
)
def test_a_reference_to_a_network_holds_from_anywhere(places, written, found):
    beside, _ = places
    assert absolute(beside, model={"network": written}).model.network == found.format(beside=beside)


def test_what_ships_wins_over_a_file_of_its_name(places):
    beside, _ = places
    plan = absolute(beside, rules="brief", train={"teacher": "sprint", "start": "sprint"})
    assert (plan.rules, plan.train.teacher, plan.train.start) == ("brief", "sprint", "sprint")


def test_what_is_not_found_keeps_its_name(places):
    beside, _ = places
    plan = absolute(beside, rules="nothing", train={"teacher": "nobody", "start": "nobody"})
    assert (plan.rules, plan.train.teacher, plan.train.start) == ("nothing", "nobody", "nobody")


def test_a_home_that_nobody_has_is_one_line(places):
    with pytest.raises(DataError, match="data.path ~nosuchuser/x: ~nosuchuser is nobody's home here"):
        absolute(places[0], data={"path": "~nosuchuser/x"})


def test_the_data_set_is_named_before_anything_is_run(places):
    beside, here = places
    assert absolute(beside).data.name == "cifar10"  # the default
    assert absolute(beside, data={"name": "digits"}).data.name == "digits"
    (here / "cifar-10-python.tar.gz").touch()
    found = absolute(beside, data={"path": "cifar-10-python.tar.gz"}).data
    assert (found.name, found.path) == ("cifar10", here / "cifar-10-python.tar.gz")
    with pytest.raises(FlyweightError, match="no data set 'digit' .did you mean 'digits'"):
        absolute(beside, data={"name": "digit"})
    # a wrong rule or network is told first: it costs nothing to find
    assert absolute(beside, data={"path": "nowhere"}).data.name is None
    with pytest.raises(DataError, match="nowhere does not exist"):
        job.load_data(absolute(beside, data={"path": "nowhere"}).data, None)


def test_data_is_a_name_or_else_a_path(places):
    _, here = places
    plan = schema.parse(Recipe, {"name": "a", "model": {"network": "sprint"}, "data": {"hold_out": 5}}, "test")
    assert job.with_data(plan, None) is plan
    digits = job.with_data(plan, "digits").data
    assert (digits.name, digits.path, digits.hold_out) == ("digits", None, 5)
    (here / "mine.tgz").touch()
    archive = job.with_data(plan, "mine.tgz").data
    assert (archive.name, str(archive.path), archive.hold_out) == ("cifar10", "mine.tgz", 5)
    assert job.data_of("digits", None).name == "digits"
    with pytest.raises(DataError, match="does not exist .did you mean 'digits'"):
        job.load_data(job.data_of("digits", "digit"), None)


def test_rules_are_judged_for_the_data_at_its_own_size(tmp_path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, num_classes):\n"
        "        super().__init__(nn.Conv2d(1, num_classes, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    # the size of the rule set is for networks without data; five kernels of 3x3 and five biases are too many
    (tmp_path / "small.yaml").write_text(
        "title: small\ninput: 3,32,32\nclasses: 3\nrules: [{name: small, kind: parameters_below, limit: 40}]\n"
    )
    model, rules = {"network": f"{tmp_path / 'net.py'}:Net"}, str(tmp_path / "small.yaml")
    plan = schema.parse(Recipe, {"name": "a", "model": model, "rules": rules}, "test")
    network = job.check_rules(plan, Spec.unnamed(3, (1, 28, 28)))
    assert sum(parameter.numel() for parameter in network.parameters()) == 30
    with pytest.raises(RuleError, match="fails 'small': 50, must be fewer than 40"):
        job.check_rules(plan, Spec.unnamed(5, (1, 28, 28)))


def test_a_training_that_may_begin_does_not_wait_for_the_cure_of_a_bonus(monkeypatch):
    def looked_for(*found):
        raise AssertionError("nobody is told it")

    monkeypatch.setattr(ruleset, "find_cure", looked_for)
    plan = schema.parse(Recipe, {"name": "a", "model": {"network": "sprint"}, "rules": "brief"}, "test")
    network = job.check_rules(plan, Spec.unnamed(10, (3, 32, 32)))
    facts = analysis.analyze(network, (3, 32, 32))
    assert not rules.check(facts, rules.load_ruleset("brief"), cures=False).bonuses[0].passed


def test_what_is_always_the_same_of_a_data_set_is_known_before_it_is_read():
    assert job.known_spec(DataConfig(name="cifar10")).shape == (3, 32, 32)
