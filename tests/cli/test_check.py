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


ROWS = "blocks: [[{width: 4}, {width: 4, stride: 2}]]"


def recipe(folder, **sections):
    """A recipe file in a folder of its own, from text for each section; returns its path from beside that folder."""
    (folder / "recipes").mkdir(exist_ok=True)
    text = "".join(f"{key}: {content}\n" for key, content in {"name": "mine", **sections}.items())
    (folder / "recipes" / "mine.yaml").write_text(text)
    return "recipes/mine.yaml"


def test_a_recipe_is_checked_by_its_own_rules_for_its_own_data(check, tmp_path):
    # rules beside the recipe, which say another size than its data has
    file = recipe(tmp_path, model=f"{{network: rows, table: {{{ROWS}}}}}", rules="own.yaml", data="{name: digits}")
    (tmp_path / "recipes" / "own.yaml").write_text(f"{RULES.replace('100', '400')}input: 1,28,28\nclasses: 3\n")
    code, out, _ = check(file, "--json")
    answer = json.loads(out)
    # 3x3 kernels of 3 to 4 and 4 to 4 channels, two batch norms, a classifier of 4 to 10
    assert (code, answer["input"], answer["parameters"]) == (0, [3, 32, 32], 108 + 144 + 16 + 40)
    assert [rule["name"] for rule in answer["rules"]] == ["small"]
    code, out, _ = check(file, "--json", "--rules", "sized.yaml", "--input", "1,28,28", "--classes", "5")
    answer = json.loads(out)
    assert (code, answer["input"], answer["parameters"]) == (1, [1, 28, 28], 36 + 144 + 16 + 20)


def test_a_recipe_may_name_a_network_beside_it_and_data_that_is_not_here(check, tmp_path):
    file = recipe(tmp_path, model="{network: 'net.py:Net'}", rules="brief", data="{name: cifar10, path: nowhere}")
    (tmp_path / "recipes" / "net.py").write_text(NET.replace("Conv2d(1", "Conv2d(3"))
    code, out, _ = check(file, "--json", "--rules", "sized.yaml")
    answer = json.loads(out)
    assert (code, answer["input"], answer["parameters"]) == (1, [3, 32, 32], 27 * 10 + 10)


@pytest.mark.parametrize(
    ("sections", "code", "words"),
    [
        ({"model": "{network: sprint}", "rules": "null"}, 2, "recipes/mine.yaml asks for no rules: name some with"),
        ({"model": "{network: sprnt}"}, 2, "did you mean 'sprint'"),
        ({"model": "{network: sprint}", "data": "{path: nowhere}"}, 3, "nowhere does not exist"),
        ({"model": "{network: sprint, droput: 0}"}, 2, "did you mean 'dropout'"),
    ],
)
def test_a_recipe_that_cannot_be_checked_is_one_line(check, tmp_path, sections, code, words):
    got, out, err = check(recipe(tmp_path, **sections))
    assert (got, out, len(err.splitlines())) == (code, "", 1)
    assert words in err


def test_a_recipe_that_is_not_there_is_one_line(check):
    code, out, err = check("nowhere.yaml")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "no recipe 'nowhere.yaml'" in err


