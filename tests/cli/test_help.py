"""The help: examples for every command, read without importing what the commands need, and docs/help.md made of it."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from flyweight.cli import app
from flyweight.data import registry

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "numpy", "pydantic", "yaml", "matplotlib", "PIL", "sklearn", "albumentations"}


@pytest.fixture
def shown(capsys, monkeypatch):
    """The help of a call."""
    # that of another test may be narrower, and is kept
    monkeypatch.setattr(app.app, "_console", Console(width=120, color_system=None))

    def show(*arguments):
        assert app.run_command([*arguments, "--help"]) == 0
        return capsys.readouterr().out

    return show


@pytest.mark.parametrize("name", app.COMMANDS)
def test_a_command_has_examples_and_a_one_line_summary(shown, name):
    text = shown(name)
    assert f"flyweight {name}" in text.partition("Examples:")[2]
    summary = " ".join(text.split("\n\n")[1].split())
    assert summary.endswith(".")
    assert " ".join(summary.split()[:4]) in shown()


@pytest.mark.parametrize("name", app.COMMANDS)
def test_an_example_is_a_call_as_it_stands_in_one_line(shown, name):
    for line in shown(name).partition("Examples:")[2].strip().splitlines():
        assert line.lstrip().startswith("flyweight ")
        assert len(line) < 90
        words = shlex.split(line, comments=True)
        redirected = next((place for place, word in enumerate(words) if word in ("<", ">")), len(words))
        app.app.parse_args(words[1:redirected], exit_on_error=False, print_error=False)


def test_a_paragraph_of_the_help_is_broken_where_it_is_shown(shown):
    assert "2 when the call is wrong or one of several networks could not be checked" in " ".join(
        shown("check").split()
    )
    lines = shown("check").partition("Exit code 0")[2].partition("\n\n")[0].splitlines()
    assert len(lines[0]) > 90
    assert all(len(line) > 90 for line in lines[:-1])


def test_a_wrong_call_names_the_help_that_helps(capsys):
    for call, named in (
        (["check", "nano", "--jsn"], "flyweight check"),
        (["bench", "export", "--x"], "flyweight bench export"),
    ):
        assert app.run_command(call) == 2
        assert capsys.readouterr().err.strip().endswith(f"(see {named} --help)")


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


@pytest.mark.parametrize("page", ["help", "keys"])
def test_pages_made_by_a_tool_are_fresh(page):
    done = subprocess.run([sys.executable, ROOT / "tools" / f"{page}.py"], capture_output=True, text=True, check=True)
    written = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    assert written == done.stdout, f"make it anew: python tools/{page}.py > docs/{page}.md"
