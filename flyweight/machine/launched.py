"""Which of how many processes this is, as torchrun says in the environment; read without torch."""

from __future__ import annotations

import os

_PARENT = os.getppid()


def orphaned() -> bool:
    """Whether torchrun, which started this process and would end it with the others of its job, has gone itself."""
    # a script that sets the same variables may end before what it has begun
    return "TORCHELASTIC_RUN_ID" in os.environ and os.getppid() != _PARENT


def rank() -> int:
    """The number of this process, from 0; 0 where there is one alone."""
    return _number("RANK", 0) if _by_torchrun() else 0


def world() -> int:
    """How many processes there are."""
    return _number("WORLD_SIZE", 1) if _by_torchrun() else 1


def _by_torchrun() -> bool:
    # accelerate looks at the same
    return "LOCAL_RANK" in os.environ


def _number(name: str, default: int) -> int:
    try:
        return int(os.environ.get(name, default))
    except ValueError:
        return default
