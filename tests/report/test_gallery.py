import base64
import hashlib
import io
import json
import re
from collections import Counter

import numpy as np
import pytest
from conftest import synthetic
from PIL import Image
from test_report import Page, foreign, noise, untrained

from flyweight.evaluation.scores import Mistake
from flyweight.report import gallery


def mistakes(pairs):
    """Mistakes of such (true, predicted), the most confident first."""
    return [Mistake(place, *pair, 99 - place, 1.0, 2) for place, pair in enumerate(pairs)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Fresh weights say nearly the same of all: five classes, of which most images are mistaken."""
    return foreign(tmp_path_factory.mktemp("gallery") / "run", 5, (3, 32, 32), {})


def test_of_each_confusion_one_image_comes_before_any_second_one():
    given = mistakes([(0, 1)] * 5 + [(2, 1)] * 2 + [(1, 0)])
    assert [one.index for one in gallery.chosen(given, 3)] == [0, 5, 7]
    # then the next ones, of the most frequent confusion first
    assert [one.index for one in gallery.chosen(given, 6)] == [0, 5, 7, 1, 6, 2]
    assert len(gallery.chosen(given, 99)) == 8


@pytest.mark.early
def test_many_classes_of_large_images_stay_below_five_megabytes_and_what_is_left_out_is_told(tmp_path):
    # noise is what no compression makes small
    dataset = synthetic(100, 3, 224, 224, train=100, test=120)
    run = untrained(tmp_path / "run", dataset)
    text = run.report_html.read_text(encoding="utf-8")
    assert 2.5e6 < len(text.encode()) < 5e6
    shown, total = re.search(r"([\d,]+) of ([\d,]+) mistakes: of each confusion the most confident", text).groups()
    assert int(total) == json.loads(run.evaluation.read_text())["mistakes"]
    assert text.count("<figcaption><b>class") == int(shown) < int(total)
    sizes = {
        Image.open(io.BytesIO(base64.b64decode(uri))).size for uri in re.findall(r"image/jpeg;base64,([^\"]+)", text)
    }
    assert sizes == {(128, 128)}


def test_each_image_of_the_page_is_the_one_that_was_mistaken(run):
    text = run.report_html.read_text(encoding="utf-8")
    images = noise(5, (3, 32, 32)).test.images
    found = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="no. (\d+)">', text)
    assert len(found) == json.loads(run.evaluation.read_text())["mistakes"]
    for content, index in found:
        assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))) == images[int(index)]).all()


def test_every_cell_of_mistakes_leads_to_its_images(run):
    text = run.report_html.read_text(encoding="utf-8")
    confusion = np.array(json.loads(run.evaluation.read_text())["confusion"])
    pairs = {(true, said) for true, said in zip(*np.nonzero(confusion), strict=True) if true != said}
    table = text[text.index('<table class="matrix">') : text.index("Mistakes, and where")]
    cells = re.findall(r'<a href="#mistakes-(\d+)-(\d+)"[^>]*aria-label="(\d+) images of [^"]*">(\d+)</a>', table)
    assert {(int(true), int(said)) for true, said, *_ in cells} == pairs
    for true, said, told, count in cells:
        assert int(told) == int(count) == confusion[int(true), int(said)]
        assert text.count(f'id="mistakes-{true}-{said}"') == 1
    assert max(Counter(re.findall(r' id="([^"]+)"', text)).values()) == 1


def test_the_only_script_is_the_pages_own(run):
    text = run.report_html.read_text(encoding="utf-8")
    assert Page(text).tags.count("script") == 1
    script = re.search(r"(?s)<script>(.*?)</script>", text)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in text


def visible(page):
    return page.locator("#gallery figure:visible").count()


def test_in_a_browser_a_cell_and_the_lists_choose_what_is_shown(run, visit):
    visited = visit(run.report_html, viewport={"width": 390, "height": 844}, color_scheme="dark")
    page = visited.page
    total = page.locator("#gallery figure").count()
    assert visible(page) == total
    cell = page.locator(".matrix a").last
    true, count = cell.get_attribute("data-true"), int(cell.inner_text())
    cell.press("Enter")  # as a keyboard does
    assert visible(page) == count < total
    assert page.locator("#shown").inner_text() == f"shown: {count} of the {total} on this page"
    assert page.evaluate("document.activeElement.id") == "mistakes"
    assert page.locator("#true").input_value() == true
    page.locator("#all").click()
    assert visible(page) == total
    page.locator("#true").select_option(true)
    assert visible(page) == page.locator(f'#gallery figure[data-true="{true}"]').count() < total
    # nothing makes the page wider than a phone
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert visited.errors == []


def test_without_javascript_all_are_shown_and_a_cell_leads_to_its_first_image(run, visit):
    page = visit(run.report_html, java_script_enabled=False).page
    assert visible(page) == page.locator("#gallery figure").count()
    assert not page.locator("#filters").is_visible()
    page.locator(".matrix a").last.click()
    assert page.locator("#gallery figure:target").count() == 1
