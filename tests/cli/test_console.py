"""What is shown: plain lines where nobody watches, bars on a terminal, names as they are."""

import io

import pytest
from rich.console import Console

from flyweight.cli import app, console
from flyweight.cli.console import DataBar, TrainingBar


def plain(terminal):
    return Console(file=io.StringIO(), force_terminal=terminal, width=60, color_system=None)


def test_data_is_told_once_in_a_plain_file():
    out = plain(False)
    with DataBar(out) as bar:
        for done in range(3):
            bar("reading [red]batches", done, 3)
        bar("sorting", 0, None)
    assert out.file.getvalue() == "reading [red]batches ...\nsorting ...\n"


def test_data_has_a_bar_on_a_terminal_that_goes_away():
    out = plain(True)
    with DataBar(out) as bar:
        bar("reading [red]batches", 1, 4)
        bar._bar.refresh()
    shown = out.file.getvalue()
    assert "reading [red]batches" in shown
    assert "25%" in shown
    assert "reading ..." not in shown
    # ends with the codes that clear the bar's line
    assert shown.endswith("\x1b[2K")


def test_an_epoch_is_one_unbroken_line_in_a_plain_file():
    out = plain(False)
    line = "Epoch 1/2 | [bold]" + 30 * "word " + "end"
    with TrainingBar(out) as bar:
        bar.step(0, 1.0)  # before any epoch: nothing
        bar.start(0, 2, 0, 10, 256)
        bar.step(5, 1.5)
        bar.step(6, None)
        bar.epoch(line)
        bar.start(1, 2, 0, 10, 256)
        bar.note("stopped")
    assert out.file.getvalue() == f"{line}\nstopped\n"


def test_a_training_has_one_bar_on_a_terminal():
    out = plain(True)
    with TrainingBar(out) as bar:
        bar.start(2, 12, 3, 10, 256)
        bar.step(4, 1.25)
        bar._bar.refresh()
        [task] = bar._bar.tasks
        # two epochs of ten steps and four steps of the third are done, of twelve epochs
        assert (task.completed, task.total, task.fields["loss"]) == (24, 120, "loss 1.250")
        bar.start(3, 12, 0, 10, 256)
        assert [task.description for task in bar._bar.tasks] == ["epoch 4/12"]
    assert "epoch 3/12" in out.file.getvalue()


ESCAPES = "\x1b]0;title\x07\x1b[2J\x9b31m"


@pytest.mark.parametrize("shown", [console.answer, console.say, console.complain, console.banner])
def test_nothing_that_a_terminal_obeys_is_shown(shown, capsys):
    shown(f"before {ESCAPES} after")
    told = "".join(capsys.readouterr())
    assert "before" in told
    assert "\x1b" not in told
    assert "\x9b" not in told


def test_nor_in_what_runs_or_in_a_traceback(capsys):
    out = plain(False)
    with DataBar(out) as data, TrainingBar(out) as training:
        data(ESCAPES, 0, 1)
        training.note(ESCAPES)
    assert "\x1b" not in out.file.getvalue()
    assert app.run_command(["--debug", "check", f"{ESCAPES}.py:Net"]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_a_message_says_where_and_what_to_do_in_500_characters(capsys):
    console.complain(f"where {'x' * 100_000} what to do")
    console.say("y" * 100_000)
    first, second = capsys.readouterr().err.splitlines()
    assert (len(first), len(second)) == (500, 500)
    assert first.startswith("flyweight: where")
    assert first.endswith("what to do")


def test_an_error_is_one_line_whatever_it_quotes(capsys):
    console.complain("a\nb")
    assert capsys.readouterr().err == "flyweight: a\ufffdb\n"
