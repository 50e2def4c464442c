"""Ctrl-C, SIGTERM and SIGHUP as a polite question."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from flyweight.errors import Orphaned
from flyweight.machine import launched, signals

AT_ONCE = "at once"
"""What a KeyboardInterrupt carries when nothing could be saved before it."""

_HANGUP = getattr(signal, "SIGHUP", None)


@dataclass
class Stop:
    """Whether somebody asked to stop, and by which signal."""

    asked: bool = False
    number: int | None = None
    previous: dict[int, Any] = field(default_factory=dict)

    @property
    def wanted(self) -> bool:
        """Whether to stop after the step under way: also where torchrun has gone, for it would go on for nobody."""
        return self.asked or launched.orphaned()


@contextmanager
def stop_on_signal(patient: bool = False) -> Iterator[Stop]:
    """Ctrl-C, SIGTERM and SIGHUP ask to stop after the step under way; a second one stops at once.

    Args:
        patient: a second one changes nothing. Of several processes one may be told by a user, by torchrun and by a
            batch system; torchrun kills what has not ended after half a minute.
    """
    stop = Stop()

    def ask(number: int, frame: FrameType | None) -> None:
        if number == _HANGUP:
            signals.without_terminal()
        # of SIGHUP a shell and the system send one each
        if stop.asked and (patient or number == _HANGUP):
            return
        if stop.asked:
            raise KeyboardInterrupt(AT_ONCE)
        stop.asked, stop.number = True, number

    try:
        for number in (signal.SIGINT, *signals.ENDING):
            if number == _HANGUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # nohup's: the training is to outlive its terminal
            stop.previous[number] = signal.signal(number, ask)
    except ValueError:  # not in the main thread: signals are somebody else's business there
        pass
    try:
        yield stop
    except KeyboardInterrupt as interrupt:
        if launched.orphaned():
            raise Orphaned(*interrupt.args) from None
        if stop.number in signals.ENDING:
            raise signals.ENDING[stop.number](*interrupt.args) from None
        raise
    finally:
        for caught, handler in stop.previous.items():
            signal.signal(caught, handler)
