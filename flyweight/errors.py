"""The errors that a user can mend: one line each, with an exit code of its own and never a traceback."""

import errno

EXIT_CODES = {
    0: "done",
    1: "a rule failed, or an exported format did not say what its network says",
    2: "the call was wrong",
    3: "data is missing, damaged or does not fit",
    4: "a run folder or weights are missing, damaged, unfit, or code not allowed",
    5: "the training diverged",
    6: "another process of the same job ended, and this one with it",
    7: "there is too little memory",
    70: "flyweight itself is at fault; --debug shows the traceback",
    129: "ended by SIGHUP: the terminal has gone",
    130: "interrupted by Ctrl-C",
    141: "the reader of the output has gone",
    143: "ended by SIGTERM",
}
"""What the command line returns, and when."""


class Terminated(KeyboardInterrupt):
    """The interrupt that SIGTERM asked for.

    Attributes:
        exit_code: what the command line returns for it.
    """

    exit_code = 143


class HungUp(Terminated):
    """The interrupt that SIGHUP asked for: the terminal has gone."""

    exit_code = 129


class FlyweightError(Exception):
    """Something a user can mend. The message says in one line what is wrong, where, and what to do.

    Attributes:
        exit_code: what the command line returns for it.
    """

    exit_code = 2


class DataError(FlyweightError):
    """A data set is missing, incomplete or damaged."""

    exit_code = 3


class RunError(FlyweightError):
    """A run folder or a file of weights is missing, damaged or does not fit."""

    exit_code = 4


class DivergedError(FlyweightError):
    """A training whose loss or weights are no longer finite; what was saved before stays."""

    exit_code = 5


class PeerError(FlyweightError):
    """Another process of the same job is gone, so that this one cannot go on; what was saved before stays."""

    exit_code = 6


class TooLargeError(FlyweightError):
    """What was asked for does not fit into the memory of this machine."""

    exit_code = 7


class RuleError(FlyweightError):
    """A network breaks a rule; training it would be a waste."""

    exit_code = 1


_NO_MEMORY = (
    "allocate memory",  # torch's allocator, onnxruntime's
    "could not create a primitive",  # oneDNN's
    "failed to map segment from shared object",  # the loader's, of a library
    "out of memory",  # CUDA's
    "ALLOC_FAILED",  # its libraries'
    "bad_alloc",
    "error return without exception set",  # Python 3.11's own, where a call's frame finds no room
    "killed by signal: Killed",  # a process that loads batches; the system ends what takes the last memory
)


def out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or what it came from, says that there is too little memory; libraries have no common word."""
    while error is not None:
        refused = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        # what we say ourselves quotes names, and those may hold any words
        told = not isinstance(error, FlyweightError) and any(words in str(error) for words in _NO_MEMORY)
        if refused or told:
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False
