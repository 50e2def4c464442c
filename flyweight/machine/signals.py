"""Signals that ask the program to end, from its first moment to its last; read without torch.

A training asks for more: `flyweight.training.interrupt`.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType

from flyweight.errors import HungUp, Terminated
from flyweight.machine import launched

ENDING: dict[int, type[Terminated]] = {int(signal.SIGTERM): Terminated}
"""Signals that end the program, and what each raises."""
if hasattr(signal, "SIGHUP"):  # Windows has none
    ENDING[int(signal.SIGHUP)] = HungUp

_ours = False


def begin() -> None:
    """From here on SIGTERM and SIGHUP raise what unwinds the program as Ctrl-C does.

    Whoever began it may have them ignored, as nohup does; that stays so.
    """
    global _ours
    _ours = True
    for number in ENDING:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end)


def end() -> None:
    """From here on nothing is left to save: what Python says of an interrupt in its own end would mean nothing."""
    if _ours:  # in somebody else's program signals are theirs
        for number in (signal.SIGINT, *ENDING):
            signal.signal(number, signal.SIG_IGN)


def told(interrupt: KeyboardInterrupt) -> int:
    """The exit code of an interrupt; of a signal's also a word to the one who reads standard error."""
    end()
    # of several processes torchrun tells it
    if isinstance(interrupt, Terminated) and launched.world() == 1 and sys.stderr is not None:
        with suppress(OSError):
            sys.stderr.write("flyweight: terminated\n")
            sys.stderr.flush()
    return code(interrupt)


def code(interrupt: KeyboardInterrupt) -> int:
    """The exit code of an interrupt: 130 of Ctrl-C, else that of its signal."""
    return interrupt.exit_code if isinstance(interrupt, Terminated) else 130


def without_terminal() -> None:
    """Let what is still said go nowhere where the terminal has gone, as with SIGHUP; writing to it would raise."""
    import termios

    for stream in (1, 2):
        try:
            termios.tcgetattr(stream)
        except termios.error as error:
            if error.args[0] == 5:  # EIO, not ENOTTY: it was one
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream)
                os.close(nowhere)


def _end(number: int, frame: FrameType | None) -> None:
    # a second SIGTERM ends it at once; of SIGHUP a shell and the system send one each
    signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
    if ENDING[number] is HungUp:
        without_terminal()
    raise ENDING[number]
