"""`python -m flyweight` is the command `flyweight`."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback from its first imports on."""
    try:
        from flyweight.cli import app

        app.main()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
