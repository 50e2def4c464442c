"""Words that others chose, in a call and in a run that somebody sent: no terminal obeys them, none fills a screen."""

import json
import shutil
import unicodedata

import pytest
import safetensors.torch
from PIL import Image
from test_cli import command  # noqa: F401 (a fixture)
from test_unfit_weights import saved

ESCAPE = "\x1b]0;title\x07\x1b[2J\x9b31m"
WORDS = {"escapes": ESCAPE, "150,000 letters": ESCAPE + 150_000 * "x"}
PREDICT = ["predict", "run", "cat.png"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    saved(folder / "run", lambda network: None)
    Image.new("RGB", (32, 32)).save(folder / "cat.png")
    return folder


def carded(folder, **changes):
    """Change a card as in a version that had no checksum."""
    content = json.loads((folder / "run" / "config.json").read_text()) | changes
    content.pop("checksum")
    (folder / "run" / "config.json").write_text(json.dumps(content))


def network(folder, words):
    carded(folder, network=f"{words}.py:Net")
    return PREDICT


def tensor(folder, words):
    import hashlib

    file = folder / "run" / "model.safetensors"
    weights = safetensors.torch.load(file.read_bytes())
    weights[words] = weights.pop("classifier.weight")
    content = safetensors.torch.save(weights)
    file.write_bytes(content)
    carded(folder, sha256=hashlib.sha256(content).hexdigest())
    return PREDICT


def named(folder, words):
    """A run without weights, whose message says how to go on with it; a name has at most 255 bytes."""
    run = (folder / "run").rename(folder / f"run {words[:80]}")
    (run / "model.safetensors").unlink()
    return ["predict", run.name, "cat.png"]


PLACES = {
    "a command": lambda folder, words: [words],
    "an option": lambda folder, words: ["check", "nano", f"--{words}"],
    "a network": lambda folder, words: ["check", f"{words}.py:Net"],
    "a setting": lambda folder, words: ["train", "sprint", "--set", f"train.{words}=1"],
    "an image": lambda folder, words: ["predict", "run", f"{words}.png"],
    "a folder's name": named,
    "a card's network": network,
    "a tensor's name": tensor,
}


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_it_is_one_short_line_that_no_terminal_obeys(command, kept, tmp_path, place, words):  # noqa: F811
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    code, out, err = command(*place(tmp_path, words))
    assert code in (2, 3, 4)
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("flyweight: ")
    assert [letter for letter in line if unicodedata.category(letter) == "Cc"] == []
    assert "]0;title" in line
    assert len(line) <= 500
