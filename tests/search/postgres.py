"""A real PostgreSQL server of one test, in a folder of its own, on a port that nobody uses."""

import os
import shutil
import socket
import subprocess
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
    """Its address, with a user and a database."""
    bin_, root = programs(), os.geteuid() == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "pg"
    data.mkdir()
    if root:  # the server refuses root; whoever it is made for needs a way to its folder
        shutil.chown(data, "postgres", "postgres")
        for above in data.parents:
            if above.stat().st_mode & 0o001 == 0:
                above.chmod(above.stat().st_mode | 0o111)

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
