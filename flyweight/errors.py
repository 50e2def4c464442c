"""The errors that a user can mend: one line each, with an exit code of its own and never a traceback."""


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


class RuleError(FlyweightError):
    """A network breaks a rule; training it would be a waste."""

    exit_code = 1
