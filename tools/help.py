"""Print docs/help.md: what `flyweight --help` and the help of each command say.

python tools/help.py > docs/help.md
"""

import io
import os
import sys
from contextlib import redirect_stdout

os.environ["COLUMNS"] = "100"

from flyweight.cli import app

PARTS = (("bench", "export"),)
"""Commands of a command."""


def shown(*call: str) -> str:
    """The help of a call, without blanks at the ends of lines."""
    out = io.StringIO()
    with redirect_stdout(out):
        app.run_command([*call, "--help"])
    return "\n".join(line.rstrip() for line in out.getvalue().strip().splitlines())


def main() -> None:
    """Print a section for each command."""
    sys.stdout.write("# What the help says\n\nMade by `python tools/help.py > docs/help.md`; a test keeps it fresh.\n")
    for call in ((), *((command,) for command in app.COMMANDS), *PARTS):
        title = " ".join(("flyweight", *call))
        sys.stdout.write(f"\n## {title}\n\n```text\n{shown(*call)}\n```\n")


if __name__ == "__main__":
    main()
