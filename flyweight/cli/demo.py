"""`flyweight demo`: a trained network in a page of this machine's."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import Annotated

from cyclopts import Parameter

from flyweight.cli import job
from flyweight.cli.console import answer, say
from flyweight.cli.options import AllowOption, command
from flyweight.errors import FlyweightError, Terminated

CHECKED = 500
"""Test images that a page is checked on before it is served. All of them, as of an export, can take minutes."""

app = command("demo", "demo dilated", "demo runs/mine --port 0  # any free port")


@app.default
def demo(
    network: str,
    /,
    *,
    port: Annotated[int, Parameter(help="Of 127.0.0.1; 0 takes a free one.")] = 8000,
    data: job.DataOption = None,
    allow_code: AllowOption = False,
) -> int:
    """Show a trained network in a browser: serve its page on 127.0.0.1 until Ctrl-C.

    It is the page that `flyweight export --format demo` writes, checked against PyTorch on 500 test images before, and
    not on all of them. The address is printed, and nothing is opened.

    Args:
        network: A network that ships with its weights, or a run folder.
    """
    if not 0 <= port <= 65535:
        raise FlyweightError(f"--port {port}: it must be 0 to 65535")
    from flyweight.export import demo as format
    from flyweight.export.demo.serving import Serving
    from flyweight.export.session import require
    from flyweight.export.subject import Subject
    from flyweight.machine.allocator import keep_freed_memory
    from flyweight.runs.card import find_trained

    require()
    keep_freed_memory()
    source = find_trained(network)
    # a port that is taken is told before the work
    with Serving(b"", port) as server:
        with redirect_stdout(sys.stderr):  # a network of the user's may print
            trained = job.load_network(source, allow_code)
            dataset = job.load_tested(trained, data)
            say(f"testing {network} on {len(dataset.test):,} images, and its page on up to {CHECKED} of them")
            subject = Subject(trained, dataset)
            page = format.made(subject, min(CHECKED, len(subject.labels)))
        server.page = page.content
        say(page.agreement.line())
        answer(server.address)
        sys.stdout.flush()
        say("Ctrl-C ends it")
        try:
            server.serve_forever()
        except Terminated:
            raise
        except KeyboardInterrupt:
            pass
    return 0
