"""`python -m flyweight` is the command `flyweight`."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback from its first imports on."""
    try:
        from flyweight.cli import app

        app.main()
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as error:
        if (error.name or "flyweight").split(".")[0] == "flyweight":
            raise
        # installed without its dependencies: in Python an export is predicted with all the same
        sys.stderr.write(
            f"flyweight: the command line needs {error.name}, which is not installed here: pip install cyclopts\n"
        )
        sys.exit(2)


if __name__ == "__main__":
    main()
