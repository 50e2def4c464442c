"""A real browser, and a plain static server on this machine that it looks at: the fixture `visit`."""

import contextlib
import functools
import http.server
import shutil
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-sync", "--no-first-run")
"""Beside those of Playwright, which end Chromium's own calls home."""
PLAIN = http.server.SimpleHTTPRequestHandler.extensions_map
REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def chromium() -> str:
    """Where it is, or the test is skipped."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("NO BROWSER, so nothing that runs in one is tested: `make programs` as root installs Chromium")
    return found


class Site:
    """A folder behind a plain static server, as any static host would be: it sets no headers of its own.

    Attributes:
        url: of the folder, with a slash at its end.
        requests: the paths that were asked for.
        missing: those of them that are not there.
    """

    def __init__(self, folder: Path) -> None:
        self.requests: list[str] = []
        self.missing: list[str] = []
        site = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            extensions_map = PLAIN | {".wasm": "application/wasm", ".mjs": "text/javascript", ".js": "text/javascript"}

            def send_head(self) -> object:
                site.requests.append(self.path)
                return super().send_head()

            def send_error(self, *args: object, **more: object) -> None:
                site.missing.append(self.path)
                super().send_error(*args, **more)

            def handle(self) -> None:
                # a browser that is closed leaves its connections as they are
                with contextlib.suppress(ConnectionError):
                    super().handle()

            def log_message(self, *args: object) -> None:
                pass

        # threads that end with the process: a browser keeps connections open that nobody asks on any more
        self._server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
        )
        self._server.daemon_threads, self._server.block_on_close = True, False
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Outside:
    """The proxy of everything that is not the page's own origin: it counts what is asked for, and refuses it.

    A page may ask from places that a browser's driver does not watch (service workers, beacons, sockets); a proxy is
    asked by all of them.
    """

    def __init__(self) -> None:
        self.requests: list[str] = []
        outside = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                asked = self.rfile.readline(4096).decode("latin-1").split()
                outside.requests.append(" ".join(asked[:2]))
                self.wfile.write(REFUSED)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads, self._server.block_on_close = True, False
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Visit:
    """A page that was opened, in a browser context of its own.

    Attributes:
        page: Playwright's.
        site: the server that it came from; None: from a file on disk.
        errors: what was thrown on the page, and what its console calls an error.
    """

    def __init__(self, browser, target: Site | Path, path: str = "", **options: object) -> None:
        self.site = target if isinstance(target, Site) else None
        self._proxy = Outside()
        address = self.site.url if self.site else target.resolve().as_uri()
        # Playwright sends what is on this machine through the proxy, too, but for the page's own server
        bypass = {"bypass": f"127.0.0.1:{self.site.port}"} if self.site else {}
        self._context = browser.new_context(proxy={"server": self._proxy.url, **bypass}, **options)
        self._context.set_default_timeout(30_000)
        self.errors: list[str] = []
        self._asked: list[str] = []
        self._context.on("request", lambda request: self._asked.append(request.url))
        self._context.on("weberror", lambda error: self.errors.append(str(error.error)))
        self._context.on(
            "console", lambda message: self.errors.append(message.text) if message.type == "error" else None
        )
        self.page = self._context.new_page()
        self.page.goto(address + path)

    @property
    def outside(self) -> list[str]:
        """Requests that left the page's origin, as far as its driver saw them, and all that came to the proxy."""
        own = (self.site.url if self.site else "file:", "data:", "blob:", "about:")
        return [url for url in self._asked if not url.startswith(own)] + self._proxy.requests

    def close(self) -> None:
        self._context.close()
        self._proxy.close()


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
