"""The help: examples for every command, read without importing what the commands need, and docs/help.md made of it."""

import subprocess
import sys
from pathlib import Path

import pytest

from flyweight.cli import app
from flyweight.data import registry

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "numpy", "pydantic", "yaml", "matplotlib", "PIL", "sklearn", "albumentations"}


@pytest.fixture
def shown(capsys, monkeypatch):
    """The help of a call."""
    monkeypatch.setenv("COLUMNS", "120")

    def show(*arguments):
        assert app.run_command([*arguments, "--help"]) == 0
        return capsys.readouterr().out

    return show


@pytest.mark.parametrize("name", app.COMMANDS)
def test_a_command_has_examples_and_a_one_line_summary(shown, name):
    text = shown(name)
    assert f"flyweight {name}" in text.partition("Examples:")[2]
    # the first paragraph, for another test's console may be narrower and wrap it
    summary = " ".join(text.split("\n\n")[1].split())
    assert summary.endswith(".")
    assert " ".join(summary.split()[:4]) in shown()


def test_the_help_of_a_command_is_the_docstring_of_its_function(shown):
    assert "Exit code 3 when an image cannot be read" in shown("predict")
    assert "Ctrl-C saves the state" in shown("train")


@pytest.mark.parametrize("name", ["train", "evaluate", "report"])
def test_the_help_of_data_names_every_reader(shown, name):
    words = " ".join(shown(name).replace("\N{BOX DRAWINGS LIGHT VERTICAL}", " ").split())
    assert f"name ({', '.join(reader.called for reader in registry.READERS)})" in words
    for reader in registry.READERS:
        assert reader.layouts is None or reader.label in words


def test_the_help_imports_nothing_heavy():
    code = "import sys; from flyweight.cli import app; app.run_command(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1].split()
    assert HEAVY & set(loaded) == set()
    assert not any(name.startswith(f"flyweight.cli.{command}") for name in loaded for command in app.COMMANDS)


def test_the_page_of_the_help_is_fresh():
    done = subprocess.run([sys.executable, ROOT / "tools" / "help.py"], capture_output=True, text=True, check=True)
    page = (ROOT / "docs" / "help.md").read_text(encoding="utf-8")
    assert page == done.stdout, "make it anew: python tools/help.py > docs/help.md"
