"""Every error that admf raises on purpose.

::

    AdmfError
     +-- ConfigError            the experiment or a plug-in's parameters are wrong (exit code 3)
     |    +-- UnsafeIdError     an id cannot be used as a file name
     |    +-- RegistryError     a plug-in cannot be registered or is not known
     +-- DataError              market data cannot be used (exit code 4)
     |    +-- SourceError       a source of live events has to give up
     +-- WindowError            an execution window failed (exit code 5)
     |    +-- HandlerError      a handler raised while an event was delivered
     |    +-- UserCodeError     the user's own code raised; names its file and line
     |    +-- DeadlineError     a lifecycle step overran its share of the deadline
     |    +-- MemoryLimitError  a window was ended because memory ran out
     +-- StorageError           results cannot be written or read (exit code 6)
     |    +-- FolderInUseError  another run is writing into a result folder
     |    +-- ResultExistsError a result folder exists and may not be touched
     |    +-- MissingFileError  a stored file is not there
     |    +-- TornFileError     a stored file is cut, flipped or foreign
     +-- BusError               the bus was used outside its contract
     |    +-- BusClosedError
     |    +-- WrongThreadError
     |    +-- QueueFullError    a bounded queue with overflow ``fail`` is full
     +-- StateError             a container was asked for an impossible transition
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

__all__ = [
    "AdmfError",
    "BusClosedError",
    "BusError",
    "ConfigError",
    "DataError",
    "DeadlineError",
    "FolderInUseError",
    "HandlerError",
    "MemoryLimitError",
    "MissingFileError",
    "Problem",
    "QueueFullError",
    "RegistryError",
    "ResultExistsError",
    "SourceError",
    "StateError",
    "StorageError",
    "TornFileError",
    "UnsafeIdError",
    "UserCodeError",
    "WindowError",
    "WrongThreadError",
    "did_you_mean",
]


_LONGEST_TYPO = 200


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the nearest known name, or an empty string."""
    if len(name) > _LONGEST_TYPO:  # comparing takes the square of the length
        return ""
    spelling = {other.casefold(): other for other in known}
    import difflib  # only mistakes need it

    near = difflib.get_close_matches(name.casefold(), spelling, n=1, cutoff=0.6)
    return f" (did you mean {spelling[near[0]]!r}?)" if near else ""


class Problem(msgspec.Struct, frozen=True):
    """One mistake in a user's input, and where it stands.

    Args:
        message: What is wrong and how to mend it.
        field: Dotted path of the field, e.g. ``strategy.params.fast``.
        file: Path of the file, as the user gave it.
        line: One-based line.
        column: One-based column.
    """

    message: str
    field: str = ""
    file: str = ""
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        position = [str(part) for part in (self.file or None, self.line, self.column) if part]
        place = ":".join(position)
        return ": ".join(part for part in (place, self.field, self.message) if part)


class AdmfError(Exception):
    """Base of all errors that admf raises on purpose.

    Attributes:
        exit_code: What the command line exits with when this error ends it.
    """

    exit_code = 1


class ConfigError(AdmfError):
    """The experiment, or a plug-in's parameters, cannot be used.

    Attributes:
        problems: Every mistake that was found, in the order of the file.
    """

    exit_code = 3

    def __init__(self, problems: str | Sequence[Problem]) -> None:
        found = (Problem(problems),) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(map(str, found)))
        self.problems = found


class UnsafeIdError(ConfigError):
    """An id cannot be used as part of a file name."""


class RegistryError(ConfigError):
    """A plug-in cannot be registered, or a name is not known."""


class DataError(AdmfError):
    """Market data is missing, malformed or outside the asked range."""

    exit_code = 4


class SourceError(DataError):
    """A source of live events has to give up."""


class WindowError(AdmfError):
    """An execution window failed."""

    exit_code = 5


class HandlerError(WindowError):
    """A handler raised while an event was delivered; the original error is ``__cause__``.

    Attributes:
        subscriber: Name of the subscription whose handler raised.
        seq: Sequence number of the event.
    """

    def __init__(self, subscriber: str, seq: int, event_name: str, error: BaseException) -> None:
        super().__init__(
            f"handler {subscriber!r} failed on {event_name} (seq {seq}): "
            f"{type(error).__name__}: {error}"
        )
        self.subscriber = subscriber
        self.seq = seq


class UserCodeError(WindowError):
    """The user's own code raised; the original error is ``__cause__``.

    Attributes:
        file: File of the innermost frame that belongs to the user.
        line: Line in that file.
    """

    def __init__(self, message: str, *, file: str, line: int) -> None:
        super().__init__(message)
        self.file = file
        self.line = line


class DeadlineError(WindowError):
    """A lifecycle step overran its share of the deadline."""


class MemoryLimitError(WindowError):
    """A window was ended because memory ran out; a run that is resumed runs it again."""


class StorageError(AdmfError):
    """Results cannot be written or read."""

    exit_code = 6


class FolderInUseError(StorageError):
    """Another run is writing into a result folder."""


class ResultExistsError(StorageError):
    """A result folder exists and may not be touched without being told to."""


class MissingFileError(StorageError):
    """A stored file is not there."""


class TornFileError(StorageError):
    """A stored file is cut, flipped, or was not written by admf."""


class BusError(AdmfError):
    """The bus was used outside its contract."""


class BusClosedError(BusError):
    """The bus is closed and takes no more events."""


class WrongThreadError(BusError):
    """The bus was called from a thread other than its own."""


class QueueFullError(BusError):
    """A bounded queue whose overflow policy is ``fail`` is full."""


class StateError(AdmfError):
    """A container was asked for a transition its state does not allow."""
