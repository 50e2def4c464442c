import subprocess
import sys

import pytest

from flyweight import text


def test_printable_has_no_control_characters():
    assert text.printable("\x1b[31mred\n\x00é日") == "\ufffd[31mred\ufffd\ufffdé日"


def test_text_of_several_lines_keeps_them():
    assert text.lines("a\x1b[2J\r\nb\tc\n\x9b") == "a\ufffd[2J\nb\tc\n\ufffd"


def test_a_long_text_loses_its_middle():
    assert text.middle("a" * 9, 9) == "a" * 9
    shown = text.middle("where" + "x" * 1000 + "what to do", 100)
    assert len(shown) == 100
    assert shown.startswith("wherex")
    assert shown.endswith("xwhat to do")


def test_short_is_never_longer():
    assert text.short("abcdef", 6) == "abcdef"
    assert text.short("abcdefg", 6) == "abcde…"
    assert text.short("a\nb", 6) == "a\ufffdb"


def test_of_a_path_the_file_stays():
    assert text.ending("a/b.jpg", 7) == "a/b.jpg"
    assert text.ending("aa/b.jpg", 7) == "…/b.jpg"
    assert text.ending("a/\x1bb.jpg", 7) == "…\ufffdb.jpg"


def test_one_line_of_an_error():
    assert text.one_line(ValueError("first\n  second\tthird\n")) == "first second third"
    assert text.one_line(ValueError("\x1b[31mred")) == "\ufffd[31mred"
    assert text.one_line(ValueError("  \n")) == "ValueError"
    assert len(text.one_line(ValueError("x" * 5000))) == 200


def test_share():
    assert (text.share(12.345), text.share(None)) == ("12.3 %", "-")


@pytest.mark.parametrize("module", ["schema", "report.pages"])
def test_text_costs_no_torch(module):
    code = f"import sys, flyweight.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
