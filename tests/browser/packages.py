"""What the browser's own registry has, at the versions and hashes of `npm/package-lock.json`, outside the checkout.

Two packages that only node would use, with their hundreds of megabytes, are replaced by an empty one.
"""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock

HERE = Path(__file__).parent / "npm"


def packages() -> Path:
    """The folder ``node_modules``, filled once for all processes and checkouts; or the test is skipped."""
    lock = (HERE / "package-lock.json").read_bytes()
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flyweight-tests"
    place = home / f"npm-{hashlib.sha256(lock).hexdigest()[:16]}"
    modules, done = place / "node_modules", place / "done"
    if done.exists():
        return modules
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("NO NPM, so transformers.js is not tried: `make programs` as root installs npm")
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{place}.lock"):
        if not done.exists():
            shutil.copytree(HERE, place, dirs_exist_ok=True)
            call = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
            found = subprocess.run(call, cwd=place, capture_output=True, text=True, check=False, timeout=200)
            if found.returncode:
                # hashes that do not fit are no reason to go on without
                assert "EINTEGRITY" not in found.stderr, found.stderr
                pytest.skip(f"NO PACKAGES, so transformers.js is not tried: {found.stderr.strip()[-200:]}")
            done.touch()
    return modules
