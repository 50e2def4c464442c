"""Templates and their filters: what a user wrote is text, in a page and in Markdown."""

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from flyweight.report import pages


def test_a_page_escapes_and_plain_text_does_not(tmp_path):
    for name in ("x.html.jinja", "x.md.jinja"):
        (tmp_path / name).write_text("{{ name }}", encoding="utf-8")
    assert pages.render("x.html.jinja", {"name": "<b>&'"}, tmp_path) == "&lt;b&gt;&amp;&#39;"
    assert pages.render("x.md.jinja", {"name": "<b>"}, tmp_path) == "<b>"


def test_a_name_that_the_facts_lack_is_an_error(tmp_path):
    (tmp_path / "x.md.jinja").write_text("{{ absent }}", encoding="utf-8")
    with pytest.raises(jinja2.UndefinedError, match="absent"):
        pages.render("x.md.jinja", {}, tmp_path)


def test_filters_are_there(tmp_path):
    (tmp_path / "x.md.jinja").write_text("{{ 1234|count }} {{ 61|time }} {{ none|share }} {{ '*'|md }}")
    assert pages.render("x.md.jinja", {}, tmp_path) == "1,234 1 min 1 s - &#42;"


@given(st.text(max_size=40))
def test_markdown_shows_any_text_as_it_is(text):
    row = pages.markdown(text)
    rendered = MarkdownIt("commonmark").enable("table").render(f"| a |\n| --- |\n| x{row}x |\n")
    # one cell, and no tag in it
    assert rendered.count("<td>") == 1
    cell = rendered.partition("<td>")[2].partition("</td>")[0]
    assert "<" not in cell


@pytest.mark.parametrize(("text", "fence"), [("plain", "```"), ("a ``` b", "````"), ("`````", "``````"), ("", "```")])
def test_a_fence_is_longer_than_what_it_holds(text, fence):
    assert pages.fenced(text, "text") == f"{fence}text\n{text}\n{fence}"
    assert MarkdownIt().render(pages.fenced(text)).count("<pre>") == 1


def test_counts():
    assert [pages.count(value) for value in (0, 12345, (3, 32, 32), None)] == ["0", "12,345", "3 x 32 x 32", "unknown"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (0.4, "0 s"), (59.6, "1 min"), (61, "1 min 1 s"), (3600, "1 h"), (3723, "1 h 2 min 3 s")],
)
def test_durations(seconds, words):
    assert pages.duration(seconds) == words
