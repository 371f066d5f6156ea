"""How the command line ends."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["ExitCode"]


class ExitCode(IntEnum):
    """What the command line exits with, besides the ``exit_code`` of an `AdmfError`."""

    OK = 0
    USAGE = 2
    SOME_FAILED = 5
    INTERRUPTED = 130
