"""A stand-in for the part of the Hugging Face hub that takes files: a server that its real client talks to."""

import base64
import hashlib
import http.server
import json
import re
import threading

LARGE = (".safetensors", ".onnx")
"""What the hub takes apart from git, by its protocol for large files."""


class RefusedError(Exception):
    """An answer that says no: status, the hub's own code, words, and what else is said."""


class Taking:
    """The hub's HTTP interface as far as a push needs it.

    Attributes:
        url: of the server.
        tokens: what each token is: a user's name, its organisations and its role.
        repositories: by name, the files of each and who may see it.
        commits: what each commit was called and which files it brought.
        failing: a status for each path that shall fail, by a regular expression.
    """

    def __init__(self) -> None:
        self.tokens = {"hf_write": ("me", ("team",), "write"), "hf_read": ("me", (), "read")}
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.commits: list[tuple[str, str, list[str]]] = []
        self.failing: dict[str, int] = {}
        self.asked: list[str] = []
        self._large: dict[str, bytes] = {}
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.body()
                hub.asked.append(f"{self.command} {self.path}")
                headers = {"Content-Type": "application/json"}
                try:
                    status, said = 200, hub.answer(self.command, self.path, self.headers, body)
                except RefusedError as no:
                    status, code, words, *more = no.args
                    said = {"error": words, **(more[0] if more else {})}
                    headers = {"X-Error-Code": code, "X-Error-Message": words, **headers}
                content = b"" if self.command == "HEAD" else json.dumps(said).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": len(content)}.items():
                    self.send_header(name, str(value))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815

            def body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def log_message(self, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads, self._server.block_on_close = True, False
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, method, path, headers, body):
        for pattern, status in self.failing.items():
            if re.search(pattern, path):
                raise RefusedError(status, "", "so it is set in the test")
        if method == "PUT" and path.startswith("/large/"):
            # the address that was handed out is the right to write there
            name = path.removeprefix("/large/")
            assert hashlib.sha256(body).hexdigest() == name
            self._large[name] = body
            return {}
        user, organisations, role = self._user(headers)
        if path == "/api/whoami-v2":
            orgs = [{"name": name} for name in organisations]
            return {"name": user, "orgs": orgs, "auth": {"accessToken": {"role": role}}}
        if path == "/api/validate-yaml":
            return {"errors": [], "warnings": [{"message": "the hub would rather have more"}]}
        if method == "POST" and role != "write":
            raise RefusedError(403, "", "this token may only read")
        if path == "/api/repos/create":
            return self._create(json.loads(body), (user, *organisations))
        for pattern, way in (
            (r"/api/models/([^/]+/[^/]+)/preupload/main", self._preupload),
            (r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", self._batch),
            (r"/api/models/([^/]+/[^/]+)/commit/main", self._commit),
            (r"/api/models/([^/]+/[^/]+)", self._info),
        ):
            if found := re.fullmatch(pattern, path):
                if found[1] not in self.repositories:
                    raise RefusedError(404, "RepoNotFound", "Repository not found")
                return way(found[1], body)
        raise RefusedError(501, "", f"the stand-in has no {method} {path}")

    def _user(self, headers):
        token = headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.tokens:
            raise RefusedError(401, "", "Invalid username or password.")
        return self.tokens[token]

    def _create(self, asked, owners):
        owner = asked["organization"] or owners[0]
        if owner not in owners:
            raise RefusedError(403, "", f"You don't have the rights to create a model under the namespace {owner!r}")
        name = f"{owner}/{asked['name']}"
        if name in self.repositories:
            raise RefusedError(409, "", "You already created this model repo", {"url": f"{self.url}/{name}"})
        self.repositories[name] = {}
        self.private[name] = asked.get("private", asked.get("visibility") == "private")
        return {"url": f"{self.url}/{name}", "name": name}

    def _info(self, name, body):
        files = [{"rfilename": file} for file in self.repositories[name]]
        return {"id": name, "sha": "0" * 40, "siblings": files, "tags": [], "private": self.private[name]}

    def _preupload(self, name, body):
        def mode(file):
            return "lfs" if file["path"].endswith(LARGE) else "regular"

        files = json.loads(body)["files"]
        return {"files": [{"path": one["path"], "uploadMode": mode(one), "shouldIgnore": False} for one in files]}

    def _batch(self, name, body):
        def action(wanted):
            return {**wanted, "actions": {"upload": {"href": f"{self.url}/large/{wanted['oid']}"}}}

        return {"transfer": "basic", "objects": [action(wanted) for wanted in json.loads(body)["objects"]]}

    def _commit(self, name, body):
        header, *lines = map(json.loads, body.splitlines())
        files = {}
        for line in lines:
            value = line["value"]
            match line["key"]:
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self._large[value["oid"]]
                case other:
                    raise RefusedError(400, "", f"no {other} here")
        self.repositories[name] |= files
        self.commits.append((name, header["value"]["summary"], sorted(files)))
        oid = hashlib.sha1(body, usedforsecurity=False).hexdigest()
        return {"success": True, "commitOid": oid, "commitUrl": f"{self.url}/{name}/commit/{oid}"}
