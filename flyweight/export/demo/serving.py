"""A page for this machine alone, from memory."""

from __future__ import annotations

import http.server
from http import HTTPStatus
from typing import Any

from flyweight.errors import FlyweightError

HOST = "127.0.0.1"


class Serving(http.server.ThreadingHTTPServer):
    """Serves one page; nobody but this machine can ask for it.

    Args:
        page: HTML.
        port: 0 takes a free one.

    Raises:
        FlyweightError: the port cannot be had.
    """

    daemon_threads = True

    def __init__(self, page: bytes, port: int) -> None:
        self.page = page
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            reason = error.strerror or "it cannot be had"
            raise FlyweightError(f"--port {port}: {reason}; name another, or 0 for a free one") from None

    @property
    def address(self) -> str:
        """That a browser asks."""
        return f"http://{HOST}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away is nobody's fault."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Serving

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        if self.path.partition("?")[0] not in ("/", "/index.html"):
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(self.server.page)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_body:
            self.wfile.write(self.server.page)

    def log_message(self, format: str, *args: object) -> None:
        """Who looks at the page is no news."""
