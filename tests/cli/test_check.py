"""At which size and for how many classes `check` judges."""

import json

import pytest

from flyweight.cli import app

NET = (
    "from torch import nn\n"
    "class Net(nn.Sequential):\n"
    "    def __init__(self, num_classes):\n"
    "        super().__init__(nn.Conv2d(1, num_classes, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
)
RULES = "title: mine\nrules: [{name: small, kind: parameters_below, limit: 100}]\n"


@pytest.fixture
def check(capsys, monkeypatch, tmp_path):
    """Run `flyweight check` beside a network of one channel: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(NET)
    (tmp_path / "sized.yaml").write_text(f"{RULES}input: 1,28,28\nclasses: 3\n")
    (tmp_path / "open.yaml").write_text(RULES)

    def run(*arguments):
        code = app.run_command(["check", *arguments])
        return code, *capsys.readouterr()

    return run


def test_the_rule_set_says_at_which_size_and_for_how_many_classes(check):
    code, out, _ = check("mine.py:Net", "--rules", "sized.yaml", "--json")
    answer = json.loads(out)
    # three kernels of 3x3 and three biases
    assert (code, answer["input"], answer["parameters"]) == (0, [1, 28, 28], 3 * 9 + 3)


def test_options_override_it(check):
    code, out, _ = check("mine.py:Net", "--rules", "sized.yaml", "--input", "1,64,48", "--classes", "12", "--json")
    answer = json.loads(out)
    assert (code, answer["input"], answer["parameters"]) == (1, [1, 64, 48], 12 * 9 + 12)


def test_a_built_in_network_takes_the_channels_of_the_input(check):
    code, out, _ = check("sprint", "--input", "1,32,32", "--json")
    assert (code, json.loads(out)["input"]) == (0, [1, 32, 32])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("--classes", "3"), "say it with --input"), (("--input", "1,28,28"), "say it with --classes")],
)
def test_a_rule_set_without_them_asks_for_them(check, arguments, words):
    code, out, err = check("mine.py:Net", "--rules", "open.yaml", *arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert words in err


def test_a_rule_set_with_a_wrong_input_is_one_line(check, tmp_path):
    (tmp_path / "wrong.yaml").write_text(f"{RULES}input: 28x28\nclasses: 3\n")
    code, out, err = check("mine.py:Net", "--rules", "wrong.yaml")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "wrong.yaml: input" in err
