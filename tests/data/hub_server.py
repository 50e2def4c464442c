"""A stand-in for the Hugging Face hub: a server on this machine that its real client talks to."""

import hashlib
import json
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import pytest
from mirror import Mirror

from flyweight.data import online


class Hub:
    """Serves what was published, in as much of the hub's HTTP interface as its client uses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mirror = Mirror()
        monkeypatch.setattr(online, "hub_address", lambda: self.mirror.url)

    def publish(self, repository: str, folder: Path, revision: str = "main") -> str:
        """Make the files of a folder a revision of a data set; returns its commit."""
        contents = {
            file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()
        }
        commit = hashlib.sha1(repr(sorted(contents.items())).encode(), usedforsecurity=False).hexdigest()
        info = {"id": repository, "sha": commit, "siblings": [{"rfilename": name} for name in sorted(contents)]}
        page = f"/api/datasets/{repository}"
        answer = {"content": json.dumps(info).encode(), "headers": {"Content-Type": "application/json"}}
        for place in (commit, revision):
            self.mirror.paths[f"{page}/revision/{quote(place, safe='')}"] = answer
        if revision == "main":
            self.mirror.paths[page] = answer
        for name, content in contents.items():
            headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
            file = f"/datasets/{repository}/resolve/{commit}/{quote(name)}"
            self.mirror.paths[file] = {"content": content, "headers": headers}
        # any other revision, as the hub says it
        self.mirror.paths[f"{page}/revision/{quote('refs/convert/parquet', safe='')}"] = self.mirror.paths.get(
            f"{page}/revision/{quote('refs/convert/parquet', safe='')}",
            {"status": 404, "headers": {"X-Error-Code": "RevisionNotFound"}},
        )
        return commit

    def refuse(self, repository: str, code: str, status: int = 404, revision: str | None = None) -> None:
        """Answer with one of the hub's errors, such as RepoNotFound."""
        page = f"/api/datasets/{repository}" + (f"/revision/{quote(revision, safe='')}" if revision else "")
        self.mirror.paths[page] = {"status": status, "headers": {"X-Error-Code": code}}

    @property
    def requests(self) -> list[str]:
        """The paths that were asked for."""
        return [path for _, path, _ in self.mirror.requests]

    def __enter__(self) -> "Hub":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.mirror.close()
