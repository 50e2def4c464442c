"""`visit(folder)` opens a page of a folder in Chromium: see `kit`."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kit import FLAGS, Site, Visit, chromium


# for one module and not for all: as long as it is open, no other test of the process can have an event loop
@pytest.fixture(scope="module")
def browser() -> Iterator:
    """Chromium as Debian has it, without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright for this machine's Python")
    program = chromium()
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, headless=True, args=list(FLAGS))
        yield opened
        opened.close()


@pytest.fixture
def visit(browser) -> Iterator[Callable[..., Visit]]:
    """Opens pages: ``visit(folder or file, path="", alone=True, **options of a browser context)``.

    A folder is served by a plain static server; a file is opened from disk. A page that asks for anything outside its
    origin fails its test, but for one that is not ``alone``.
    """
    visits: list[Visit] = []
    sites: list[Site] = []
    alone_ones: list[Visit] = []

    def opened(target: Path, path: str = "", alone: bool = True, **options: object) -> Visit:
        if target.is_dir():
            sites.append(Site(target))
        visits.append(Visit(browser, sites[-1] if target.is_dir() else target, path, **options))
        if alone:
            alone_ones.append(visits[-1])
        return visits[-1]

    yield opened
    for one in visits:
        one.close()
    for site in sites:
        site.close()
    assert [url for one in alone_ones for url in one.outside] == [], "requests left the page's origin"
