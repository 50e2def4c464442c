"""A server on this machine, in place of the hosts that data sets are downloaded from."""

import http.server
import threading


class Mirror:
    """A real HTTP server on this machine; each path behaves as `paths` says."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str | None]] = []
        self.paths: dict[str, dict] = {}
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                mirror.answer(self, body=False)

            def do_GET(self) -> None:
                mirror.answer(self, body=True)

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def answer(self, request: http.server.BaseHTTPRequestHandler, body: bool) -> None:
        asked = request.headers.get("Range")
        self.requests.append((request.command, request.path, asked))
        plan = self.paths.get(request.path)
        if plan is None or "status" in plan:
            request.send_response(404 if plan is None else plan["status"])
            for name, value in (plan or {}).get("headers", {}).items():
                request.send_header(name, value)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        content, start = plan["content"], 0
        if asked and plan.get("ranges", True):
            start = int(asked.removeprefix("bytes=").split("-")[0])
            if start >= len(content):
                request.send_error(416)
                return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        for name, value in plan.get("headers", {}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        if body:
            request.wfile.write(content[start : start + plan.get("cut", len(content))])
        request.close_connection = True

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
