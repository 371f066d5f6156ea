"""What a run and its worker processes tell each other, as frames of bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from admf.containers.config import DataConfig
from admf.engine.documents import FileRecord
from admf.engine.errors import (
    AdmfError,
    ConfigError,
    DataError,
    MemoryLimitError,
    Problem,
    StorageError,
    UserCodeError,
    WindowError,
)
from admf.engine.packing import Compression
from admf.engine.summary import WindowSummary
from admf.workflows.workers.shared_data import SharedDataAddress

__all__ = [
    "Cancel",
    "Done",
    "Failure",
    "Handled",
    "Hurry",
    "RunWindow",
    "ToRun",
    "ToWorker",
    "failure_of",
]

FRAME_BYTES = 8
"""The length that leads a frame, big-endian."""


class RunWindow(msgspec.Struct, frozen=True, tag=True):
    """Run an execution window.

    Args:
        spec: The window, a `WindowSpec` as JSON.
        path: Folder of its results in the storage.
        compression: Of its files.
        root: Folder of the storage; None to hand the files back.
        data: The data set and benchmark of the window, and where their bars are.
        modules: Folder in which the user's own modules are found.
        progress: Whether to tell how many bars were handled.
    """

    spec: bytes
    path: str
    compression: Compression
    root: str | None
    data: tuple[DataConfig, str | None, SharedDataAddress] | None
    modules: str | None
    progress: bool


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """Cancel the window."""


class Hurry(msgspec.Struct, frozen=True, tag=True):
    """End the cancelled window within seconds."""


class Handled(msgspec.Struct, frozen=True, tag=True):
    """So many bars of the window were handled."""

    bars: int


class Failure(msgspec.Struct, frozen=True):
    """An error that ended a window before it had a summary."""

    kind: str
    message: str
    problems: tuple[Problem, ...] = ()
    file: str = ""
    line: int = 0

    def error(self) -> AdmfError:
        """Return the error as it was raised."""
        if self.kind == "ConfigError":
            return ConfigError(self.problems)
        if self.kind == "UserCodeError":
            return UserCodeError(self.message, file=self.file, line=self.line)
        kinds: dict[str, Callable[[str], AdmfError]] = {
            "DataError": DataError,
            "StorageError": StorageError,
            "MemoryLimitError": MemoryLimitError,
        }
        return kinds.get(self.kind, WindowError)(self.message)


def failure_of(error: BaseException) -> Failure:
    """Return an error as it is told; of one that is none of admf's, its type is told too."""
    kinds = (ConfigError, DataError, StorageError, MemoryLimitError, UserCodeError, WindowError)
    for kind in kinds:
        if isinstance(error, kind):
            return Failure(
                kind.__name__,
                str(error),
                getattr(error, "problems", ()),
                getattr(error, "file", ""),
                getattr(error, "line", 0),
            )
    return Failure("WindowError", f"{type(error).__name__}: {error}")


class Done(msgspec.Struct, frozen=True, tag=True):
    """The window is over.

    Args:
        summary: How it ended; None if it did not come to that.
        committed: Its commit record.
        files: Its files by path, if they are handed back.
        failure: What was raised in place of a summary.
    """

    summary: WindowSummary | None = None
    committed: FileRecord | None = None
    files: dict[str, bytes] = {}
    failure: Failure | None = None


ToWorker: TypeAlias = RunWindow | Cancel | Hurry
ToRun: TypeAlias = Handled | Done