def test_several_are_a_table_and_the_code_says_the_worst(check, tmp_path):
    (tmp_path / "loose.py").write_text(
        "import nosuch\nfrom torch import nn\nprint('x')\n" + NET.replace("Net", "Loose")
    )
    names = ["mine.py:Net", "loose.py", "mine.py:Net(3, 4)"]
    code, out, err = check(*names, "--rules", "sized.yaml", "--csv", "marks.csv", "--html", "marks.html")
    assert (code, err) == (2, "table marks.csv\npage marks.html\n")
    assert out.splitlines()[-1] == "2 pass, 0 fail, 1 not checked"
    assert "cannot be built: too many positional arguments" in out
    rows = (tmp_path / "marks.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows] == ["name", "loose.py", "mine.py:Net", '"mine.py:Net(3']
    assert "loose.py: line 3 was not run" in rows[1]
    assert "3 networks by" in (tmp_path / "marks.html").read_text()
    code, out, _ = check(*names[:2], "--rules", "sized.yaml", "--json", "--no-isolated", "--claim", "parameters=30")
    found = json.loads(out)
    assert (code, [one["passed"] for one in found]) == (0, [True, True])
    assert found[0]["claims"] == [{"fact": "parameters", "claimed": 30, "found": 30, "holds": True}]
    code, out, _ = check(*names[:2], "--rules", "sized.yaml", "--classes", "12", "--no-isolated")
    assert (code, out.splitlines()[-1]) == (1, "0 pass, 2 fail, 0 not checked")


def test_a_claim_stands_under_the_verdicts(check):
    code, out, _ = check("sprint", "--claim", "receptive_field=109", "--claim", "parameters=170,720")
    assert code == 0
    assert out.splitlines()[-2:] == ["claim  receptive field 109: wrong, it is 83", "claim  parameters 170,720: right"]


def test_nothing_of_the_users_is_replaced(check, tmp_path):
    (tmp_path / "mine.csv").write_text("mine\n")
    (tmp_path / "mine.html").write_text("mine\n")
    for arguments in (["--csv", "mine.csv"], ["--html", "mine.html"], ["--csv", "mine.py"], ["--html", "no/a.html"]):
        code, out, err = check("sprint", *arguments)
        assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert (tmp_path / "mine.csv").read_text() == (tmp_path / "mine.html").read_text() == "mine\n"
    code, _, err = check("sprint", "mine.py:Net", "--seconds", "0")
    assert (code, "--seconds must be at least 1" in err) == (2, True)


def test_ctrl_c_shows_what_is_done(check, tmp_path, monkeypatch):
    from flyweight.marking import isolated, marks

    def interrupted(tasks, seconds, memory, started):
        yield marks.Mark(tasks[0].name, error="odd")
        raise KeyboardInterrupt

    monkeypatch.setattr(isolated, "mark", interrupted)
    code, out, err = check("sprint", "nano", "--csv", "marks.csv")
    assert code == 130
    assert out.splitlines()[-1] == "0 pass, 0 fail, 2 not checked"
    assert err == "table marks.csv\ninterrupted: 0 of 2 were judged\n"
    assert "not checked: it was interrupted" in (tmp_path / "marks.csv").read_text()


def test_a_forward_pass_that_raises_is_told_with_its_line(check, tmp_path):
    text = "from torch import nn\nclass Net(nn.Module):\n    def forward(self, x):\n        return x.view(9, -1)\n"
    (tmp_path / "raises.py").write_text(text)
    code, out, err = check("raises.py", "--rules", "sized.yaml")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.endswith("is invalid for input of size 784 (raises.py:4)\n")


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            ["dilated", "--input", "3,150,200"],
            "judged at 150x200, as --input says; flyweight train brings images of that size in a folder to 64x64,"
            " unless data.size says otherwise",
        ),
        (["dilated", "--input", "1,28,28", "--classes", "10"], "judged at 28x28"),
        (["dilated", "--input", "3,64,64"], None),
        (["dilated"], None),
        (["mine.yaml", "--input", "3,64,64", "--classes", "4"], "flyweight train brings the images of mine to 32x32"),
        (["mine.yaml", "--input", "3,32,32"], None),
        (["sized.yaml", "--input", "3,64,64", "--classes", "4"], "flyweight train brings the images of sized to 96x96"),
    ],
)
def test_a_size_that_no_training_would_have_is_told(monkeypatch, tmp_path, capsys, call, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("{name: mine, data: {name: digits}, model: {network: nano}, rules: brief}")
    (tmp_path / "sized.yaml").write_text(
        "{name: sized, data: {path: photos, size: 96}, model: {network: nano}, rules: brief}"
    )
    assert app.run_command(["check", *call, "--json"]) in (0, 1)
    out, err = capsys.readouterr()
    assert json.loads(out)
    if told is None:
        assert "note: judged" not in err
    else:
        assert err.count("note: judged") == 1
        assert told in err
