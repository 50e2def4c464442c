import pytest

from flyweight import recipes, schema
from flyweight.errors import FlyweightError

# ten values, each ten of the one before
LAUGHS = "a: &a [x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefghij", "bcdefghijk", strict=False)
)


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_loads_and_comes_back_the_same_from_its_own_text(name, tmp_path):
    recipe = recipes.load(name)
    assert recipe.name == name
    assert recipe.rules == (None if name == recipes.FOR_IMAGES else "brief")
    copy = tmp_path / "copy.yaml"
    copy.write_text(recipes.write(recipe))
    assert recipes.load(copy) == recipe


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_turns_all_three_augmentations_on(name):
    augment = recipes.load(name).augment
    assert min(augment.flip, augment.shift_scale_rotate, augment.cutout) > 0
    assert min(augment.shift, augment.scale, augment.rotate) > 0
    assert augment.hole(32, 32) == 16


def test_overrides_are_yaml():
    recipe = recipes.load("sprint", ["train.epochs=3", "train.ema=0.99", "rules=null", "data.path=/x y"])
    assert (recipe.train.epochs, recipe.train.ema, recipe.rules, str(recipe.data.path)) == (3, 0.99, None, "/x y")


def endless(begin, end, first):
    """YAML of a line that would be a hundred million parts: each of ten values names the one before ten times."""
    lines = [f"&v0 {first}"]
    lines += [f"&v{n} {begin}{', '.join([f'*v{n - 1}'] * 10)}{end}" for n in range(1, 9)]
    return f"[{', '.join(lines)}]"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["train.epoch=3"], ["train.epoch", "did you mean 'epochs'?", "batch_size"]),
        (["train.epochs=many"], ["train.epochs", "'many'"]),
        (["train.epochs=0"], ["train.epochs", "greater than or equal to 1", "got 0"]),
        (["augment.cutout=1.5"], ["augment.cutout", "1.5"]),
        (["train.epochs"], ["--set train.epochs", "section.key=value"]),
        (["train.epochs=["], ["--set train.epochs=[", "not valid YAML"]),
        (["name.first=x"], ["name is not a section"]),
        (["trane.epochs=3"], ["trane", "did you mean 'train'?"]),
        (["train.epochs=true"], ["train.epochs", "yes or a no"]),
        (["train.learning_rate=yes"], ["train.learning_rate", "yes or a no"]),
        (["train.learning_rate=.inf"], ["train.learning_rate", "finite"]),
        (["train.ema=.nan"], ["train.ema", "finite"]),
        (["name=2020-13-45"], ["not valid YAML", "month"]),
        (["train={epochs: 1, epochs: 2}"], ["'epochs' is there twice"]),
        (["train.epochs=" + "[" * 5000], ["not valid YAML"]),
        (["train.epochs=" + "9" * 5000], ["not valid YAML", "more than 100 characters"]),
        (["train.seed=" + ":".join("1" * 5000)], ["not valid YAML", "more than 100 characters"]),
        (["train.seed=0x" + "f" * 5000], ["not valid YAML", "more than 100 characters"]),
        (["train.learning_rate=" + ":".join("1" * 5000) + ".5"], ["not valid YAML", "more than 100 characters"]),
        (['data.path="a\\0b"'], ["data.path", "NUL"]),
        (['model.network="a\\0b.py:Net"'], ["model.network", "NUL"]),
        (["train=3"], ["train: this is a section"]),
        (["train.epochs=" + "9" * 30], ["train.epochs", "more than 64 bits"]),
        (["model.table={blocks: [[{width: 9999999999}]]}"], ["width", "less than or equal to 1048576"]),
        (["train.epochs=" + endless("[", "]", "x")], ["--set train.epochs", "written out, its values are more than"]),
        (["train=" + endless("[", "]", "x")], ["--set train=", "written out, its values are more than"]),
        (["train=[" + endless("{<<: [", "]}", "{epochs: 3}") + "]"], ["train"]),
    ],
)
def test_a_wrong_value_is_one_line_with_its_key(changes, words):
    with pytest.raises(FlyweightError) as error:
        recipes.load("sprint", changes)
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    # the recipe that comes with the package is not at fault
    assert message.startswith("--set ")
    assert "sprint.yaml" not in message


def test_a_wrong_file_is_named_whatever_was_set_elsewhere_in_it(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("name: x\nmodel: {network: sprint}\ntrain: {epochs: 0}")
    with pytest.raises(FlyweightError, match=r"mine\.yaml: train\.epochs"):
        recipes.load(file, ["train.seed=1"])


@pytest.mark.parametrize(("text", "rate"), [("1e-3", 0.001), ("3", 3.0), ("0.5", 0.5)])
def test_a_rate_may_be_written_as_people_write_it(text, rate):
    assert recipes.load("sprint", [f"train.learning_rate={text}"]).train.learning_rate == rate


@pytest.mark.parametrize("source", ["x" * 5000, "x" * 5000 + ".yaml", "a\0b.yaml", "a\nb.yaml"])
def test_a_path_that_cannot_be_is_one_short_line(source):
    with pytest.raises(FlyweightError, match="no recipe") as error:
        recipes.load(source)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 400


def test_a_merged_key_may_be_written_again(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("{a: &a {b: 1, c: 1}, d: {<<: *a, b: 2}}")
    assert schema.read_yaml(file)["d"] == {"b": 2, "c": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model: [", ["not valid YAML", "line"]),
        ("just words", ["holds no keys"]),
        ("name: x\nmodel:\n  network: course\n  network: sprint", ["line 4", "'network' is there twice"]),
        ("name: 2020-13-45", ["not valid YAML", "month"]),
        (LAUGHS, ["not valid YAML", "written out, its values are more than 1,000,000"]),
        ("name: &a [*a]", ["not valid YAML", "written out"]),
        ("name: &a {b: &b [*a], c: *b}", ["not valid YAML", "written out"]),
        ("name: \x01", ["not valid YAML", "character"]),
        ("name: x", ["model", "needed"]),
        ("name: x\nmodel: {network: sprint}\ntrain: {learning_rate: -1}", ["train.learning_rate", "-1"]),
    ],
)
def test_a_broken_file_is_one_line_with_its_name(tmp_path, text, words):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(FlyweightError) as error:
        recipes.load(file)
    message = str(error.value)
    assert "\n" not in message
    for word in ["mine.yaml", *words]:
        assert word in message


def test_an_unknown_recipe_names_the_known_ones():
    with pytest.raises(
        FlyweightError,
        match="did you mean 'sprint'.*course, course-tuned, dilated, images, nano, nano-dilated, sprint, sprint2, stri",
    ):
        recipes.load("sprnt")


def test_a_recipe_cannot_change_after_it_was_checked():
    recipe = recipes.load("sprint")
    with pytest.raises(ValueError, match="frozen"):
        recipe.train.epochs = 1


def test_the_data_set_is_named_by_every_recipe_that_ships_and_open_in_ones_own(tmp_path):
    named = {name: recipes.load(name).data.name for name in recipes.names()}
    assert named.pop(recipes.FOR_IMAGES) == "folder"  # until --data says which
    assert set(named.values()) == {"cifar10"}
    file = tmp_path / "mine.yaml"
    file.write_text("name: x\nmodel: {network: sprint}")
    assert recipes.load(file).data.name is None
    # a run folder of the version before, where the hole always had its size and the data its name
    file.write_text("name: x\nmodel: {network: sprint}\ndata: {name: cifar10, path: null}\naugment: {cutout_size: 16}")
    assert (recipes.load(file).data.name, recipes.load(file).augment.hole(28, 28)) == ("cifar10", 16)
