"""A real PostgreSQL server of one test, with data of its own, on a port that nobody uses."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def programs() -> Path:
    """The folder with initdb and pg_ctl; where there is none the test is skipped, and says so."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders:
        pytest.skip("NOT TESTED: there is no PostgreSQL server here: apt-get install postgresql, and try again")
    return folders[-1]


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Its address, with a user and a database; its log goes into the folder."""
    bin_, root = programs(), os.geteuid() == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # not below the test's own folder, which pytest opens to its owner alone: the server refuses root
    data = Path(tempfile.mkdtemp(prefix="flyweight-postgres-"))
    if root:
        shutil.chown(data, "postgres", "postgres")

    def run(program: str, *arguments: str) -> None:
        called = [str(bin_ / program), "-D", str(data), *arguments]
        as_other = ["runuser", "-u", "postgres", "--"] if root else []
        with (folder / "postgres.log").open("ab") as log:
            done = subprocess.run([*as_other, *called], check=False, stdout=log, stderr=log, cwd="/")
        assert done.returncode == 0, (folder / "postgres.log").read_text(encoding="utf-8")

    run("initdb", "-U", "flyweight", "-A", "trust", "--no-sync")
    run("pg_ctl", "-w", "start", "-o", f"-p {port} -c listen_addresses=127.0.0.1 -k '' -c fsync=off")
    try:
        yield f"postgresql://flyweight@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-m", "immediate", "stop")
        shutil.rmtree(data)
