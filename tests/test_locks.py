"""What `make setup` installs: by hashes, from locks that agree with pyproject.toml; and what is told of it."""

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from test_tools import tool

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TORCH = re.search(r"^TORCH +\?= (torch==\S+)$", MAKEFILE, re.MULTILINE)[1]
LOCKS = {"run.txt": ("export", "search"), "dev.txt": ("export", "search", "dev")}
"""Each lock, and the extras that it holds beside what flyweight needs itself."""
# what only the CUDA build of torch needs
CUDA = re.compile(r"(nvidia|cuda|triton)")
needs_make = pytest.mark.skipif(not shutil.which("make"), reason="NOT TESTED: this machine has no make")


@pytest.fixture(scope="module")
def bom():
    return tool("bom")


def text(name):
    return (ROOT / "locks" / name).read_text(encoding="utf-8")


def asked(extras):
    """What pyproject.toml asks for, by name, without itself."""
    project = PYPROJECT["project"]
    lines = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    found = {str(canonicalize_name(one.name)): one for one in map(Requirement, lines)}
    return {name: one for name, one in found.items() if name != "flyweight"}


@pytest.mark.parametrize("name", [*LOCKS, "tools.txt"])
def test_every_package_has_hashes(bom, name):
    packages = bom.locked(ROOT / "locks" / name)
    # every line that is no hash and no comment is a package
    heads = [line for line in text(name).splitlines() if line and not line.startswith((" ", "#"))]
    assert [f"{one.name}=={one.version}" for one in packages] == [line.split()[0] for line in heads]
    assert len(packages) > 20
    assert [one.name for one in packages if not one.hashes or not one.needed_by] == []
    assert [one.name for one in packages if one.name == "torch" or CUDA.match(one.name)] == []
    assert "://" not in text(name)


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_holds_what_pyproject_asks_for(bom, name):
    wanted, packages = asked(LOCKS[name]), bom.locked(ROOT / "locks" / name)
    pinned = TORCH.partition("==")[2]
    assert wanted.pop("torch").specifier.contains(pinned)
    # run `make lock` where it does not
    assert {one.name for one in packages if "flyweight" in one.needed_by} == set(wanted)
    outside = [one for one in packages if one.name in wanted and not wanted[one.name].specifier.contains(one.version)]
    assert outside == []


def test_both_locks_hold_the_same_versions(bom):
    both = [{(one.name, one.version, one.marker) for one in bom.locked(ROOT / "locks" / name)} for name in LOCKS]
    assert both[0] <= both[1]


def test_what_the_locks_are_told_of_torch_is_what_it_needs():
    [told] = PYPROJECT["tool"]["uv"]["dependency-metadata"]
    needed = [Requirement(line) for line in requires("torch") or ()]
    needed = {f"{one.name}{one.specifier}" for one in needed if not one.marker or "extra" not in str(one.marker)}
    assert set(told["requires-dist"]) == {one for one in needed if not CUDA.match(one)}


@needs_make
def test_what_make_installs_comes_from_the_lock(tmp_path):
    call = ["make", "-n", "setup", f"VENV={tmp_path / 'venv'}"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=True)
    installs = re.findall(r"-m pip (.*?)(?:;|$)", done.stdout, re.MULTILINE)
    locked = "install -q --no-compile --require-hashes --no-deps --only-binary :all: -r locks/dev.txt"
    assert installs[0] == locked
    assert installs[-1] == "install -q --no-deps --no-build-isolation -e ."
    assert len(installs) == 4
    assert all(install.endswith(f" {TORCH}") for install in installs[1:-1])


def test_the_bill_of_materials_is_valid_and_holds_the_lock(bom):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    lock = ROOT / "locks" / "run.txt"
    made = bom.as_json(lock, [TORCH])
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(made) is None
    told = json.loads(made)
    parts = {part["bom-ref"]: part for part in told["components"]}
    assert set(parts) == {f"{one.name}@{one.version}" for one in bom.locked(lock)} | {TORCH.replace("==", "@")}
    scopes = {name.partition("@")[0]: part["scope"] for name, part in parts.items()}
    assert (scopes["numpy"], scopes["markupsafe"]) == ("required", "required")
    assert (scopes["onnx"], scopes["sqlalchemy"]) == ("optional", "optional")
    [own] = [one["dependsOn"] for one in told["dependencies"] if one["ref"] == "flyweight"]
    assert {name.partition("@")[0] for name in own} == set(asked(LOCKS["run.txt"]))
    # another process, whose sets have another order
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, 'tools'); import bom\n"
        "sys.stdout.write(bom.as_json(Path('locks/run.txt'), sys.argv[1:]))"
    )
    again = subprocess.run(
        [sys.executable, "-c", code, TORCH],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "7"},
        capture_output=True,
        check=True,
    )
    assert again.stdout.decode() == made


HOLE = {"id": "TEST-1", "summary": "a hole", "affected": [{"package": {"name": "pillow", "ecosystem": "PyPI"}}]}


class Advisories(http.server.BaseHTTPRequestHandler):
    """Answers as a database of known holes does; counts who was asked about."""

    asked, holes, silent = [], False, False

    def do_POST(self):
        package = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"]
        self.asked.append(package)
        answer = json.dumps({"vulns": [HOLE]} if self.holes and package == "pillow" else {}).encode()
        self.send_response(503 if self.silent else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@needs_make
@pytest.mark.long
def test_an_audit_fails_over_a_hole_and_over_silence(bom, tmp_path):
    """`make audit` itself, with the tools from their lock, and a stand-in for the database."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Advisories) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stand_in = f"-s osv --osv-url http://127.0.0.1:{server.server_port}/"
        call = ["make", "audit", f"VENV={tmp_path / 'venv'}", f"PYTHON={sys.executable}", f"AUDIT={stand_in}"]

        def audit(**settings):
            for name, value in settings.items():
                setattr(Advisories, name, value)
            return subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)

        clean, found, silent = audit(), audit(holes=True), audit(holes=False, silent=True)
        server.shutdown()
    assert clean.returncode == 0, clean.stderr
    everything = [*bom.locked(ROOT / "locks" / "dev.txt"), *bom.locked(ROOT / "locks" / "tools.txt")]
    assert set(Advisories.asked) >= {one.name for one in everything if not one.marker} | {"torch"}
    assert found.returncode != 0
    assert "TEST-1" in found.stdout
    assert silent.returncode != 0
