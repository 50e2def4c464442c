"""The table of commands, and how a call becomes an exit code: `flyweight.errors.EXIT_CODES`."""

from __future__ import annotations

import ast
import errno
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cyclopts import App, CycloptsError

from flyweight import __version__
from flyweight.cli.options import flowing
from flyweight.errors import EXIT_CODES, FlyweightError, TooLargeError, out_of_memory
from flyweight.machine import signals

COMMANDS = ("data", "check", "rules", "train", "evaluate", "report", "predict", "export", "demo", "search", "bench")
"""A command is the `app` of the module of its name in this folder, and its help is the docstring of the function of its
name; the module is imported when the command is called."""

NO_MEMORY = (
    "there is too little memory for this: take fewer or smaller images, in a training a smaller batch"
    " (--set train.batch_size=32 or data.size=32), or end other programs; what was saved before is whole"
)
EPILOGUE = "\n".join(
    [
        "Start here:  flyweight train sprint2  (CIFAR-10 to 85 % on two CPU cores, with a report)",
        "",
        "--debug, anywhere in a call, or FLYWEIGHT_DEBUG=1: the traceback of an error.",
        "",
        "Exit codes:",
        *(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items()),
    ]
)


def _help(name: str) -> str:
    """The docstring of a command, read without importing what it needs."""
    module = ast.parse(Path(__file__).with_name(f"{name}.py").read_bytes())
    for part in module.body:
        if isinstance(part, ast.FunctionDef) and part.name == name:
            return flowing(ast.get_docstring(part) or "")
    raise LookupError(f"cli/{name}.py has no function {name}")


app = App(
    name="flyweight",
    version=__version__,
    help="Compact image classifiers that make weight: design, prove, train, explain and ship networks inside a limit.",
    help_format="plaintext",
    help_epilogue=EPILOGUE,
    # run_command turns it into an exit code
    suppress_keyboard_interrupt=False,
)
for command in COMMANDS:
    app.command(f"flyweight.cli.{command}:app", name=command, help=_help(command))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a name that the terminal's encoding lacks is told with escapes, and ends nothing
        sys.stdout.reconfigure(errors="backslashreplace")
    code = run_command(arguments)
    signals.end()
    together = sys.modules.get("flyweight.machine.together")  # most commands do without, and without torch
    if together is not None:
        together.leave()
    sys.exit(code)


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; none: those of this process.

    Returns:
        the exit code, one of `flyweight.errors.EXIT_CODES`.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    kept = [argument for argument in given if argument != "--debug"]
    debug = len(kept) < len(given) or os.environ.get("FLYWEIGHT_DEBUG", "0") not in ("", "0")
    try:
        code = app(kept, exit_on_error=False, print_error=False, result_action="return_value") or 0
        if sys.stdout is not None:
            from flyweight.cli.console import putting

            with putting():
                sys.stdout.flush()  # here, where a reader that has gone can be told apart
        return code
    except KeyboardInterrupt as interrupt:
        return signals.told(interrupt)
    except BrokenPipeError:
        # the reader of our output has gone: nobody is left to tell
        sys.stdout = None
        return 141
    except (Exception, SystemExit) as error:
        if isinstance(error.__context__, BrokenPipeError) and isinstance(error, SystemExit):
            return 141  # rich's way of saying it
        if debug:
            import traceback

            from flyweight.text import lines

            sys.stderr.write(lines(traceback.format_exc()))
        message, code = _told(error)
        from flyweight.cli.console import complain

        complain(message)
        return code


def _told(error: BaseException) -> tuple[str, int]:
    """What a person is told of an error in one line, and the exit code."""
    if isinstance(error, CycloptsError):
        called = " ".join(("flyweight", *(error.command_chain or ())))
        return f"{' '.join(str(error).split())} (see {called} --help)", 2
    if out_of_memory(error) and not isinstance(error, TooLargeError):
        return NO_MEMORY, 7
    if isinstance(error, FlyweightError):
        return str(error), error.exit_code
    # Python's own words, and those of a recipe's schema where a name stands in the call itself
    nul = ("embedded null", "no name holds a NUL")
    if isinstance(error, ValueError) and any(words in str(error) for words in nul):
        return "the name of a file or folder holds a NUL character, which none may: write it without", 2
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"cannot write {error.filename or 'a file'}: {error.strerror}; make room", 2
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror or error}", 2
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.split(".")[0] != "flyweight":
        missing = error.name.split(".")[0]
        return f"this needs {missing}, which is not installed here: pip install flyweight, with its dependencies", 2
    from flyweight.text import one_line

    name, text = type(error).__name__, one_line(error)
    what = name if text == name else f"{name}: {text}"
    return f"this is a bug of flyweight's ({what}): report it with the output of the same call with --debug", 70
