"""`python -m flyweight` is the command `flyweight`."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C, SIGTERM and SIGHUP end it without a traceback from its first imports on."""
    from flyweight.machine import signals

    try:
        signals.begin()
        from flyweight.cli import app

        app.main()
    except KeyboardInterrupt as interrupt:
        sys.exit(signals.told(interrupt))
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
