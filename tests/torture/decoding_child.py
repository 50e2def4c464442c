"""A process of its own that asks a network about hostile images, one after the other, and tells of each what came out.

    python decoding_child.py CASES.json FIRST SECONDS

Each of the cases is an object: `image` is its file; where there is a right answer `seen` is a file of numpy's with it,
and `clean` a file that holds the same; `places` are what `flyweight predict` is asked about as a whole. A line of JSON
a case goes to standard output. A case that takes more seconds than that ends the process, and a traceback says where.
"""

import contextlib
import faulthandler
import io
import json
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

import flyweight
from flyweight.cli import app
from flyweight.images import decode

SHAPE = (3, 32, 32)


def main() -> None:
    """See above."""
    resource.setrlimit(resource.RLIMIT_AS, (12 * 2**30, resource.getrlimit(resource.RLIMIT_AS)[1]))
    listed, first, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    network = flyweight.load("nano")
    terminal = sys.stdout
    for case in json.loads(Path(listed).read_text(encoding="utf-8"))[first:]:
        begun = time.monotonic()
        faulthandler.dump_traceback_later(seconds, exit=True)
        try:
            found = asked_all(case) if "places" in case else asked_one(network, case)
        except BaseException:
            found = {"fault": traceback.format_exc()}
        faulthandler.cancel_dump_traceback_later()
        found["seconds"] = time.monotonic() - begun
        found["peak"] = peak()
        terminal.write(json.dumps(found) + "\n")
        terminal.flush()


def peak() -> float:
    """MiB that this process has had at most. That of `getrusage` begins with what its parent had when it was begun."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def asked_one(network: Any, case: dict[str, Any]) -> dict[str, Any]:
    """A single image, in its own size and in the network's."""
    image = Path(case["image"])
    said = network.predict(image, top=99)[0]
    if said.error is not None:
        return {"error": said.error}
    found = {"error": None, "total": sum(said.probabilities)}
    if "seen" in case:
        seen = np.load(case["seen"]).astype(int)
        off = np.abs(decode.decode(image, (3, *seen.shape[:2]), "squash") - seen)
        found |= {"off": float(off.max()), "mean": float(off.mean())}
    if "clean" in case:
        clean = network.predict(Path(case["clean"]), top=99)[0]
        if clean.error is None:
            shares = [dict(zip(one.classes, one.probabilities, strict=True)) for one in (said, clean)]
            found["apart"] = max(abs(shares[0][name] - shares[1][name]) for name in shares[1])
            taken = [decode.read(Path(one), SHAPE) for one in (image, case["clean"])]
            found["differs"] = bool((taken[0] != taken[1]).any())
    return found


def asked_all(case: dict[str, Any]) -> dict[str, Any]:
    """The command line, as a person would call it."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = app.run_command([*case["call"], *case["places"]])
    return {"error": None, "code": code, "out": out.getvalue(), "err": err.getvalue()}


if __name__ == "__main__":
    main()
