"""The errors a user can meet, each with the exit code the command line gives it.

Anything that is not an ``AsctoolError`` is a bug and keeps its traceback.
"""


class AsctoolError(Exception):
    """An expected failure: the message says what, the value, the limit or the choices, the likely remedy."""

    exit_code = 1


class UsageError(AsctoolError):
    """An unknown option or name, an absent fold, an output made with other options."""

    exit_code = 2


class DataError(AsctoolError):
    """Bad input data: audio, tables, the wrong kind of store, classes that differ."""

    exit_code = 3


class EnvironmentFailure(AsctoolError):
    """Disk, memory, permission, or a lock that another process holds."""

    exit_code = 4


class IntegrityError(AsctoolError):
    """A file of ours that is corrupt or incomplete."""

    exit_code = 5


class WouldWrite(Exception):
    """No error: what a stage would do, in one line, raised by a dry run in the place of doing it."""
